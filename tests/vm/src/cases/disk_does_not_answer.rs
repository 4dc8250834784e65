//! A disk that answers until the kernel has announced it and then never again, beside the one that holds the appliance: the disk
//! is found and the root made without it. The kernel could not execute the next program while a reader waits for that disk, so the
//! boot ends like any that failed, with its name, and does not stand still.

use super::small::{DEADLINE, PLAIN, Small};
use super::{Context, TEST_INIT};
use crate::disk::Disk;
use crate::nbd::Server;
use anyhow::Result;
use std::fs::File;

/// The place of btrfs's superblock: the kernel does not look there for partitions, and hermetic-init does, on a disk that has none.
const DEAD: std::ops::Range<u64> = 64 << 10..68 << 10;

pub fn run(context: &Context<'_>) -> Result<()> {
    let small = Small::new(context, PLAIN)?;
    let image = context.file("silent.raw");
    File::create(&image)?.set_len(64 << 20)?;
    let server = Server::start(&image, &context.file("silent"), DEAD)?;
    let machine = small.machine(context)?.qemu(&server.arguments().each_ref().map(String::as_str));
    let words = format!("hermetic.init={TEST_INIT} hermetic.device-timeout=3 hermetic.on-failure=panic");
    let machine = machine.disk(Disk::new(&small.disk)).cmdline(&words).deadline(DEADLINE);
    let mut running = context.start(&machine)?;
    let reason = "no answer to a read, and no other program can be started beside that";
    running.wait_for("the reason", reason, DEADLINE)?;
    running.wait_for("the policy", "Kernel panic", DEADLINE)?;
    drop(server);
    running.finish()?.line(" does not answer and is left out; check the disk").map(drop)
}
