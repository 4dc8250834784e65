//! The disk has become larger between two boots: root's partition follows, dm-crypt maps all of it, and the mounted
//! ext4 is grown into it, because the definition asks for it (GrowFileSystem= is yes unless it says no) and this image
//! has no systemd-growfs to do it. e2fsck finds no fault before and after.

use super::{Context, lasting, script, small};
use crate::disk::Disk;
use crate::image::Image;
use crate::initramfs::Initramfs;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::fs::OpenOptions;

/// The growth of the disk between the boots.
const GAIN: u64 = 128 << 20;

/// Prints the blocks of the file system, then checks it while nothing can be written.
const CHECK: &str = "\
stat --file-system --format=%b:%S /
mount -o remount,ro /
e2fsck -f -n /dev/mapper/root";

pub fn run(context: &Context<'_>) -> Result<()> {
    let usr = context.usr(&script::recipe(context)?)?;
    let mut image = Image::new(context.partitions(&usr)?);
    image.size = image.partitions.iter().map(|partition| partition.size).sum::<u64>() + (192 << 20);
    let disk = context.disk("disk.raw", &image)?;
    let machine = lasting::machine(context, Initramfs::new("virtio"), &usr)?
        .disk(Disk::new(&disk))
        .disk(script::disk(context, CHECK)?)
        .deadline(2 * small::DEADLINE);
    // Nothing can be written once the script has run.
    let first = machine.clone().cmdline(lasting::WRITE).cmdline(&script::word("vdb"));
    let state = lasting::first_state(&context.run(&first)?)?;
    let before = counted(&state)?;
    let root = lasting::root_on(context, &disk, 512)?;

    let file = OpenOptions::new().write(true).open(&disk)?;
    file.set_len(file.metadata()?.len() + GAIN)?;
    let state = lasting::boots_again(context, &machine.cmdline(&script::word("vdb")), &state)?;
    let after = counted(&state)?;
    let grown = lasting::root_on(context, &disk, 512)?;
    ensure!(grown.length >= root.length + GAIN - (1 << 20), "{root:?} has become {grown:?}");
    ensure!((grown.start, &grown.content) == (root.start, &root.content), "{root:?} has become {grown:?}");
    // Metadata of the new groups takes a part of the gain.
    ensure!(after > before + GAIN / 10 * 8, "the file system had {before} bytes and has {after}");
    context.say(format!("{} MiB for files became {}", before >> 20, after >> 20));
    Ok(())
}

/// The bytes for files that the machine counted, after e2fsck there found no fault.
fn counted(state: &Value) -> Result<u64> {
    let first = script::said(state)?.lines().next();
    let (blocks, size) = first.and_then(|line| line.split_once(':')).context("the script printed no size")?;
    Ok(blocks.parse::<u64>()? * size.parse::<u64>()?)
}
