//! Noise on the line, or somebody at the other end, sends XOFF (0x13) to the serial console: before a failure, before a recovery
//! key is shown, before a question. Nothing waits for the XON that never comes: the failure policy is carried out within its
//! delay and ten seconds, by the machine's own clock, and its reason is on the screen.
//!
//! The machine that fails has no disk, and nothing happens while it waits for one: PID 1 sleeps.

use super::Context;
use super::small::{self, DEADLINE, Small};
use crate::disk::Disk;
use crate::initramfs::Initramfs;
use crate::machine::{Exit, Machine, Outcome, Running};
use anyhow::{Context as _, Result, ensure};

const XOFF: &str = "\x13";

/// Seconds that the reason stays on the screen.
const DELAY: u32 = 2;

/// repart.d for a root that a recovery key opens where there is no TPM.
const SEALED: &str = "[Partition]\nType=root\nFormat=ext4\nEncrypt=tpm2\nSizeMinBytes=64M\n";

/// The wake-ups of PID 1 that twenty seconds of waiting may have.
const SWITCHES: u32 = 5;

pub fn run(context: &Context<'_>) -> Result<()> {
    before_a_failure(context)?;
    let small = Small::new(context, SEALED)?;
    let machine = small::machine(context, None)?.cmdline(&small.words()).disk(Disk::new(&small.disk));
    let options = "hermetic.no-tpm=recovery rd.luks.options=tries=1,timeout=5";
    let machine = machine.cmdline(&format!("{options} hermetic.failure-delay={DELAY}"));

    let mut running = stopped(context, &machine)?;
    running.wait_for("the recovery key", "  recovery key  ", DEADLINE)?;
    running.type_in(XOFF)?;
    ends_in_time(&asked_in_vain(running)?).context("after the recovery key")?;

    let running = stopped(context, &machine)?;
    ends_in_time(&asked_in_vain(running)?).context("after the question")
}

fn before_a_failure(context: &Context<'_>) -> Result<()> {
    let initramfs = Initramfs::new("virtio").file(&context.products.observer, "/observer");
    let machine = context.machine().initramfs(&context.initramfs(&initramfs)?).deadline(DEADLINE);
    let words = "rdinit=/observer hermetic.log=debug ignore_loglevel hermetic.device-timeout=40";
    let mut running = context.start(&machine.cmdline(&format!("{words} hermetic.failure-delay={DELAY}")))?;
    let observed = running.wait_for("the observer", " threads in 20 s", DEADLINE)?.text;
    let (_, count) = observed.split_once("observer: ").unwrap_or_default();
    let count = count.split(' ').next().and_then(|count| count.parse::<u32>().ok());
    let count = count.with_context(|| format!("the observer says `{observed}`"))?;
    ensure!(count <= SWITCHES, "PID 1 woke {count} times while there was nothing to do");
    context.say(format!("{count} wake-ups in 20 s of waiting"));
    running.type_in(XOFF)?;
    let outcome = running.finish()?;
    small::reason(&outcome, "usr", &["no disk at all"])?;
    ends_in_time(&outcome)
}

/// Starts a machine and stops its console as soon as PID 1 has opened it.
fn stopped(context: &Context<'_>, machine: &Machine) -> Result<Running> {
    let mut running = context.start(machine)?;
    running.wait_for("the start of hermetic-init", " starts", DEADLINE)?;
    running.type_in(XOFF)?;
    Ok(running)
}

fn asked_in_vain(mut running: Running) -> Result<Outcome> {
    running.wait_for("the question", "Passphrase or recovery key for root", DEADLINE)?;
    running.type_in(XOFF)?;
    let outcome = running.finish()?;
    small::reason(&outcome, "root", &["nobody typed a passphrase within 5 s"])?;
    Ok(outcome)
}

/// The machine restarted within the delay and ten seconds after the log had the reason.
fn ends_in_time(outcome: &Outcome) -> Result<()> {
    outcome.expect(&Exit::Reboot)?;
    // The screen has the reason as well, in a form of its own and without a time.
    let reason = outcome.line("  reason  ")?.text.trim_start().trim_start_matches("reason").trim_start();
    let begin = reason.get(..40).unwrap_or(reason);
    let stamped =
        |line: &&crate::console::Line| line.text.contains("hermetic-init[") && line.text.contains(begin);
    let failed = outcome.lines.iter().find(stamped).context("the log has no reason")?;
    let (failed, ended) =
        (seconds(&failed.text)?, seconds(&outcome.line("reboot: Restarting system")?.text)?);
    let took = ended - failed;
    ensure!(took <= f64::from(DELAY) + 10.0, "the policy was carried out {took:.1} s after the reason");
    Ok(())
}

/// The kernel's time of a line: `[   12.345678] text`.
fn seconds(line: &str) -> Result<f64> {
    let time = line.split_once('[').and_then(|(_, rest)| rest.split_once(']')?.0.trim().parse().ok());
    time.with_context(|| format!("no time in `{line}`"))
}
