//! A boot that cannot go on: there is no disk. Every failure policy acts, by this program's options and by the
//! kernel's; `panic=0` waits for ever.

use super::{Context, small};
use crate::initramfs::Initramfs;
use crate::machine::{Exit, Machine};
use anyhow::{Context as _, Result, bail};
use std::time::Duration;

const NOW: &str = "hermetic.device-timeout=0 hermetic.failure-delay=0";

pub fn run(context: &Context<'_>) -> Result<()> {
    let initramfs = context.initramfs(&Initramfs::new("virtio"))?;
    let machine =
        |words: &str| context.machine().initramfs(&initramfs).cmdline(words).deadline(small::DEADLINE);
    for (words, exit) in [
        ("", Exit::Reboot),
        ("hermetic.on-failure=reboot", Exit::Reboot),
        ("hermetic.on-failure=poweroff", Exit::PowerOff),
        ("hermetic.on-failure=panic", Exit::Panic),
        ("rd.emergency=poweroff", Exit::PowerOff),
        // hermetic-init's own option is the more specific one, at any place.
        ("hermetic.on-failure=poweroff rd.emergency=reboot", Exit::PowerOff),
    ] {
        let outcome = context.run(&machine(NOW).cmdline(words))?;
        outcome.expect(&exit).with_context(|| format!("with `{words}`"))?;
        small::reason(&outcome, "usr", &["no disk at all"])?;
    }
    stays(context, &machine(NOW).cmdline("hermetic.on-failure=halt"), "reboot: System halted")?;
    let forever = "console=ttyS0 no_timer_check panic=0 hermetic.device-timeout=0";
    stays(context, &machine("").whole_cmdline(forever), "Waiting for somebody to look (panic=0).")?;
    panics(context)
}

/// A panic takes the same road, in a program that is linked as PID 1 is.
fn panics(context: &Context<'_>) -> Result<()> {
    let initramfs = context.initramfs(&Initramfs::new("none").file(&context.products.panics, "/panics"))?;
    let machine = context.machine().initramfs(&initramfs).cmdline("rdinit=/panics");
    let outcome = context.run(&machine.deadline(small::DEADLINE))?;
    outcome.expect(&Exit::PowerOff)?;
    small::reason(&outcome, "panic", &["something where there is nothing at tests/failure/panics.rs:"])
}

/// The machine shows why, says `last`, and then neither ends nor goes on.
fn stays(context: &Context<'_>, machine: &Machine, last: &str) -> Result<()> {
    let mut running = context.start(machine)?;
    running.wait_for("the end of the road", last, small::DEADLINE)?;
    // QEMU ends with the machine, and the console with QEMU: only a machine that stays makes this wait pass its time.
    match running.wait_for("another kernel", "Linux version", Duration::from_secs(10)) {
        Err(error) if error.to_string().contains("passed while waiting") => {}
        Err(error) => bail!("after `{last}` the machine ended: {error}"),
        Ok(line) => bail!("after `{last}` came `{}`", line.text),
    }
    running.cut_power()?;
    let outcome = running.finish()?;
    small::reason(outcome.expect(&Exit::PowerCut)?, "usr", &["no disk at all"])
}
