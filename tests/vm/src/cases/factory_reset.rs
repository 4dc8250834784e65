//! A factory reset, asked for by the command line and by both of systemd's EFI variables: the root goes, with
//! everything that would open it, a first boot makes another one, and a partition that no definition gives up stays
//! byte for byte. The word of the command line ends the boot that has erased something, because it would come again; the firmware's request is
//! taken back, so that the new root stays. A request of another system, or one that is not understood, erases nothing; nor does that of
//! systemd up to 257 where /usr has systemd 262.

use super::small::{self, DEADLINE};
use super::{Context, lasting};
use crate::disk::Disk;
use crate::image::{Partition, types};
use crate::initramfs::Initramfs;
use crate::machine::{Exit, Machine};
use crate::usr::Recipe;
use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A root that a reset gives up.
pub const RESETTABLE: &str =
    "[Partition]\nType=root\nLabel=root\nFormat=ext4\nEncrypt=key-file\nSizeMinBytes=64M\nFactoryReset=yes\n";

const FOREIGN: &str = "c0ffee00-1d2c-4b3a-8f4e-5d6c7b8a9f03";

pub fn run(context: &Context<'_>) -> Result<()> {
    let usr = context.usr(&with_systemd(context, 257)?)?;
    let content: Vec<u8> = (0..1 << 20).map(|at: u32| (at * 7 % 251) as u8).collect();
    let foreign = context.file("foreign");
    std::fs::write(&foreign, &content)?;
    let mut partitions = vec![Partition::of(types::LINUX, FOREIGN, "foreign", &foreign)?];
    partitions.extend(context.partitions(&usr)?);
    let disk = context.disk("disk.raw", &small::image(partitions))?;
    let machine = lasting::machine(context, Initramfs::new("virtio"), &usr)?.disk(Disk::new(&disk));

    by_command_line(context, &machine, &disk)?;
    let variables = context.file("variables.fd");
    by_firmware(context, &machine.firmware(&variables).deadline(DEADLINE * 2), &disk)?;
    not_with_262(context, &variables)?;

    let mut kept = vec![0; content.len()];
    File::open(&disk)?.read_exact_at(&mut kept, small::FIRST)?;
    ensure!(kept == content, "the partition that no definition names was changed");
    Ok(())
}

/// A small /usr whose systemd has this version; of its library the name alone counts.
fn with_systemd(context: &Context<'_>, version: u32) -> Result<Recipe> {
    let library = format!("lib/x86_64-linux-gnu/systemd/libsystemd-shared-{version}.so");
    Ok(small::recipe(context, RESETTABLE)?.file(&library, "", 0o644))
}

/// The variable `FactoryReset`, which systemd 262 does not heed any more.
fn not_with_262(context: &Context<'_>, variables: &Path) -> Result<()> {
    let usr = context.usr(&with_systemd(context, 262)?)?;
    let disk = context.disk("disk-262.raw", &small::image(context.partitions(&usr)?))?;
    let machine = lasting::machine(context, Initramfs::new("virtio"), &usr)?.disk(Disk::new(&disk));
    let machine = machine.firmware(variables).deadline(DEADLINE * 2);
    let asks = small::efi("FactoryReset", small::SYSTEMD, "yes");
    context.run(&machine.clone().cmdline(&asks))?.expect(&Exit::PowerOff)?;
    let before = lasting::root_on(context, &disk, 512)?;
    let outcome = context.run(&machine)?;
    outcome.expect(&Exit::PowerOff)?;
    outcome.line("FactoryReset is for systemd before 262, and /usr has 262; nothing is reset for it")?;
    ensure!(
        lasting::root_on(context, &disk, 512)? == before,
        "a root under systemd 262 was reset by FactoryReset"
    );
    Ok(())
}

fn by_command_line(context: &Context<'_>, machine: &Machine, disk: &Path) -> Result<()> {
    lasting::boots_first(context, machine)?;
    let old = lasting::root_on(context, disk, 512)?;
    let outcome = context.run(&machine.clone().cmdline("systemd.factory_reset"))?;
    outcome.expect(&Exit::Reboot)?;
    outcome.line("has reset this system.")?;
    let reason = &outcome.line("  reason  ")?.text;
    ensure!(
        reason.contains("1 partition was erased and removed") && reason.contains("boot without"),
        "the reason says neither what was done nor what to do: {reason}"
    );
    outcome.without("HERMETIC-STATE-BEGIN")?;
    lasting::faultless(context, disk, 512)?;
    ensure!(lasting::find_root(context, disk, 512).is_err(), "the root is still in the table");
    erased(disk, &old)?;
    // With nothing left to reset the same word, in the spelling of ParticleOS, is no obstacle: the boot makes another root.
    lasting::boots_first(context, &machine.clone().cmdline("systemd.factory_reset=1"))?;
    let new = lasting::root_on(context, disk, 512)?;
    ensure!((new.start, new.length) == (old.start, old.length), "{new:?} is not where {old:?} was");
    ensure!(new.guid != old.guid, "the new root has the old one's GUID {}", new.guid);
    Ok(())
}

/// Checks that the header and the keyslots of a volume, which hold its key, are zeroes.
fn erased(disk: &Path, old: &lasting::Root) -> Result<()> {
    let mut bytes = vec![0; 16 << 20];
    File::open(disk)?.read_exact_at(&mut bytes, old.start)?;
    ensure!(bytes.iter().all(|byte| *byte == 0), "something of the old root's keyslots is left");
    Ok(())
}

fn by_firmware(context: &Context<'_>, machine: &Machine, disk: &Path) -> Result<()> {
    let guid = || -> Result<String> { Ok(lasting::root_on(context, disk, 512)?.guid) };
    let request = |id: &str| {
        json!({ "osReleaseId": id, "osReleaseVersionId": "13", "bootId": "aabbccddeeff40118899aabbccddeeff" })
            .to_string()
    };
    let mut before = guid()?;
    // Each boot leaves the request for the next one. The first one finds no request, and keeps the root.
    let boots = [
        (small::efi("FactoryReset", small::SYSTEMD, "yes"), false),
        (small::efi("FactoryResetRequest", small::SYSTEMD, &request("debian")), true),
        (small::efi("FactoryResetRequest", small::SYSTEMD, &request("another")), true),
        (String::new(), false),
    ];
    for (count, (word, resets)) in boots.iter().enumerate() {
        let what = || format!("boot {count} by firmware");
        let outcome = context.run(&machine.clone().cmdline(word)).with_context(what)?;
        let state = outcome.expect(&Exit::PowerOff).with_context(what)?.state()?;
        if !word.is_empty() {
            let failed = state.pointer("/actions/0/error").context("the variable was not written")?;
            ensure!(failed.is_null(), "{}: the variable was not written: {failed}", what());
        }
        let now = guid()?;
        ensure!((now != before) == *resets, "{}: the root was {before} and is {now}", what());
        let complete = lasting::file(&state, "/run/systemd/factory-reset-complete").is_some();
        ensure!(complete == *resets, "{}: the reset counts as complete: {complete}", what());
        before = now;
    }
    Ok(())
}
