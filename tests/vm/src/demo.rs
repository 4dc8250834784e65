//! `cargo demo`: an appliance makes its own encrypted root, comes up, and comes up again, as a person wants to see it.

use crate::arguments::Arguments;
use crate::bench::Bench;
use crate::cargo::Products;
use crate::cases::Context;
use crate::definition;
use crate::disk::Disk;
use crate::image::Image;
use crate::initramfs::Initramfs;
use crate::inside::{Answers, Inside};
use crate::machine::{Exit, Machine, Outcome};
use crate::numbers::{Until, Way, init_to_systemd, measure, milliseconds, stages, stamp};
use crate::progress::{seconds, step};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// The text of `cargo demo help`.
pub const HELP: &str = "\
cargo demo                      boots an appliance twice and shows what happens
    [--console]                 with everything that the machines write on their consoles";

/// A whole systemd under an emulated processor on a busy host.
const DEADLINE: Duration = Duration::from_secs(600);

/// The stamp at the head of our own lines.
const OURS: &str = "hermetic-init[1]: ";

/// Shows it.
///
/// # Errors
/// The words are not understood, something cannot be made, or the appliance does not come up.
pub fn demo(mut words: Arguments) -> Result<()> {
    if words.flag("help") || words.flag("--help") {
        println!("{HELP}");
        return Ok(());
    }
    let console = words.flag("--console");
    words.end()?;

    let bench = Bench::open()?;
    let products = step("building hermetic-init and what makes its initramfs", Products::build)?;
    let context = Context::new(&bench, &products, "demo")?;
    let made =
        step("making a disk with Debian's /usr on it, verified, and nothing else", || Made::new(&context))?;
    let machine = made.machine(&context);
    let machine = if console { machine.echo() } else { machine };

    let first = boot(&context, &machine, "first boot", "echo it was here >/var/lib/demo; echo written")?;
    let second = boot(&context, &machine, "second boot, same disk", "cat /var/lib/demo")?;
    if second.text("file")? != "it was here" || second.text("machine-id")? != first.text("machine-id")? {
        bail!("the second boot did not find what the first one left");
    }
    println!("\nThe second boot has the first one's root, machine id and files.");

    let numbers =
        step("measuring beside an init that does the same job and knows everything before", || {
            measure(&context, &Way::ALL, 1, Until::Banner)
        })?;
    println!("\nIn numbers, in a machine that executes an instruction per nanosecond\n{numbers}");
    println!("\n{}", made.next());
    Ok(())
}

/// Everything that the demo boots; it stays for who wants to go on.
struct Made {
    disk: PathBuf,
    initramfs: PathBuf,
    cmdline: String,
}

impl Made {
    fn new(context: &Context<'_>) -> Result<Self> {
        let place = context.bench.cache.file("demo");
        fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
        let usr = context.usr(&context.recipe()?.repart(definition::ENCRYPTED))?;
        let root_hash = usr.root_hash().context("the appliance's /usr is verified")?;
        let disk = place.join("disk.raw");
        Image::new(context.partitions(&usr)?).write(&context.bench.tools, &disk)?;
        let initramfs = place.join("initramfs.cpio.zst");
        fs::copy(context.initramfs(&Initramfs::new("virtio").key(&definition::KEY))?, &initramfs)
            .with_context(|| format!("cannot write {}", initramfs.display()))?;
        Ok(Self { disk, initramfs, cmdline: format!("usrhash={root_hash}") })
    }

    /// The machine with the new disk.
    fn machine(&self, context: &Context<'_>) -> Machine {
        let machine = context.machine().deadline(DEADLINE).initramfs(&self.initramfs);
        machine.cmdline(&self.cmdline).disk(Disk::new(&self.disk))
    }

    /// The place of what was made, and what to do with it.
    fn next(&self) -> String {
        let (disk, initramfs, cmdline) = (self.disk.display(), self.initramfs.display(), &self.cmdline);
        format!(
            "What was booted stays:\n    {disk}\n    {initramfs}\n\nTry next\n    cargo vm boot --disk {disk} --initramfs \
             {initramfs} --cmdline '{cmdline}'\n        boots it again, with its console here\n    \
             docs/how-to/initramfs.md\n        an initramfs for an image of yours"
        )
    }
}

/// Boots, lets the machine switch itself off, and prints the steps.
fn boot(context: &Context<'_>, machine: &Machine, name: &str, file: &str) -> Result<Answers> {
    let inside = Inside::new(&context.file(&name.replace([' ', ','], "-")))
        .ask("uptime", "cut -d ' ' -f 1 /proc/uptime")
        .ask("units", "systemctl list-units --state=active --plain --no-legend | wc -l")
        .ask("failed", "systemctl list-units --failed --plain --no-legend")
        .ask("first-boot", "systemctl is-active first-boot-complete.target || true")
        .ask("machine-id", "cat /etc/machine-id")
        .ask("disk", "lsblk --output NAME,TYPE,SIZE,FSTYPE,MOUNTPOINTS /dev/vda")
        .ask("users", "wc -l </etc/passwd")
        .ask("groups", "wc -l </etc/group")
        .ask("files", "find /etc -xdev -type f | wc -l")
        .ask("file", file);
    let outcome = step(&format!("{name}: until systemd is up, then power off"), || {
        context.run(&inside.equip(machine.clone())?)
    })?;
    outcome.expect(&Exit::PowerOff)?;
    let answers = inside.read()?;
    tell(name, &outcome, &answers)?;
    answers.expect("state", "running")?;
    Ok(answers)
}

/// Prints the steps in the order in which they happened; times count from /init.
fn tell(name: &str, outcome: &Outcome, answers: &Answers) -> Result<()> {
    let start = stamp(&outcome.line("Run /init as init process")?.text)?;
    println!("\n{}{}\n", name.get(..1).unwrap_or_default().to_uppercase(), name.get(1..).unwrap_or_default());
    for line in &outcome.lines {
        let Some((head, text)) = line.text.split_once(OURS) else { continue };
        let since = stamp(head)?.saturating_sub(start);
        // The last line repeats the others and carries the stages, which follow.
        let text =
            text.split_once("; ").filter(|_| text.contains(" us, total ")).map_or(text, |(told, _)| told);
        let who = if text.ends_with(" starts") { "hermetic-init " } else { "" };
        println!("    {:>10}  {who}{text}", milliseconds(since));
    }
    println!("    {:>10}  systemd starts", milliseconds(init_to_systemd(outcome)?));
    let up = Duration::from_secs_f64(answers.text("uptime")?.parse().context("/proc/uptime is no number")?);
    println!(
        "    {:>10}  systemctl is-system-running: {}",
        seconds(up.saturating_sub(start)),
        answers.text("state")?
    );

    println!("\n    the steps of hermetic-init:");
    for (stage, took) in stages(outcome)? {
        println!("        {stage:<10} {:>10}", milliseconds(took));
    }
    println!("\n    the disk now:");
    for line in answers.text("disk")?.lines() {
        println!("        {line}");
    }
    println!(
        "\n    {} users, {} groups, {} files in /etc; machine id {}",
        answers.text("users")?,
        answers.text("groups")?,
        answers.text("files")?,
        answers.text("machine-id")?
    );
    let failed = match answers.text("failed")? {
        "" => "none failed".to_owned(),
        units => format!("FAILED: {units}"),
    };
    println!(
        "    {} units are active, {failed}; first-boot-complete.target is {}",
        answers.text("units")?,
        answers.text("first-boot")?
    );
    Ok(())
}
