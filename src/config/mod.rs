//! The kernel command line and the EFI options → one checked [`Config`].
//!
//! In two stages: `raw` finds the last word of every kind, `decide` judges those that won. A word of policy that is not
//! understood or cannot be carried out refuses, before anything is touched; a word that is not ours is left to the
//! kernel and to systemd.
//!
//! References: kernel-command-line(7), systemd-fstab-generator(8), systemd-gpt-auto-generator(8),
//! systemd-veritysetup-generator(8), systemd-cryptsetup-generator(8), systemd.image-policy(7).

use core::time::Duration;
use std::prelude::v1::*;

pub mod cmdline;
pub mod credentials;
mod decide;
pub mod device_spec;
mod error;
pub mod factory_reset;
pub mod image_policy;
mod luks;
pub mod options;
mod raw;

#[cfg(test)]
mod tests;

pub use device_spec::DeviceSpec;
pub use error::{ConfigError, Warning};
pub use image_policy::{ImagePolicy, PartitionPolicy, Uses};
pub use luks::{Luks, VolumeOptions};

use crate::{etc::Strategy, level::Level, tpm::PcrMask, verity::RootHash};

/// Everything that the boot was told, checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// Where /usr is and what protects it.
    pub usr: Usr,
    /// Where the root is.
    pub root: Root,
    /// What protection is demanded.
    pub image_policy: ImagePolicy,
    /// Whether partitions may be made, grown or deleted: false with `rd.systemd.mask=systemd-repart.service`.
    pub repart: bool,
    /// `systemd.factory_reset=`: whether the machine is to be reset; None leaves that to the firmware.
    pub factory_reset: Option<bool>,
    /// Whether a root weaker than repart.d asks for is an attack.
    pub root_policy: RootPolicy,
    /// What of the root lasts: `systemd.volatile=`.
    pub volatile: Volatile,
    /// How /etc comes from the factory.
    pub etc: Strategy,
    /// Whether the boot is measured.
    pub measure: Measure,
    /// The PCRs that new volumes are sealed to.
    pub tpm2_pcrs: PcrMask,
    /// Whether volumes that are sealed to the TPM get a recovery key, which is shown.
    pub recovery_key: bool,
    /// What becomes of volumes that cannot be sealed.
    pub no_tpm: NoTpm,
    /// The key file in the initramfs, an absolute path.
    pub key_file: String,
    /// What is said of the volume that holds the root.
    pub luks: Luks,
    /// Where the machine id comes from, when the command line says so.
    pub machine_id: Option<MachineId>,
    /// `hermetic.init=`: the real init, chosen. An absolute path in the real root.
    pub init: Option<String>,
    /// `init=`: an absolute path that may name ourselves; whoever executes it must look first.
    pub kernel_init: Option<String>,
    /// Modules to load beside those of the builder, in this order, `-` folded to `_`.
    pub modules_load: Vec<String>,
    /// Modules not to load, `-` folded to `_`.
    pub modules_blocked: Vec<String>,
    /// Parameters of modules, in the order of the words: the module's name, `-` folded to `_`, and `NAME=VALUE`.
    pub module_parameters: Vec<(String, String)>,
    /// How long a disk may take to appear.
    pub device_timeout: Duration,
    /// What happens when the boot has failed.
    pub failure: Failure,
    /// The least urgent lines that go to the kernel log.
    pub log: Level,
}

/// Where /usr is and what protects it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Usr {
    /// How it is found.
    pub source: UsrSource,
    /// `usrhash=` and what belongs to it; None: no root hash was asked for, or `systemd.verity=no`.
    pub verity: Option<Verity>,
    /// The file system and its options. Always read-only, unless `mount.usrflags=rw` is given without a root hash.
    pub mount: Mount,
}

/// How /usr is found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UsrSource {
    /// By root hash if there is one, else by partition type and label version, on the disk that we booted from.
    Auto,
    /// This device. With a root hash it is the verity data device.
    Device(DeviceSpec),
}

/// The dm-verity protection of /usr.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verity {
    /// The root hash.
    pub root_hash: RootHash,
    /// `systemd.verity_usr_data=` or `mount.usr=`; None: the partition that the root hash names.
    pub data: Option<DeviceSpec>,
    /// `systemd.verity_usr_hash=`; None: the partition that the root hash names.
    pub hash: Option<DeviceSpec>,
    /// The words of `systemd.verity_usr_options=`, see veritytab(5).
    pub options: Vec<String>,
}

