//! `cargo demo`: the appliance's first and second boot, as a person wants to see them.

use crate::arguments::Arguments;
use crate::bench::Bench;
use crate::cargo::Products;
use crate::disk::Disk;
use crate::errand;
use crate::image::{self, Image};
use crate::initramfs::Initramfs;
use crate::machine::{Exit, Machine, Outcome};
use crate::progress;
use crate::usr::Recipe;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// What the appliance's /usr asks the first boot to make.
const ROOT: &str = "[Partition]\nType=root\nFormat=ext4\nEncrypt=key-file\n";

/// The key that goes into the initramfs: for a demonstration, and for nothing else.
const KEY: [u8; 32] = *b"a demonstration key of 32 bytes!";

/// What the running system is asked. Its answer begins and ends with a word of its own.
const QUESTIONS: &str = "echo DEMO-BEGIN
echo systemctl is-system-running: $(systemctl is-system-running --wait)
echo machine-id: $(cat /etc/machine-id)
lsblk -o NAME,FSTYPE,SIZE,MOUNTPOINTS
echo DEMO-END";

/// The kernel's word that it starts the initramfs, and systemd's first.
const FROM: &str = "Run /init as init process";
const TO: &str = "running in system mode";

/// Builds everything, boots twice, shows both boots and a table.
///
/// # Errors
/// Something cannot be built, or the appliance does not come up.
pub fn demo(words: Arguments) -> Result<()> {
    words.end()?;
    let bench = Bench::open()?;
    let products =
        progress::step("building hermetic-init and its builder (some minutes, once)", Products::build)?;
    let initramfs = progress::step("making the initramfs", || {
        Initramfs::new("virtio").key(&KEY).make(&bench, &products)
    })?;
    let scratch = bench.cache.scratch("demo")?;
    let disk = scratch.join("disk.raw");
    let root_hash = progress::step("making the disk: a verified /usr, and free space behind it", || {
        let usr = Recipe::new().repart(ROOT).make(&bench.cache, &bench.tools, &bench.appliance)?;
        Image::new(image::usr_partitions(&usr, "appliance_1")?).write(&bench.tools, &disk)?;
        usr.root_hash().map(str::to_owned).context("the appliance's /usr is verified")
    })?;
    let machine = Machine::new(&bench.appliance.kernel())
        .initramfs(&initramfs)
        .cmdline(&format!("usrhash={root_hash} rw {}", errand::words(QUESTIONS)))
        .disk(Disk::new(&disk))
        .memory(1024)
        .processors(2)
        .deadline(Duration::from_secs(300));
    let first = boot(&bench, &machine, "first boot: there is no root yet", &scratch.join("first.log"))?;
    let second = boot(&bench, &machine, "second boot: the same disk", &scratch.join("second.log"))?;

    println!();
    println!("initramfs             {} bytes", fs::metadata(&initramfs)?.len());
    println!("hermetic-init         {} bytes", fs::metadata(&products.init)?.len());
    println!("/init to systemd      first boot {}, second boot {}", way(&first)?, way(&second)?);
    println!("accelerator           {}", bench.accelerator.name());
    Ok(())
}

/// Boots, and shows what hermetic-init and the running system said.
fn boot(bench: &Bench, machine: &Machine, what: &str, log: &Path) -> Result<Outcome> {
    let outcome = progress::step(what, || {
        let outcome = machine.run(&bench.tools, bench.accelerator, log)?;
        outcome.expect(&Exit::PowerOff)?;
        Ok(outcome)
    })?;
    let mut answering = false;
    for line in &outcome.lines {
        match line.text.as_str() {
            "DEMO-BEGIN" => answering = true,
            "DEMO-END" => answering = false,
            text if text.contains("hermetic-init") || (answering && !text.starts_with('[')) => {
                println!("    {text}")
            }
            _ => {}
        }
    }
    outcome.line("is-system-running: running").context("the system did not come up whole")?;
    Ok(outcome)
}

/// The time from the start of /init to systemd's first word.
fn way(outcome: &Outcome) -> Result<String> {
    let time = outcome.line(TO)?.at.saturating_sub(outcome.line(FROM)?.at);
    Ok(progress::seconds(time))
}
