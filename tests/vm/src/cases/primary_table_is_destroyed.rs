//! The start of the disk is wiped before the first boot, protective MBR and primary GPT: /usr is found by the backup,
//! and both tables are valid again when the root is in the table. The GPT is overwritten again before the third boot, which makes no
//! partition: it boots the same root by the backup, and mends the primary once that root has opened. With another key the root
//! does not open, and nothing is written.

use super::small::{self, ENCRYPTED, KEY, Small};
use super::{Context, lasting};
use crate::disk::Disk;
use crate::image;
use crate::initramfs::Initramfs;
use anyhow::{Context as _, Result, ensure};

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
    let stranger = small::machine(context, Some(&KEY.to_ascii_uppercase()))?.cmdline(&small.words());
    small::refuses(context, &stranger, disk, "root", &["vda3", "no keyslot opens with this key"])?;
    let third = lasting::boots_again(context, &machine, &boots.first)?;
    lasting::mounted(&third, "/", "/dev/mapper/root ext4")?;
    let root = lasting::find_root(context, disk, 512)?;
    ensure!(root == boots.root, "the root was {:?} and is {root:?}", boots.root);
    lasting::faultless(context, disk, 512).context("the table was not mended")
}
