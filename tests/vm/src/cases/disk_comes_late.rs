//! The machine has no disk when hermetic-init starts to look for one; then a disk is plugged in. Its bus, its driver
//! and its partitions come by the kernel's announcements: the boot does not poll, and only the announcement wakes it.

use super::small::{DEADLINE, ENCRYPTED, Small};
use super::{Context, lasting};
use crate::disk::Disk;
use crate::initramfs::Initramfs;
use crate::machine::Machine;
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use std::path::Path;

pub fn run(context: &Context<'_>) -> Result<()> {
    let small = Small::new(context, ENCRYPTED)?;
    let machine = lasting::machine(context, Initramfs::new("virtio"), &small.usr)?;
    let first = late(context, &machine, &small.disk)?;
    let made = lasting::root_on(context, &small.disk, 512)?;
    let second = lasting::boots_again(context, &machine.disk(Disk::new(&small.disk)), &first)?;
    lasting::mounted(&second, "/", "/dev/mapper/root ext4")?;
    ensure!(lasting::root_on(context, &small.disk, 512)? == made, "the second boot has another root");
    Ok(())
}

/// Boots without a disk and plugs this one in once the boot only waits for it.
fn late(context: &Context<'_>, machine: &Machine, disk: &Path) -> Result<Value> {
    let file = format!("driver=raw,node-name=late,file.driver=file,file.filename={}", disk.display());
    let machine = machine
        .clone()
        .cmdline(&format!("hermetic.log=debug ignore_loglevel {}", lasting::WRITE))
        .qemu(&["-device", "pcie-root-port,id=socket0,chassis=1", "-blockdev", &file]);
    let mut running = context.start(&machine)?;
    // Printed after the drivers of present devices were loaded: virtio's are not among them.
    running.wait_for("the end of the hardware search", "modules loaded", DEADLINE)?;
    let device = json!({ "driver": "virtio-blk-pci", "drive": "late", "bus": "socket0" });
    running.control().execute("device_add", &device)?;
    lasting::first_state(&running.finish()?)
}
