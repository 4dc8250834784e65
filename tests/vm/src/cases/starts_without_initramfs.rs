//! `init=/hermetic-init` without an initramfs: the kernel mounts `root=` by itself, a small ext4 partition on NVMe with
//! hermetic-init, its modules and the key in it, and the system's root is another partition of that disk, made at the first
//! boot. The partition is left as it was also when `rw` would allow to write it: its key opens the next boot.

use super::small::{ENCRYPTED, KEY};
use super::{Context, TEST_INIT, lasting, small};
use crate::disk::{Disk, Interface};
use crate::image::{Image, Partition, types};
use crate::initramfs::Initramfs;
use anyhow::{Context as _, Result, ensure};

const START: &str = "3c1d8a52-6f0e-4b7a-9d2c-51e07a4f9b63";

pub fn run(context: &Context<'_>) -> Result<()> {
    let usr = context.usr(&small::recipe(context, ENCRYPTED)?)?;
    let start = context.file("start.img");
    Initramfs::new("virtio").key(KEY).partition(context.bench, context.products, &start)?;
    let mut partitions = context.partitions(&usr)?;
    partitions.push(Partition::of(types::LINUX, START, "start", &start)?);
    let disk = context.disk("disk.raw", &Image { size: 384 << 20, ..small::image(partitions) })?;

    let machine = lasting::bare(context, &usr)
        .cmdline(&format!("root=PARTUUID={START} rootwait init=/hermetic-init hermetic.init={TEST_INIT}"))
        .disk(Disk::new(&disk).interface(Interface::Nvme));
    let writable = machine.clone().cmdline("rootfstype=ext4 rw");
    let boots = lasting::boots_two_ways(context, [&machine, &writable], &disk, 512)?;
    let third = lasting::boots_again(context, &machine, &boots.first)?;
    for state in [&boots.first, &boots.second, &third] {
        lasting::mounted(state, "/", "/dev/mapper/root ext4")?;
        lasting::mounted(state, "/usr", "/dev/mapper/usr erofs")?;
        let below = lasting::below_mapping(state, "root").unwrap_or_default();
        ensure!(below == ["nvme0n1p4"], "root is on {below:?}");
        let mounts = state.get("mounts").context("no mounts in the state")?.to_string();
        ensure!(!mounts.contains("/dev/root") && !mounts.contains("nvme0n1p3"), "left mounted: {mounts}");
    }
    Ok(())
}
