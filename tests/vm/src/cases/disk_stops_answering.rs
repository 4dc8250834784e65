//! A disk whose reads never return: a network block device server of the driver's own answers up to a read of /usr and then
//! nothing more. The stage ends like a failure (by a panic: in a reset of its disks QEMU itself waits for the server) once nothing has gone on for `hermetic.stage-timeout=`. With
//! `systemd.watchdog_sec=` the machine's watchdog (i6300esb) resets it, which is open in no other case: after a good hand-over to
//! an init that never opens it the machine runs on. A first boot that takes longer than the bound, because its disk is slow,
//! comes up.

use super::small::{self, DEADLINE, FIRST, PLAIN, Small};
use super::{Context, TEST_INIT, lasting};
use crate::disk::Disk;
use crate::image::Image;
use crate::initramfs::Initramfs;
use crate::machine::{Exit, Machine, Outcome};
use crate::nbd::Server;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::time::Duration;

/// Seconds of `hermetic.stage-timeout=`.
const BOUND: u32 = 5;

/// Bytes that a first boot copies, and bytes that its disk writes in a second.
const COPIED: usize = 20 << 20;
const SLOW: usize = 1 << 20;

const WATCHDOG: [&str; 4] = ["-device", "i6300esb", "-action", "watchdog=reset"];

pub fn ends(context: &Context<'_>) -> Result<()> {
    let small = Small::new(context, PLAIN)?;
    let words = format!("hermetic.stage-timeout={BOUND} hermetic.on-failure=panic");
    let outcome = hangs(context, &small, &words, &Exit::Panic)?;
    let says = [&format!("nothing has gone on for {BOUND} s") as &str, "no answer to requests from", " vda1"];
    small::reason(&outcome, "usr", &says)?;
    outcome.without("the watchdog resets this machine")?;

    let outcome = hangs(context, &small, "systemd.watchdog_sec=5", &Exit::Reboot)?;
    outcome.line("the watchdog resets this machine after 5 s without progress")?;
    outcome.without("cannot start this system.")?.without("reboot: Restarting system")?;
    Ok(())
}

/// Boots from a disk that answers up to the first block of /usr.
fn hangs(context: &Context<'_>, small: &Small, words: &str, exit: &Exit) -> Result<Outcome> {
    let server = Server::start(&small.disk, &context.file("nbd"), FIRST..FIRST + 4096)?;
    let machine = watched(context, small, words)?.qemu(&server.arguments().each_ref().map(String::as_str));
    let mut running = context.start(&machine)?;
    running.control().switched_off(DEADLINE).context("the machine neither ends nor is reset")?;
    drop(server);
    let outcome = running.finish()?;
    outcome.expect(exit)?.without("HERMETIC-STATE-BEGIN")?;
    Ok(outcome)
}

/// A machine with a watchdog and the driver for it, and these words.
fn watched(context: &Context<'_>, small: &Small, words: &str) -> Result<Machine> {
    let initramfs = context.initramfs(&Initramfs::new("virtio").module("i6300esb"))?;
    let machine = context.machine().initramfs(&initramfs).cmdline(small::IMPATIENT).deadline(DEADLINE);
    Ok(machine.cmdline(&format!("{} {words}", small.words())).qemu(&WATCHDOG))
}

pub fn slow(context: &Context<'_>) -> Result<()> {
    let definition = "[Partition]\nType=linux-generic\nCopyBlocks=/usr/share/blocks\n";
    let recipe = small::recipe(context, PLAIN)?.file("lib/repart.d/60-data.conf", definition, 0o644);
    // No zeroes: the disk would make holes of them.
    let small = Small::of(context, &recipe.file("share/blocks", vec![b'x'; COPIED], 0o644))?;
    let group = format!("throttle-group,id=slow,x-bps-write={SLOW}");
    let disk = format!(
        "driver=throttle,node-name=slow,throttle-group=slow,file.driver=raw,file.file.driver=file,\
         file.file.filename={}",
        small.disk.display()
    );
    let words = format!("hermetic.init={TEST_INIT} hermetic.stage-timeout={BOUND}");
    let machine =
        watched(context, &small, &format!("{words} systemd.watchdog_sec={BOUND} {}", lasting::WRITE))?;
    let machine = machine.qemu(&["-object", &group, "-blockdev", &disk]);
    let outcome = context.run(&machine.qemu(&["-device", "virtio-blk-pci,drive=slow"]))?;
    outcome.without("watchdog did not stop")?;
    outcome.line("the watchdog resets this machine after 5 s without progress")?;
    let state = lasting::first_state(&outcome)?;
    let timeline =
        lasting::file(&state, "/run/hermetic-init/timeline").and_then(|file| file.get("text")?.as_str());
    let timeline = timeline.context("no timeline")?;
    let provision =
        timeline.split_once("provision ").and_then(|(_, rest)| rest.split(' ').next()?.parse::<u64>().ok());
    let provision =
        Duration::from_micros(provision.with_context(|| format!("no provision in `{timeline}`"))?);
    ensure!(
        provision.as_secs() > 2 * u64::from(BOUND),
        "the first boot took {provision:?}, which is no test"
    );
    Ok(())
}

/// With the word and without it.
pub fn runs_on(context: &Context<'_>) -> Result<()> {
    let usr = context.usr(&context.recipe()?.repart(PLAIN))?;
    let small = Small { disk: context.disk("disk.raw", &Image::new(context.partitions(&usr)?))?, usr };
    let state = "/sys/class/watchdog/watchdog0/state";
    let init = format!("hermetic.init={TEST_INIT} hermetic.test.run=/usr/bin/cat+{state}");
    for words in ["", "systemd.watchdog_sec=10"] {
        let words = format!("{words} {init} hermetic.test.run=/usr/bin/sleep+120");
        let outcome = context.run(&watched(context, &small, &words)?.disk(Disk::new(&small.disk)))?;
        outcome.expect(&Exit::PowerOff)?.without("watchdog did not stop")?;
        let runs = outcome.state()?.get("runs").cloned().context("nothing was run")?;
        let said = runs.pointer("/0/stdout").and_then(Value::as_str).unwrap_or_default();
        ensure!(said == "inactive\n", "the watchdog is `{said}` in the real system: {runs}");
        ensure!(runs.pointer("/1/status").and_then(Value::as_i64) == Some(0), "{runs}");
    }
    Ok(())
}
