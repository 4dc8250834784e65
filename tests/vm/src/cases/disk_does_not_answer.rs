//! A disk that answers until the kernel has announced it and then never again, beside the one that holds the appliance: the boot
//! comes up without it, and says so.

use super::small::{DEADLINE, PLAIN, Small};
use super::{Context, TEST_INIT};
use crate::disk::Disk;
use crate::machine::Exit;
use crate::nbd::Server;
use anyhow::{Context as _, Result};
use std::fs::File;

/// The place of btrfs's superblock: the kernel does not look there for partitions, and hermetic-init does, on a disk that has none.
const DEAD: std::ops::Range<u64> = 64 << 10..68 << 10;

pub fn run(context: &Context<'_>) -> Result<()> {
    let small = Small::new(context, PLAIN)?;
    let image = context.file("silent.raw");
    File::create(&image)?.set_len(64 << 20)?;
    let server = Server::start(&image, &context.file("silent"), DEAD)?;
    let machine = small.machine(context)?.qemu(&server.arguments().each_ref().map(String::as_str));
    let machine = machine.disk(Disk::new(&small.disk)).cmdline(&format!("hermetic.init={TEST_INIT}"));
    let mut running = context.start(&machine)?;
    // Its reader is still there when the next program takes the place of hermetic-init.
    running.wait_for("the next program", "HERMETIC-STATE-BEGIN", DEADLINE)?;
    drop(server);
    let outcome = running.finish()?;
    outcome.expect(&Exit::PowerOff)?.line(" does not answer and is left out; check the disk")?;
    outcome.state().context("beside a disk that does not answer").map(drop)
}
