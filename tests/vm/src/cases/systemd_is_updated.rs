//! A disk with two versions of /usr: Debian 13's with systemd 257, and Debian sid's with its newer systemd and kernel. The root is
//! made under the first, encrypted; an update leads to the second and a rollback back to the first, each with its own
//! kernel and initramfs. systemd is content each time, and it is the same root and the same machine. The groups of /usr's files are not
//! looked at: each release's packages chose their numbers when its tree was made, and the root keeps the first ones.

use super::Context;
use super::systemd_comes_up_twice::{
    DEADLINE, STANDS, WANTS, is_content, questions, units_of_the_first_boot,
};
use crate::bench::Bench;
use crate::debian::Suite;
use crate::definition;
use crate::disk::Disk;
use crate::image::{self, Image};
use crate::initramfs::Initramfs;
use crate::inside::Answers;
use crate::machine::{Exit, Machine};
use crate::usr::Usr;
use anyhow::{Context as _, Error, Result, ensure};
use std::path::Path;

pub fn run(context: &Context<'_>) -> Result<()> {
    let older = context.bench.of(Suite::Trixie).map_err(Error::msg)?;
    let recipe = context.recipe()?.repart(definition::ENCRYPTED);
    let one = recipe.make(&older.cache, &older.tools, &older.appliance)?;
    let two = context.usr(&recipe)?;
    let mut partitions = image::usr_partitions(&one, "appliance_1")?;
    partitions.extend(image::usr_partitions(&two, "appliance_2")?);
    let disk = context.disk("disk.raw", &Image::new(partitions))?;
    let first = machine(context, &older, &one, &disk)?;
    let second = machine(context, context.bench, &two, &disk)?;

    let made = boot(context, &first, "first").context("the first boot, systemd 257")?;
    units_of_the_first_boot(&made, true)?;
    let updated = boot(context, &second, "second").context("the update to sid's systemd")?;
    let back = boot(context, &first, "third").context("the rollback to systemd 257")?;
    for (answers, proof) in [(&updated, "boot\nboot"), (&back, "boot\nboot\nboot")] {
        units_of_the_first_boot(answers, false)?;
        answers.expect("proof", proof)?;
        for same in ["machine-id", "root-uuid"] {
            answers.expect(same, made.text(same)?)?;
        }
    }
    back.expect("version", made.text("version")?)?;
    ensure!(made.text("version")? == "257", "the older systemd is {}", made.text("version")?);
    let newer: u32 = updated.text("version")?.parse().context("the version of systemd is a number")?;
    ensure!(newer >= 262, "the newer systemd is {newer}");
    context.say(format!("257, {newer}, 257"));
    Ok(())
}

fn machine(context: &Context<'_>, bench: &Bench, usr: &Usr, disk: &Path) -> Result<Machine> {
    let hash = usr.root_hash().context("the appliance's /usr is verified")?;
    let initramfs = Initramfs::new("virtio").key(&definition::KEY).make(bench, context.products)?;
    let machine = Machine::new(&bench.appliance.kernel()).deadline(DEADLINE).initramfs(&initramfs);
    Ok(machine.cmdline(&format!("usrhash={hash} {WANTS}")).disk(Disk::new(disk)))
}

/// Boots into systemd, which answers and switches off.
fn boot(context: &Context<'_>, machine: &Machine, name: &str) -> Result<Answers> {
    let proof = "echo boot >>/var/lib/hermetic-proof; cat /var/lib/hermetic-proof";
    let inside = questions(context, name, proof)
        .ask("version", "systemctl --version | sed -n 's/^systemd \\([0-9]*\\).*/\\1/p'")
        .ask("root-uuid", "blkid --match-tag UUID --output value /dev/mapper/root");
    context.run(&inside.equip(machine.clone())?)?.expect(&Exit::PowerOff)?;
    let answers = inside.read()?;
    is_content(&answers, &STANDS)?;
    Ok(answers)
}
