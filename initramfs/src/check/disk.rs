//! The image, with its partitions by the names that the kernel will give them.

use std::{io, path::Path};

use hermetic_init::{
    config::DeviceSpec,
    disk::{
        gpt::{Gpt, GptError},
        partition::Partition,
        probe::{self, Superblock},
    },
    units::PartitionNumber,
};

use crate::repart::{
    Failure,
    admission::Range,
    args::{Choices, partition_node},
    disk::Disk,
};

/// The name of a disk that nobody has named.
const NAME: &str = "disk";

/// A disk with the name that it will have.
pub struct Named {
    disk: Disk,
    name: String,
    gpt: Option<Gpt>,
    /// The reason why a table on it cannot be used.
    unusable: Option<String>,
}

impl Named {
    /// Opens the image, and reads its table.
    ///
    /// # Errors
    /// It cannot be opened or read.
    pub fn open(path: &Path, name: Option<&str>, sector_size: Option<u32>) -> Result<Self, Failure> {
        let choices = Choices { sector_size, ..Choices::reading(path) };
        let disk = Disk::open(path, &choices)?;
        let own = disk.path.file_name().and_then(|name| name.to_str()).filter(|_| disk.is_device);
        let name = name.or(own).unwrap_or(NAME).to_owned();
        let mut named = Self { disk, name, gpt: None, unusable: None };
        named.read();
        Ok(named)
    }

    /// Takes the disk to be of this size.
    ///
    /// # Errors
    /// The image does not fit.
    pub fn grow(&mut self, size: u64) -> Result<(), Failure> {
        self.disk.grow_to(size)?;
        self.read();
        Ok(())
    }

    /// Reads the table, and takes it as the boot does.
    fn read(&mut self) {
        (self.gpt, self.unusable) = match Gpt::read(&self.disk.file, self.disk.geometry()) {
            Ok(gpt) => (Some(gpt), None),
            Err(GptError::None | GptError::Geometry { .. }) => (None, None),
            Err(GptError::Foreign(label)) if !label.is_gpt() => (None, None),
            Err(error) => {
                let line = format!("cannot use the partition table of /dev/{}: {error}", self.name);
                (None, Some(line))
            }
        };
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file or device.
    pub fn path(&self) -> &Path {
        &self.disk.path
    }

    /// The disk itself.
    pub fn whole(&self) -> &Disk {
        &self.disk
    }

    /// Its table; None when it has none that can be used.
    pub fn gpt(&self) -> Option<&Gpt> {
        self.gpt.as_ref()
    }

    /// The reason why the table that is there cannot be used.
    pub fn unusable(&self) -> Option<&str> {
        self.unusable.as_deref()
    }

    /// The partitions.
    pub fn partitions(&self) -> &[Partition] {
        self.gpt.as_ref().map(Gpt::partitions).unwrap_or_default()
    }

    /// The name of a partition.
    pub fn partition_name(&self, number: PartitionNumber) -> String {
        partition_node(Path::new(&self.name), number.0)
    }

    /// The names of the disk and its partitions, in the order in which the boot lists them.
    pub fn names(&self) -> Vec<String> {
        let partitions = self.partitions().iter().map(|partition| self.partition_name(partition.number));
        let mut names: Vec<String> = std::iter::once(self.name.clone()).chain(partitions).collect();
        names.sort();
        names
    }

    /// A partition, to be read.
    pub fn range(&self, partition: &Partition) -> Range<'_> {
        Range::of(&self.disk, partition)
    }

    /// The superblock at the start of a partition; None for unknown content.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn superblock(&self, partition: &Partition) -> Result<Option<Superblock>, Failure> {
        self.range(partition).start_of_content().map(|start| probe::probe(&start))
    }

    /// The failure of a read.
    pub fn unreadable(&self, error: &io::Error) -> Failure {
        Failure::new(format!("Failed to read '{}': {error}", self.disk.path.display()))
    }

    /// The partition that answers to a name.
    ///
    /// # Errors
    /// It cannot be told: the name is not one of a partition, or several answer to it.
    pub fn answering(&self, spec: &DeviceSpec) -> Result<Option<&Partition>, Failure> {
        let mut found = Vec::new();
        for partition in self.partitions() {
            let answers = match spec {
                DeviceSpec::Name(name) => self.partition_name(partition.number) == *name,
                DeviceSpec::PartUuid(uuid) => partition.guid.to_string() == *uuid,
                DeviceSpec::PartLabel(label) => partition.label == *label,
                DeviceSpec::Uuid(uuid) => {
                    self.superblock(partition)?.is_some_and(|found| found.uuid == *uuid)
                }
                DeviceSpec::Label(label) => {
                    self.superblock(partition)?.is_some_and(|found| found.label == *label)
                }
                DeviceSpec::Number(_) => {
                    return Err(Failure::new(format!("{spec} has no meaning outside of that machine")));
                }
            };
            if answers {
                found.push(partition);
            }
        }
        match found.as_slice() {
            [] => Ok(None),
            [partition] => Ok(Some(partition)),
            _ => Err(Failure::new(format!("{spec} is not unique in this image; name the device otherwise"))),
        }
    }
}
