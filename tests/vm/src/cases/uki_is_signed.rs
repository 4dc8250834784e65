//! Debian's systemd-boot and unified kernel images of ukify under Secure Boot, with a TPM. The first image carries signatures for its
//! PCR 11 in the phase of the initrd, and its first boot seals root for whoever signs so. The second image, of another version and
//! signed for ukify's own phases, opens that root; PCR 11 of both is what systemd-measure says of their sections. An image that is
//! signed for Secure Boot alone does not open it, and one that nobody signed does not start. Nothing is written by either.

use super::small::{self, DEADLINE, IMPATIENT};
use super::{Context, TEST_INIT, lasting};
use crate::command;
use crate::disk::Disk;
use crate::esp;
use crate::image::{self, Image, Partition, types};
use crate::initramfs::Initramfs;
use crate::machine::{Exit, Machine, Outcome};
use crate::signer::Signer;
use crate::uki::{self, Uki};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

const SEALED: &str = "[Partition]\nType=root\nLabel=root\nFormat=ext4\nEncrypt=tpm2\nSizeMinBytes=64M\n";

const ESP: &str = "5e8f6c0d-3a41-4b7e-9d22-1f0b6a7c8e93";

/// Phases of a boot into the test init, which is no systemd: the boot has left the initrd.
const PHASES: &str = "enter-initrd:leave-initrd";

/// An appliance whose disk has an ESP in front, and whose machine starts what this signer signed.
struct System<'a> {
    context: &'a Context<'a>,
    /// Signs programs.
    signer: Signer,
    /// Signs states of PCR 11.
    owner: Signer,
    disk: PathBuf,
    initramfs: PathBuf,
    machine: Machine,
    words: String,
}

impl<'a> System<'a> {
    fn new(context: &'a Context<'_>, words: &str) -> Result<Self> {
        let (signer, owner) = (context.signer("programs")?, context.signer("PCR 11")?);
        let usr = context.usr(&small::recipe(context, SEALED)?)?;
        let file_system = context.file("esp.img");
        esp::make(&context.bench.tools, &signer, &file_system, 96 << 20)?;
        let mut partitions = vec![Partition::of(types::ESP, ESP, "esp", &file_system)?];
        partitions.extend(context.partitions(&usr)?);
        let disk = context.disk("disk.raw", &Image { size: 384 << 20, ..Image::new(partitions) })?;
        let initramfs = context.initramfs(&Initramfs::new("virtio"))?;
        let machine =
            lasting::bare(context, &usr).cmdline(&format!("{IMPATIENT} hermetic.init={TEST_INIT} {words}"));
        let words = machine.command_line(context.bench.accelerator);
        let machine = machine.secure_firmware(&context.variables("variables.fd", &[&signer])?);
        let machine = machine.tpm(&context.file("tpm")).deadline(2 * DEADLINE);
        Ok(Self { context, signer, owner, disk, initramfs, machine, words })
    }

    /// The recipe of an image of this version.
    fn uki(&self, version: u32) -> Uki<'_> {
        let os_release =
            format!("ID=hermetic\nIMAGE_ID=appliance\nIMAGE_VERSION={version}\nVERSION_ID={version}\n");
        Uki::new(self.context.bench, &self.initramfs, &self.words, &os_release)
    }

    /// Makes an image and puts it beside the others; the newest one is started.
    fn install(&self, version: u32, uki: &Uki<'_>) -> Result<PathBuf> {
        let (name, tools) = (format!("appliance_{version}"), &self.context.bench.tools);
        let image = self.context.file(&format!("{name}.efi"));
        uki.make(&image)?;
        esp::add(tools, &self.disk, small::FIRST, &image, &name)?;
        Ok(image)
    }

    fn boot(&self) -> Result<(Outcome, Value)> {
        let outcome = self.context.run(&self.machine.clone().disk(Disk::new(&self.disk)))?;
        let state = outcome.expect(&Exit::PowerOff)?.state()?;
        lasting::mounted(&state, "/", "/dev/mapper/root ext4")?;
        Ok((outcome, state))
    }
}

