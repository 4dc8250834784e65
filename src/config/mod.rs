//! The kernel command line and the EFI options → one checked [`Config`].
//!
//! In two stages: `raw` finds the last word of every kind, `decide` judges those that won. A word of policy that is not
//! understood or cannot be carried out refuses, before anything is touched; a word that is not ours is left to the
//! kernel and to systemd.
//!
//! References: kernel-command-line(7), systemd-fstab-generator(8), systemd-gpt-auto-generator(8),
//! systemd-veritysetup-generator(8), systemd-cryptsetup-generator(8), systemd.image-policy(7), systemd.image-filter(7).

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
pub mod past;
mod raw;
pub mod tries;
mod value;

#[cfg(test)]
mod tests;

pub use device_spec::DeviceSpec;
pub use error::{ConfigError, Warning};
pub use image_policy::{ImagePolicy, PartitionPolicy, Uses};
pub use luks::{Luks, VolumeOptions};
pub use options::{FailureAction, Hermetic, Measure, NoTpm, Recovery, RootBond, RootPolicy, Strategy};
pub use past::Past;
pub use tries::Tries;

use crate::{
    disk::filter::Filter,
    level::Level,
    tpm::PcrMask,
    verity::{RootHash, SignatureSource},
};

/// The configuration of the boot, checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// The options of our own.
    pub hermetic: Hermetic,
    /// /usr and its protection.
    pub usr: Usr,
    /// The root.
    pub root: Root,
    /// The protection that is demanded.
    pub image_policy: ImagePolicy,
    /// The labels that partitions must have to be found by their type.
    pub image_filter: Filter,
    /// True when partitions may be made, grown or deleted: false with `rd.systemd.mask=systemd-repart.service`.
    pub repart: bool,
    /// `systemd.factory_reset=`: true when the machine is to be reset; None leaves that to the firmware.
    pub factory_reset: Option<bool>,
    /// The part of the root that lasts: `systemd.volatile=`.
    pub volatile: Volatile,
    /// The key file in the initramfs, an absolute path.
    pub key_file: String,
    /// The words about the volume that holds the root.
    pub luks: Luks,
    /// The origin of the machine id, when the command line names one.
    pub machine_id: Option<MachineId>,
    /// `hermetic.init=`: the real init, chosen. An absolute path in the real root.
    pub init: Option<String>,
    /// `init=`: an absolute path that may name this program; check that before it is executed.
    pub kernel_init: Option<String>,
    /// Modules to load beside those of the builder, in this order, `-` folded to `_`.
    pub modules_load: Vec<String>,
    /// Modules not to load, `-` folded to `_`.
    pub modules_blocked: Vec<String>,
    /// Parameters of modules, in the order of the words: the module's name, `-` folded to `_`, and `NAME=VALUE`.
    pub module_parameters: Vec<(String, String)>,
    /// The end of a boot that has failed.
    pub failure: FailurePolicy,
    /// The least urgent lines that go to the kernel log.
    pub log: Level,
    /// `systemd.watchdog_sec=`: None leaves the watchdog alone.
    pub watchdog: Option<Watchdog>,
}

/// The hardware watchdog (kernel-command-line(7), `systemd.watchdog_sec=`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Watchdog {
    /// The time within which it is fed; None: the time that it has.
    pub time: Option<Duration>,
    /// `systemd.watchdog_device=`; None: the machine's first.
    pub device: Option<String>,
}

/// /usr and its protection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Usr {
    /// The way in which it is found.
    pub source: UsrSource,
    /// `usrhash=` and its devices; None without a root hash, or with `systemd.verity=no`.
    pub verity: Option<Verity>,
    /// The signature of the root hash; without `usrhash=` it gives the root hash as well. None with `systemd.verity=no`.
    pub signature: Option<SignatureSource>,
    /// `systemd.allow_userspace_verity=`: true when a certificate of the initramfs may vouch where the kernel does not.
    pub user_space_vouches: bool,
    /// The words of `systemd.verity_usr_options=` but for `root-hash-signature=`, see veritytab(5).
    pub verity_options: Vec<String>,
    /// The file system and its options. Always read-only, unless `mount.usrflags=rw` is given without a root hash.
    pub mount: Mount,
}

/// The way in which /usr is found.
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
}

/// The root.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Root {
    /// The way in which it is found.
    pub source: RootSource,
    /// The file system and its options. Read-write unless `ro` is the last word.
    pub mount: Mount,
}