/// Where the root is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Root {
    /// How it is found.
    pub source: RootSource,
    /// The file system and its options. Read-write unless `ro` is the last word.
    pub mount: Mount,
}

/// How the root is found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RootSource {
    /// By partition type, on the disk that /usr is on.
    Auto,
    /// This device.
    Device(DeviceSpec),
    /// A tmpfs of mode 0755, unless the options give another one.
    Tmpfs,
}

/// How a file system is mounted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Mount {
    /// The type; None: what the superblock says.
    pub fstype: Option<String>,
    /// The words of the mount options, without `ro`, `rw` and those that are for systemd alone (`x-...`, `nofail`).
    pub options: Vec<String>,
    /// Whether it may be written to.
    pub read_write: bool,
}

/// Whether a root weaker than /usr's repart.d asks for is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RootPolicy {
    /// No: it is an attack.
    Strict,
    /// Yes: the fleet has old ones.
    Existing,
}

/// What of the root lasts (kernel-command-line(7), `systemd.volatile=`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Volatile {
    /// Everything.
    No,
    /// Nothing: root is a tmpfs, and one on the disk is left alone.
    Yes,
    /// Nothing: what is written goes into a tmpfs above the root of the disk, which is mounted read-only.
    Overlay,
    /// All but /var; the real system sees to that.
    State,
}

/// Whether phases of the boot and the volume key are measured into the TPM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Measure {
    /// When the boot loader measured the kernel.
    Auto,
    /// Yes; a machine that cannot do it does not start.
    Yes,
    /// No.
    No,
}

/// What a new volume gets that is to be sealed to a TPM where there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoTpm {
    /// It is not made, and the boot has failed.
    Fail,
    /// A recovery key, which is shown.
    Recovery,
    /// The key file's lock.
    KeyFile,
}

/// Where the machine id comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MachineId {
    /// It is this one.
    Id(uuid::Uuid),
    /// From the firmware's product UUID, also outside of virtual machines.
    Firmware,
}

/// What happens when the boot has failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Failure {
    /// What is done in the end.
    pub action: FailureAction,
    /// How long the reason stays on the screen before; None: for ever.
    pub delay: Option<Duration>,
}

/// How a boot that failed ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FailureAction {
    /// Reboot: a boot loader that counts falls back to the other slot.
    Reboot,
    /// Power off.
    Poweroff,
    /// Halt, power left on.
    Halt,
    /// Let the kernel panic: pstore keeps the log, `panic=` of the kernel decides the rest.
    Panic,
}

impl Config {
    /// Reads and checks the kernel command line, as /proc/cmdline shows it.
    ///
    /// `efi_options` is the decoded text of the variable `SystemdOptions-8cf2644b-4b0b-428f-9387-6d876050dc67`; its
    /// words come before those of the command line and lose against them. The running system can write that variable
    /// and no PCR tells: pass None where only what is verified may decide.
    ///
    /// Fails on the first word of policy that cannot be understood or carried out; words that are merely left out of
    /// account come back as warnings.
    pub fn from_cmdline(text: &str, efi_options: Option<&str>) -> Result<(Self, Vec<Warning>), ConfigError> {
        let mut warnings = Vec::new();
        let raw = raw::Raw::read(&[efi_options.unwrap_or_default(), text], &mut warnings);
        let config = decide::decide(&raw, &mut warnings)?;
        Ok((config, warnings))
    }

    /// Whether root is a tmpfs of this boot, whatever the disk holds.
    pub fn root_is_new(&self) -> bool {
        self.root.source == RootSource::Tmpfs || self.volatile == Volatile::Yes
    }

    /// As [`Config::from_cmdline`], for a start by `init=` without an initramfs (contract §1.6). The kernel has mounted
    /// `root=` to find us there: that word and those about its file system were for the kernel, in its spellings, and the
    /// root of the system is discovered.
    pub fn from_cmdline_below_root(text: &str) -> Result<(Self, Vec<Warning>), ConfigError> {
        let mut warnings = Vec::new();
        let raw = raw::Raw::read(&[text], &mut warnings).without_root();
        let config = decide::decide(&raw, &mut warnings)?;
        Ok((config, warnings))
    }
}

impl Failure {
    /// What a command line that [`Config::from_cmdline`] refuses says about failures, as far as that is understood: the
    /// refusal must end as somebody wished it to.
    pub fn from_refused_cmdline(text: &str) -> Self {
        decide::failure_as_understood(&raw::Raw::read(&[text], &mut Vec::new()))
    }
}