pub fn run(context: &Context<'_>) -> Result<()> {
    let system = System::new(context, "")?;
    let signed = |version| system.uki(version).secure_boot(&system.signer);

    let image = system.install(1, &signed(1).pcrs(&system.owner, Some("enter-initrd")))?;
    let (outcome, state) = system.boot().context("the first boot")?;
    outcome.line("sealed to PCR 7+15 (sha256) and the key that signs for PCR 11")?;
    outcome.line("TPM2 token 0 opens keyslot 0")?;
    let first = measured(&system, &state, &image).context("the first boot")?;

    let image = system.install(2, &signed(2).pcrs(&system.owner, None))?;
    let (outcome, state) = system.boot().context("another version")?;
    outcome.line("TPM2 token 0 opens keyslot 0")?;
    ensure!(measured(&system, &state, &image)? != first, "two versions have one PCR 11");

    system.install(3, &signed(3))?;
    let says = ["vda4", "no signature for PCR 11", "headless"];
    small::refuses(context, &system.machine, &system.disk, "root", &says)
        .context("nobody signed for PCR 11")?;

    system.install(4, &system.uki(4).pcrs(&system.owner, None))?;
    does_not_start(context, &system.machine, &system.disk).context("nobody signed for Secure Boot")
}

/// Images that were signed, but not for this: by a stranger for PCR 11, for a later phase alone, by a stranger for Secure Boot. The
/// one that is right opens the root once more in the end.
pub fn further(context: &Context<'_>) -> Result<()> {
    let (system, stranger) = (System::new(context, "")?, context.signer("stranger")?);
    let signed = |version| system.uki(version).secure_boot(&system.signer);
    system.install(1, &signed(1).pcrs(&system.owner, Some("enter-initrd")))?;
    system.boot().context("the first boot")?;
    let refuses = |version, uki: &Uki<'_>| -> Result<()> {
        system.install(version, uki)?;
        let says = ["vda4", "no signature for PCR 11", "headless"];
        small::refuses(context, &system.machine, &system.disk, "root", &says).map(drop)
    };
    refuses(2, &signed(2).pcrs(&stranger, None)).context("a stranger signed for PCR 11")?;
    refuses(3, &signed(3).pcrs(&system.owner, Some(PHASES))).context("signed for the end of the initrd")?;
    system.install(4, &system.uki(4).secure_boot(&stranger).pcrs(&system.owner, None))?;
    does_not_start(context, &system.machine, &system.disk).context("a stranger signed for Secure Boot")?;
    system.install(5, &signed(5).pcrs(&system.owner, None))?;
    let (outcome, _) = system.boot().context("signed by the owner")?;
    outcome.line("TPM2 token 0 opens keyslot 0").map(drop)
}

/// Checks PCR 11 of a machine against systemd-measure's word on the image that it booted; returns it.
fn measured(system: &System<'_>, state: &Value, image: &Path) -> Result<String> {
    let expected = uki::pcr11(system.context.bench, image, PHASES)?;
    let value = state.pointer("/pcrs/11").and_then(Value::as_str).context("the machine shows no PCR 11")?;
    ensure!(value == expected, "PCR 11 is {value}, systemd-measure says {expected}");
    Ok(expected)
}

/// The firmware refuses what is on the disk; nothing of it runs, and nothing is written.
fn does_not_start(context: &Context<'_>, machine: &Machine, disk: &Path) -> Result<()> {
    let before = context.file("before.raw");
    image::copy(disk, &before)?;
    let mut running = context.start(&machine.clone().disk(Disk::new(disk)))?;
    running.wait_for("the firmware's refusal", "ccess denied", DEADLINE)?;
    running.cut_power()?;
    let outcome = running.finish()?;
    outcome.without("Linux version")?;
    command::run(Command::new("cmp").arg(&before).arg(disk)).context("the disk was changed")
}
