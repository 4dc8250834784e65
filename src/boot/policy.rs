//! The demands of policy on an existing partition: /usr's definitions of the root, and the command line. They decide
//! about the root, not the disk.

use super::{
    disks::{self, Disk},
    failure::{Failure, OrFail as _},
};
use crate::{
    config::{Config, RootPolicy, RootSource, Uses},
    disk::{probe::Format, slot::select_root},
    repart::{Definition, Encrypt},
    sys::block::BlockDevice,
};

/// The root that the definitions lead to expect.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Expectation {
    /// A definition asks for encryption.
    pub encrypted: bool,
    /// A definition wants the file system to follow its partition.
    pub grows: bool,
}

impl Expectation {
    /// The expectation of these definitions.
    pub fn of(definitions: &[Definition]) -> Self {
        let mut roots = definitions.iter().filter(|definition| definition.is_root());
        Self {
            encrypted: roots.clone().any(|root| root.encrypt != Encrypt::Off),
            grows: roots.any(|root| root.grow_file_system == Some(true)),
        }
    }

    /// Checks the content of a device that is to be the root.
    ///
    /// # Errors
    /// Policy does not allow it.
    pub fn admit(&self, config: &Config, device: &BlockDevice, found: Option<Format>) -> Result<(), Failure> {
        let refuse = |reason: &str| Err(Failure::new(format!("{}: {reason}", device.name)));
        match found {
            Some(Format::LUKS1) => refuse("a LUKS1 header; convert it with cryptsetup convert --type luks2"),
            Some(Format::LUKS2) if !config.image_policy.root.allows(Uses::ENCRYPTED) => {
                refuse("encrypted, which systemd.image_policy= does not allow for root")
            }
            Some(Format::LUKS2) => Ok(()),
            _ if self.encrypted && config.hermetic.root_policy == RootPolicy::Strict => refuse(
                "not encrypted, but /usr's repart.d says it is: this disk was tampered with, or set hermetic.root-policy=existing",
            ),
            _ if !config.image_policy.root.allows(Uses::UNPROTECTED) => {
                refuse("not encrypted, which systemd.image_policy= does not allow for root")
            }
            _ => Ok(()),
        }
    }

    /// Refuses a root that is not what policy expects before anything else changes on its disk: a table that was written, a
    /// partition that grew for it would be more than a refusal.
    ///
    /// # Errors
    /// As [`Expectation::admit`]; the root cannot be read.
    pub fn admit_existing(&self, config: &Config, disk: &Disk) -> Result<(), Failure> {
        let RootSource::Auto = config.root.source else { return Ok(()) };
        let Some(partition) = select_root(disk.gpt.partitions(), &config.image_filter) else { return Ok(()) };
        let device = disk.partition(partition)?;
        let found = disks::superblock(&device.node()).or_fail(|| format!("cannot read {}", device.name))?;
        self.admit(config, &device, found.map(|superblock| superblock.format))
    }
}
