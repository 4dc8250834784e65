//! The start of the disk is wiped before the first boot, protective MBR and primary GPT: /usr is found by the backup,
//! and both tables are valid again when the root is in the table. The GPT is overwritten again before the third boot,
//! which makes no partition: it boots the same root by the backup, and writes nothing to the table.

use super::small::{ENCRYPTED, Small};
use super::{Context, lasting};
use crate::disk::Disk;
use crate::image;
use crate::initramfs::Initramfs;
use anyhow::{Result, ensure};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Sectors 1 to 33: the header and its 128 entries.
const TABLE: u64 = 512;
const LENGTH: usize = 33 * 512;

pub fn run(context: &Context<'_>) -> Result<()> {
    let small = Small::new(context, ENCRYPTED)?;
    let disk = &small.disk;
    image::overwrite(disk, 0, &vec![0; 512 + LENGTH])?;
    ensure!(lasting::faultless(context, disk, 512).is_err(), "sfdisk finds no fault with a destroyed table");
    let machine = lasting::machine(context, Initramfs::new("virtio"), &small.usr)?.disk(Disk::new(disk));
    let boots = lasting::boots_twice(context, &machine, disk, 512)?;

    image::overwrite(disk, TABLE, &vec![0xa5; LENGTH])?;
    let third = lasting::boots_again(context, &machine, &boots.first)?;
    lasting::mounted(&third, "/", "/dev/mapper/root ext4")?;
    let root = lasting::find_root(context, disk, 512)?;
    ensure!(root == boots.root, "the root was {:?} and is {root:?}", boots.root);
    let mut table = vec![0; LENGTH];
    File::open(disk)?.read_exact_at(&mut table, TABLE)?;
    ensure!(table.iter().all(|byte| *byte == 0xa5), "a boot with nothing to make wrote to the table");
    Ok(())
}
