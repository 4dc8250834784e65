//! The smallest appliance that hermetic-init takes for one, and the checks of a refusal.
//!
//! Refusals and hand-overs to the test init need no C library, no shell and no modules in /usr: without them its image
//! is made in a second and a disk is compared in a blink.

use super::{Context, TEST_INIT};
use crate::command;
use crate::disk::Disk;
use crate::image::{self, Image, Partition};
use crate::initramfs::Initramfs;
use crate::machine::{Exit, Machine, Outcome};
use crate::usr::{Recipe, Usr};
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The content of the key file.
pub const KEY: &[u8] = b"thirty-two bytes, and one more to go";

/// repart.d for a root that the key file opens.
pub const ENCRYPTED: &str =
    "[Partition]\nType=root\nLabel=root\nFormat=ext4\nEncrypt=key-file\nSizeMinBytes=64M\n";

/// repart.d for a plain root.
pub const PLAIN: &str = "[Partition]\nType=root\nLabel=root\nFormat=ext4\nEncrypt=off\nSizeMinBytes=64M\n";

/// The options that make a refusal quick: no time to read it, little patience with disks, and no question.
pub const IMPATIENT: &str = "hermetic.failure-delay=0 hermetic.device-timeout=3 rd.luks.options=headless";

/// A whole run, also when the host is busy.
pub const DEADLINE: Duration = Duration::from_secs(240);

/// The start of the first partition of an image in bytes.
pub const FIRST: u64 = 1 << 20;

/// A /usr with systemd's program, the factory /etc, sysusers.d, the test init and this repart.d file.
///
/// # Errors
/// The test init was not built.
pub fn recipe(context: &Context<'_>, repart: &str) -> Result<Recipe> {
    Ok(bare_recipe(context)?.repart(repart))
}

/// The same without a repart.d file.
///
/// # Errors
/// The test init was not built.
pub fn bare_recipe(context: &Context<'_>) -> Result<Recipe> {
    let heavy =
        ["bin", "sbin", "lib/modules", "lib/udev", "lib/x86_64-linux-gnu", "share/perl5", "share/zoneinfo"];
    Ok(heavy.into_iter().fold(context.recipe()?, |recipe, path| {
        if context.bench.appliance.usr().join(path).exists() { recipe.without(path) } else { recipe }
    }))
}

/// A disk of 256 MiB with these partitions.
#[must_use]
pub fn image(partitions: Vec<Partition>) -> Image {
    Image { size: 256 << 20, ..Image::new(partitions) }
}

/// A made appliance: its /usr and a disk that holds nothing else.
#[derive(Debug)]
pub struct Small {
    /// /usr.
    pub usr: Usr,
    /// The disk.
    pub disk: PathBuf,
}

impl Small {
    /// An appliance with this repart.d file.
    ///
    /// # Errors
    /// Its image cannot be made.
    pub fn new(context: &Context<'_>, repart: &str) -> Result<Self> {
        Self::of(context, &recipe(context, repart)?)
    }

    /// An appliance of this recipe.
    ///
    /// # Errors
    /// Its image cannot be made.
    pub fn of(context: &Context<'_>, recipe: &Recipe) -> Result<Self> {
        let usr = context.usr(recipe)?;
        let disk = context.disk("disk.raw", &image(context.partitions(&usr)?))?;
        Ok(Self { usr, disk })
    }

    /// The words that ask for this /usr.
    #[must_use]
    pub fn words(&self) -> String {
        self.usr.root_hash().map(|hash| format!("usrhash={hash}")).unwrap_or_default()
    }

    /// A machine without a disk, with the key in its initramfs, and impatient.
    ///
    /// # Errors
    /// The initramfs cannot be made.
    pub fn machine(&self, context: &Context<'_>) -> Result<Machine> {
        Ok(machine(context, Some(KEY))?.cmdline(&self.words()))
    }

