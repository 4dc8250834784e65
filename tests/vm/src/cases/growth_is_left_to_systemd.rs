//! The disk has become larger between two boots, and root's partition follows. Its file system keeps its size when
//! systemd-growfs of the image will grow it, because the partition has the bit for that, and when the definition says
//! `GrowFileSystem=no`.

use super::small::{self, PLAIN, Small};
use super::{Context, lasting};
use crate::disk::Disk;
use crate::initramfs::Initramfs;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::fs::OpenOptions;

/// The growth of the disk between the boots.
const GAIN: u64 = 64 << 20;

/// The program that grows the file systems of partitions with the bit, below /usr.
const GROWFS: &str = "lib/systemd/systemd-growfs";

pub fn run(context: &Context<'_>) -> Result<()> {
    stays(context, true).context("with systemd-growfs")?;
    stays(context, false).context("with GrowFileSystem=no")
}

fn stays(context: &Context<'_>, is_left: bool) -> Result<()> {
    ensure!(context.bench.appliance.usr().join(GROWFS).exists(), "the appliance has no systemd-growfs");
    let recipe = match is_left {
        true => small::recipe(context, PLAIN)?,
        false => small::recipe(context, &format!("{PLAIN}GrowFileSystem=no\n"))?.without(GROWFS),
    };
    let Small { usr, disk } = Small::of(context, &recipe)?;
    let machine = lasting::machine(context, Initramfs::new("virtio"), &usr)?.disk(Disk::new(&disk));
    let first = lasting::boots_first(context, &machine)?;
    let made = lasting::root_on(context, &disk, 512)?;
    let file = OpenOptions::new().write(true).open(&disk)?;
    file.set_len(file.metadata()?.len() + GAIN)?;
    let second = lasting::boots_again(context, &machine, &first)?;
    let longer = lasting::root_on(context, &disk, 512)?;
    ensure!(longer.length == made.length + GAIN, "{made:?} has become {longer:?}");
    let (before, after) = (size(&first)?, size(&second)?);
    ensure!(after == before, "the file system had {before} bytes and has {after}");
    Ok(())
}

/// Bytes of the root's file system, by statfs(2).
fn size(state: &Value) -> Result<u64> {
    state.pointer("/root/size").and_then(Value::as_u64).context("the state has no size of the root")
}
