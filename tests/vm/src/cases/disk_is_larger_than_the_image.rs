//! An image of 256 MiB on a disk of 512: the backup table lies in the middle, where sfdisk finds fault with it. The first
//! boot moves it to the end, before it writes where it was, and the root takes the new space.

use super::small::{ENCRYPTED, Small};
use super::{Context, lasting};
use crate::disk::Disk;
use crate::initramfs::Initramfs;
use anyhow::{Result, ensure};
use std::fs::OpenOptions;

const IMAGE: u64 = 256 << 20;
const DISK: u64 = 512 << 20;

pub fn run(context: &Context<'_>) -> Result<()> {
    let small = Small::new(context, ENCRYPTED)?;
    OpenOptions::new().write(true).open(&small.disk)?.set_len(DISK)?;
    ensure!(
        lasting::faultless(context, &small.disk, 512).is_err(),
        "sfdisk finds the backup where it belongs"
    );
    let machine = lasting::machine(context, Initramfs::new("virtio"), &small.usr)?;
    let machine = machine.disk(Disk::new(&small.disk));
    let boots = lasting::boots_twice(context, &machine, &small.disk, 512)?;
    let end = boots.root.start + boots.root.length;
    ensure!(end > IMAGE + IMAGE / 2, "the root ends at {end}, though the disk has {DISK} bytes");
    Ok(())
}
