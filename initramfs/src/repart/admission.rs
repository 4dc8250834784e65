//! The partitions that a boot would not admit, as they are on a disk or in an image.

use std::{fmt, io, path::PathBuf};

use hermetic_init::{
    disk::{gpt::Gpt, partition::Partition, probe},
    luks::Header,
    repart::{self, Definition, Protection, RepartError},
    units::{Bytes, PartitionNumber},
    writes::ReadAt,
};

use super::{Failure, disk::Disk};

/// The refusals of a boot that goes by these definitions, one for each partition that is less protected than they say.
///
/// # Errors
/// The disk cannot be read.
pub fn refusals(disk: &Disk, gpt: &Gpt, definitions: &[Definition]) -> Result<Vec<Refusal>, Failure> {
    let mut refusals = Vec::new();
    for (partition, definition) in repart::encrypted(definitions, gpt.partitions()) {
        let range = Range::of(disk, partition);
        let is_null = || Header::read(&range).is_ok_and(|header| header.names_null_cipher());
        let first = range.start_of_content()?;
        if let Err(error) = repart::admit(definition, Protection::of(&first, &is_null)) {
            refusals.push(Refusal { disk: disk.path.clone(), number: partition.number, error });
        }
    }
    Ok(refusals)
}

/// A partition that is not admitted.
pub struct Refusal {
    /// The path of its disk here.
    disk: PathBuf,
    /// Its number.
    pub number: PartitionNumber,
    /// The reason.
    pub error: RepartError,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: partition {}: {}", self.disk.display(), self.number, self.error)
    }
}

/// A partition, read through its disk.
pub struct Range<'a> {
    disk: &'a Disk,
    start: Bytes,
    length: Bytes,
}

impl<'a> Range<'a> {
    /// The range of a partition.
    pub fn of(disk: &'a Disk, partition: &Partition) -> Self {
        let (start, length) = (partition.offset(disk.block_size), partition.length(disk.block_size));
        Self { disk, start, length }
    }

    /// Its start on the disk.
    pub fn start(&self) -> Bytes {
        self.start
    }

    /// The bytes at its start that say what it holds.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn start_of_content(&self) -> Result<Vec<u8>, Failure> {
        let length = usize::try_from(self.length.0).unwrap_or(probe::LENGTH).min(probe::LENGTH);
        let mut first = vec![0; length];
        self.read_exact_at(Bytes(0), &mut first).map_err(|error| {
            Failure::new(format!("Failed to read '{}': {error}", self.disk.path.display()))
        })?;
        Ok(first)
    }

    /// Its length.
    pub fn length(&self) -> Bytes {
        self.length
    }
}

impl ReadAt for Range<'_> {
    type Error = io::Error;

    fn read_exact_at(&self, offset: Bytes, buffer: &mut [u8]) -> io::Result<()> {
        if offset.0.checked_add(buffer.len() as u64).is_none_or(|end| end > self.length.0) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.disk.read_exact_at(Bytes(self.start.0 + offset.0), buffer)
    }
}