/// The way in which the root is found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RootSource {
    /// By partition type, on the disk that /usr is on.
    Auto,
    /// This device.
    Device(DeviceSpec),
    /// A tmpfs of mode 0755, unless the options give another one.
    Tmpfs,
}

/// The type and the options with which a file system is mounted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Mount {
    /// The type; None: that of the superblock.
    pub fstype: Option<String>,
    /// The words of the mount options, without `ro`, `rw` and those that are for systemd alone (`x-...`, `nofail`).
    pub options: Vec<String>,
    /// True when it may be written to.
    pub read_write: bool,
}

/// The part of the root that lasts (kernel-command-line(7), `systemd.volatile=`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Volatile {
    /// Everything.
    No,
    /// Nothing: root is a tmpfs, and one on the disk is left alone.
    Yes,
    /// Nothing: writes go into a tmpfs above the root of the disk, which is mounted read-only.
    Overlay,
    /// All but /var; the real system sees to that.
    State,
}

/// The origin of the machine id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MachineId {
    /// It is this one.
    Id(uuid::Uuid),
    /// From the firmware's product UUID, also outside of virtual machines.
    Firmware,
}

/// The end of a boot that has failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FailurePolicy {
    /// The action in the end.
    pub action: FailureAction,
    /// The time that the reason stays on the screen before; None: for ever.
    pub delay: Option<Duration>,
    /// True when the command line says how long, and not the default.
    pub delay_is_said: bool,
    /// The tries of a boot loader that counts by the command line.
    pub tries: Option<Tries>,
}

impl Config {
    /// The PCRs that a new volume is sealed to whose definition asks for `defined`.
    pub fn sealing_pcrs(&self, defined: Option<PcrMask>) -> PcrMask {
        let pcrs = &self.hermetic.tpm2_pcrs;
        pcrs.said.or(defined).unwrap_or(pcrs.default)
    }

    /// Reads and checks the kernel command line, as /proc/cmdline shows it.
    ///
    /// `efi_options` is the decoded text of the variable `SystemdOptions-8cf2644b-4b0b-428f-9387-6d876050dc67`; its
    /// words come before those of the command line and lose against them. The running system can write that variable
    /// without a trace in a PCR: pass None where only verified input may decide.
    ///
    /// Fails on the first word of policy that cannot be understood or carried out; words that are merely ignored come
    /// back as warnings.
    pub fn from_cmdline(text: &str, efi_options: Option<&str>) -> Result<(Self, Vec<Warning>), ConfigError> {
        let mut warnings = Vec::new();
        let raw = raw::Raw::read(&[efi_options.unwrap_or_default(), text], &mut warnings);
        let config = decide::decide(&raw, &mut warnings)?;
        Ok((config, warnings))
    }

    /// Returns true when root is a tmpfs of this boot, with any content of the disk.
    pub fn root_is_new(&self) -> bool {
        self.root.source == RootSource::Tmpfs || self.volatile == Volatile::Yes
    }

    /// The reason why repart.d makes and changes nothing in this boot; None when it does.
    pub fn leaves_partitions(&self) -> Option<&'static str> {
        if !self.repart {
            return Some("systemd-repart.service is masked: the partition table stays as it is");
        }
        self.root_is_new().then_some("root is a tmpfs: no partition is made")
    }

    /// As [`Config::from_cmdline`], for a start by `init=` without an initramfs. The kernel has mounted
    /// `root=` to find us there: that word and those about its file system were for the kernel, in its spellings, and the
    /// root of the system is discovered.
    pub fn from_cmdline_below_root(text: &str) -> Result<(Self, Vec<Warning>), ConfigError> {
        let mut warnings = Vec::new();
        let raw = raw::Raw::read(&[text], &mut warnings).without_root();
        let config = decide::decide(&raw, &mut warnings)?;
        Ok((config, warnings))
    }
}

impl FailurePolicy {
    /// The policy of somebody who says what is done and when, whatever a boot loader counts.
    pub const fn said(action: FailureAction, delay: Option<Duration>) -> Self {
        Self { action, delay, delay_is_said: true, tries: None }
    }

    /// The failure policy of a command line that [`Config::from_cmdline`] refuses, as far as it is understood: the
    /// refusal must end as requested.
    pub fn from_refused_cmdline(text: &str) -> Self {
        decide::failure_as_understood(&raw::Raw::read(&[text], &mut Vec::new()))
    }
}
