//! The time from /init to the execution of systemd with a hundred more partitions and with twenty-four more disks, root discovered
//! and root named by its label, against the same boot without them. The floor has them as well: the rest of what they cost is the
//! kernel's.

use super::Context;
use crate::claim::Claim;
use crate::definition;
use crate::disk::Disk;
use crate::image::{self, Image, Partition, types};
use crate::numbers::{AWAKE, DEADLINE, EXEC, Side, milliseconds, stages, stamp};
use anyhow::{Context as _, Result, anyhow};
use std::path::PathBuf;
use std::time::Duration;

const PARTITIONS: u32 = 100;
const DISKS: u32 = 24;

/// The kernel's tests of its algorithms would fill every gap in which PID 1 waits, now this one and now that.
const NO_TESTS: &str = "cryptomgr.notests";

/// The most that one partition and one disk add beside the kernel's share, milliseconds: claimed, and where it fails.
const PER_PARTITION: Claim = Claim::AtMost(0.7, 1.0);
const PER_DISK: Claim = Claim::AtMost(5.2, 7.0);

/// A machine with more of something.
struct Crowd {
    name: &'static str,
    first: PathBuf,
    others: Vec<PathBuf>,
    /// The number of those that it has more, and the claim about one.
    more: Option<(u32, Claim)>,
}

pub fn run(context: &Context<'_>) -> Result<()> {
    let side = Side::new(context, "plain", definition::PLAIN, None)?;
    let rounds = context.times.unwrap_or(3);
    let crowds = [
        Crowd { name: "alone", first: side.provisioned.clone(), others: Vec::new(), more: None },
        Crowd {
            name: "100 partitions",
            first: partitions(context, &side)?,
            others: Vec::new(),
            more: Some((PARTITIONS, PER_PARTITION)),
        },
        Crowd {
            name: "24 disks",
            first: side.provisioned.clone(),
            others: disks(context)?,
            more: Some((DISKS, PER_DISK)),
        },
    ];
    let ways = [("floor", None), ("discovered", Some("")), ("by label", Some("root=PARTLABEL=root-x86-64"))];
    let mut table = String::from("    milliseconds from /init to the execution of systemd, median\n");
    let mut failed = None;
    let mut alone = Vec::new();
    let mut floor = 0.0;
    for crowd in &crowds {
        for (number, (way, words)) in ways.iter().enumerate() {
            let mut times = Vec::new();
            let mut last = String::new();
            for _ in 0..rounds {
                let (time, stages) = boot(context, &side, crowd, *words)?;
                times.push(time);
                last = stages;
            }
            times.sort_unstable();
            let median = times.get(times.len() / 2).copied().unwrap_or_default();
            table += &format!("    {:<16} {way:<12} {:>10}", crowd.name, milliseconds(median));
            match &crowd.more {
                None => alone.push(median),
                Some((count, claim)) => {
                    let without = alone.get(number).copied().unwrap_or_default();
                    let each = (median.as_secs_f64() - without.as_secs_f64()) * 1e3 / f64::from(*count);
                    table += &format!(" {each:>7.2} each");
                    if words.is_none() {
                        floor = each;
                    } else {
                        let ours = each - floor;
                        table += &format!(", {ours:.2} of it not the kernel's, {claim}");
                        if claim.check(ours).is_err() {
                            failed = Some(anyhow!("{}, {way}: {ours:.2} ms each, {claim}", crowd.name));
                        }
                    }
                }
            }
            table += &format!("  {last}\n");
        }
    }
    context.say(&table);
    failed.map_or(Ok(()), |error| Err(error.context(table)))
}

/// The disk with more partitions behind its own.
fn partitions(context: &Context<'_>, side: &Side) -> Result<PathBuf> {
    let path = context.file("partitions.raw");
    image::copy(&side.provisioned, &path)?;
    let more: Vec<Partition> =
        (0..PARTITIONS).map(|number| spare(&format!("more{number}"), number)).collect();
    image::widen(&context.bench.tools, &path, &more)?;
    Ok(path)
}

/// Disks, each with a table and a partition.
fn disks(context: &Context<'_>) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for number in 0..DISKS {
        let mut image = Image::new(vec![spare("data", number)]);
        image.size = 8 << 20;
        image.uuid = format!("0d7b4b6e-7a0c-4c3e-8d5c-3b9a2f6f{number:04x}");
        paths.push(context.disk(&format!("more{number}.raw"), &image)?);
    }
    Ok(paths)
}

fn spare(label: &str, number: u32) -> Partition {
    Partition::empty(types::LINUX, &format!("5f1c1a86-2a0e-4d3b-9c0e-6f1f0f2f{number:04x}"), label, 1 << 20)
}

/// The time to the execution of systemd, and hermetic-init's stages.
fn boot(
    context: &Context<'_>,
    side: &Side,
    crowd: &Crowd,
    words: Option<&str>,
) -> Result<(Duration, String)> {
    let mut machine = context.machine().icount().cmdline(AWAKE).cmdline(NO_TESTS).deadline(DEADLINE);
    let disk = context.file("measured.raw");
    image::copy(&crowd.first, &disk)?;
    machine = machine.disk(Disk::new(&disk));
    for path in &crowd.others {
        machine = machine.disk(Disk::new(path));
    }
    machine = match words {
        None => machine.initramfs(&side.floor),
        Some(words) => machine.initramfs(&side.initramfs).cmdline(&side.cmdline).cmdline(words),
    };
    let mut running = context.start(&machine)?;
    running.wait_for("the execution of systemd", EXEC, DEADLINE)?;
    running.cut_power()?;
    let outcome = running.finish()?;
    let start = stamp(&outcome.line("Run /init as init process")?.text)?;
    let end = stamp(&outcome.line(EXEC)?.text)?;
    let took = end.checked_sub(start).context("systemd was started before /init")?;
    let mut text = String::new();
    if words.is_some() {
        for (name, took) in stages(&outcome)? {
            text += &format!("{name} {:.1} ", took.as_secs_f64() * 1e3);
        }
    }
    Ok((took, text))
}
