//! The TPM dies before it can be told that a root is opened. Where this system has keys in it (/usr's repart.d says so, or the root's
//! header) the boot ends, also when another key has opened the root: what runs next could unseal what it must not. Where nothing
//! says so it is a warning, and where the command line says `hermetic.measure=no` not even that.

use super::small::{DEADLINE, ENCRYPTED, Small};
use super::{Context, TEST_INIT, small};
use crate::disk::Disk;
use crate::machine::{Exit, Machine, Outcome};
use anyhow::{Context as _, Result};
use serde_json::json;
use std::path::Path;

const BOTH: &str =
    "[Partition]\nType=root\nLabel=root\nFormat=ext4\nEncrypt=key-file+tpm2\nSizeMinBytes=64M\n";

pub fn run(context: &Context<'_>) -> Result<()> {
    let tpm = context.file("tpm");
    let small = Small::new(context, ENCRYPTED)?;
    let machine = small.machine(context)?.tpm(&tpm).cmdline(&format!("hermetic.init={TEST_INIT}"));
    let outcome = dies(context, &machine, &small.disk)?;
    outcome.expect(&Exit::PowerOff)?.line("nothing here says that the TPM has keys of this system")?;

    let small = Small::new(context, BOTH)?;
    let machine = small.machine(context)?.tpm(&tpm).cmdline(&format!("hermetic.init={TEST_INIT}"));
    let first = context.run(&machine.clone().disk(Disk::new(&small.disk)))?;
    first.expect(&Exit::PowerOff)?.line("TPM2 token 0 opens keyslot 1")?;
    let outcome = dies(context, &machine, &small.disk)?;
    outcome.expect(&Exit::Reboot)?.line("opens keyslot 0").context("the key file")?;
    let says = ["the TPM", "the boot ends here", "hermetic.measure=no"];
    small::reason(&outcome, "root", &says)?;
    outcome.without("HERMETIC-STATE-BEGIN")?;

    let outcome = dies(context, &machine.cmdline("hermetic.measure=no"), &small.disk)?;
    outcome.expect(&Exit::PowerOff)?.line("opens keyslot 0").context("the key file").map(drop)
}

/// Boots without a disk; when hermetic-init waits for it the TPM dies, and then the disk is plugged in.
fn dies(context: &Context<'_>, machine: &Machine, disk: &Path) -> Result<Outcome> {
    let file = format!("driver=raw,node-name=late,file.driver=file,file.filename={}", disk.display());
    let machine = machine
        .clone()
        .cmdline("hermetic.log=debug ignore_loglevel hermetic.device-timeout=60")
        .qemu(&["-device", "pcie-root-port,id=socket0,chassis=1", "-blockdev", &file]);
    let mut running = context.start(&machine)?;
    running.wait_for("the end of the hardware search", "modules loaded", DEADLINE)?;
    running.break_tpm();
    let device = json!({ "driver": "virtio-blk-pci", "drive": "late", "bus": "socket0" });
    running.control().execute("device_add", &device)?;
    running.finish()
}