    /// Boots into the test init and returns the state that it printed.
    ///
    /// # Errors
    /// It is not reached.
    pub fn boot(&self, context: &Context<'_>, words: &str) -> Result<Value> {
        let machine = self.machine(context)?.disk(Disk::new(&self.disk)).cmdline(words);
        let outcome = context.run(&machine.cmdline(&format!("hermetic.init={TEST_INIT}")))?;
        outcome.expect(&Exit::PowerOff)?.state()
    }

    /// The start of the verity partition in bytes.
    ///
    /// # Errors
    /// The image cannot be measured.
    pub fn hashes(&self) -> Result<u64> {
        Ok(FIRST + std::fs::metadata(self.usr.data())?.len().next_multiple_of(FIRST))
    }
}

/// An impatient machine without a disk, and this key file.
///
/// # Errors
/// The initramfs cannot be made.
pub fn machine(context: &Context<'_>, key: Option<&[u8]>) -> Result<Machine> {
    let initramfs = Initramfs::new("virtio");
    let initramfs = context.initramfs(&key.into_iter().fold(initramfs, Initramfs::key))?;
    Ok(context.machine().initramfs(&initramfs).cmdline(IMPATIENT).deadline(DEADLINE))
}

/// The word that makes the test init set an EFI variable to a text: UTF-16 with its end mark.
#[must_use]
pub fn efi(name: &str, vendor: &str, text: &str) -> String {
    let text: String = text.bytes().map(|byte| format!("{byte:02x}00")).collect();
    format!("hermetic.test.efi={name}-{vendor}:{text}0000")
}

/// The vendor of what boot loaders tell (Boot Loader Interface).
pub const LOADER: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// The vendor of systemd's own variables.
pub const SYSTEMD: &str = "8cf2644b-4b0b-428f-9387-6d876050dc67";

/// Runs a machine that must refuse: in this stage, with one reason that says all of `says`, by a reboot, and without a
/// single byte of the disk changed.
///
/// # Errors
/// It does something else.
pub fn refuses(
    context: &Context<'_>,
    machine: &Machine,
    disk: &Path,
    stage: &str,
    says: &[&str],
) -> Result<Outcome> {
    let before = context.file("before.raw");
    image::copy(disk, &before)?;
    let outcome = context.run(&machine.clone().disk(Disk::new(disk)))?;
    outcome.expect(&Exit::Reboot)?;
    reason(&outcome, stage, says)?;
    outcome.without("HERMETIC-STATE-BEGIN")?;
    command::run(Command::new("cmp").arg(&before).arg(disk)).context("the refusal changed the disk")?;
    Ok(outcome)
}

/// As [`refuses`], and `hermetic check` foretells the same line of the same disk.
///
/// # Errors
/// One of them does something else.
pub fn foretold(
    context: &Context<'_>,
    machine: &Machine,
    disk: &Path,
    stage: &str,
    says: &[&str],
) -> Result<Outcome> {
    let outcome = refuses(context, machine, disk, stage, says)?;
    let line = &outcome.line("  reason  ")?.text;
    let line = line.split_once("  reason  ").map_or(line.as_str(), |(_, line)| line).trim_end();
    context.doctor_says(machine, disk, stage, line)?;
    Ok(outcome)
}

/// Checks the screen that a failure shows.
///
/// # Errors
/// It names another stage or reason, or is not there.
pub fn reason(outcome: &Outcome, stage: &str, says: &[&str]) -> Result<()> {
    outcome.line("cannot start this system.")?;
    outcome.line(&format!("  stage   {stage}"))?;
    let reason = &outcome.line("  reason  ")?.text;
    for part in says {
        if !reason.contains(part) {
            bail!("the reason does not say `{part}`: {reason}");
        }
    }
    Ok(())
}

/// Turns the bits of one byte over. Twice is never.
///
/// # Errors
/// The disk cannot be read or written.
pub fn flip(disk: &Path, offset: u64) -> Result<()> {
    let mut byte = [0];
    File::open(disk)?.read_exact_at(&mut byte, offset)?;
    image::overwrite(disk, offset, &byte.map(|byte| !byte))
}
