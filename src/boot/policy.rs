//! The demands of policy on existing partitions: /usr's definitions, and the command line. They decide about what is on a
//! disk, not the disk.

use super::{
    disks::{self, Disk},
    failure::{Failure, OrFail as _},
};
use crate::{
    config::{Config, RootPolicy, RootSource},
    disk::{partition::Partition, probe::Format, slot::select_root},
    image, notice,
    repart::{self, Definition},
    sys::block::BlockDevice,
    tpm::PcrMask,
};

/// The partitions that the definitions lead to expect.
pub struct Expectation {
    definitions: Vec<Definition>,
}

impl Expectation {
    /// The expectation of these definitions.
    pub fn of(definitions: &[Definition]) -> Self {
        Self { definitions: definitions.to_vec() }
    }

    fn roots(&self) -> impl Iterator<Item = &Definition> {
        self.definitions.iter().filter(|definition| definition.is_root())
    }

    /// The PCRs of the TPM that the root's definition says.
    pub fn root_pcrs(&self) -> Option<PcrMask> {
        self.roots().find_map(|root| root.tpm2_pcrs)
    }

    /// True when a definition wants the root's file system to follow its partition.
    pub fn grows(&self) -> bool {
        self.roots().any(|root| root.grow_file_system == Some(true))
    }

    /// Checks each of these entries of a disk's table whose type a definition encrypts.
    ///
    /// # Errors
    /// One is less protected than its definition says, and `hermetic.root-policy=strict`; it cannot be read.
    pub fn admit(&self, config: &Config, disk: &Disk, partitions: &[Partition]) -> Result<(), Failure> {
        for (partition, definition) in repart::encrypted(&self.definitions, partitions) {
            let device = disk.partition(partition)?;
            let found = disks::protection(&device.node());
            let found = found.or_fail(|| format!("cannot read {}", device.name))?;
            let Err(error) = repart::admit(definition, found) else { continue };
            let name = &device.name;
            match config.hermetic.root_policy {
                RootPolicy::Strict => return Err(Failure::new(format!("{name}: {error}"))),
                RootPolicy::Existing => {
                    notice!("{name}: less protected than {} says, and taken as it is", definition.file);
                }
            }
        }
        Ok(())
    }

    /// Checks the content of a device that is to be the root.
    ///
    /// # Errors
    /// Policy does not allow it.
    pub fn admit_root(
        &self,
        config: &Config,
        device: &BlockDevice,
        found: Option<Format>,
    ) -> Result<(), Failure> {
        image::admit_root(config, &self.definitions, &device.name, found).map_err(Failure::new)
    }

    /// Refuses a root that is not what policy expects before anything else changes on its disk: a table that was written, a
    /// partition that grew for it would be more than a refusal.
    ///
    /// # Errors
    /// As [`Expectation::admit_root`]; the root cannot be read.
    pub fn admit_existing(&self, config: &Config, disk: &Disk) -> Result<(), Failure> {
        let RootSource::Auto = config.root.source else { return Ok(()) };
        let Some(partition) = select_root(disk.gpt.partitions(), &config.image_filter) else { return Ok(()) };
        let device = disk.partition(partition)?;
        let found = disks::superblock(&device.node()).or_fail(|| format!("cannot read {}", device.name))?;
        self.admit_root(config, &device, found.map(|superblock| superblock.format))
    }
}
