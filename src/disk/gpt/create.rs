//! A table for a disk without one, and the identity of entries.

use uuid::Uuid;

use super::{
    Copy, Geometry, Gpt, GptError,
    mbr::{self, Mbr},
    table::Table,
};
use crate::units::{Lba, PartitionNumber};

/// The offset of the partition's GUID in an entry, in bytes.
const GUID: usize = 16;

impl Gpt {
    /// An empty table with room for 128 entries, as libfdisk makes it: partitions begin at 1 MiB, on a disk of up to 4
    /// MiB right behind the entries. [`Gpt::commit`] makes it the table of the disk, over any old one.
    ///
    /// # Errors
    /// The disk is too small, or its block size is not one that a GPT can have.
    pub fn create(geometry: Geometry, disk_guid: Uuid) -> Result<Self, GptError> {
        let table = Table::empty(geometry, disk_guid)
            .ok_or(GptError::Geometry { block_size: geometry.block_size, blocks: geometry.blocks })?;
        Ok(Self {
            geometry,
            source: Copy::Primary,
            table,
            primary_entries: Lba(2),
            primary_current: false,
            backup_current: false,
            mbr: ([0; mbr::LENGTH], Mbr::Empty),
            partitions: Vec::new(),
        })
    }

    /// Gives a partition another GUID in memory, also nil or one that is in use: the caller asked for exactly this.
    /// Everything else of its entry stays byte for byte.
    ///
    /// # Errors
    /// There is no such partition.
    pub fn identify(&mut self, number: PartitionNumber, guid: Uuid) -> Result<(), GptError> {
        let missing = GptError::Missing { number };
        let partition = self.partitions.iter_mut().find(|partition| partition.number == number);
        let partition = partition.ok_or(missing.clone())?;
        let field = (number.0 as usize)
            .checked_sub(1)
            .and_then(|index| self.table.entries.chunks_exact_mut(self.table.entry_size as usize).nth(index))
            .and_then(|entry| entry.get_mut(GUID..GUID + 16))
            .ok_or(missing)?;
        field.copy_from_slice(&guid.to_bytes_le());
        partition.guid = guid;
        self.primary_current = false;
        self.backup_current = false;
        Ok(())
    }

    /// A GUID that no partition of this table has.
    pub fn unused_guid(&self) -> Uuid {
        (1..)
            .map(Uuid::from_u128)
            .find(|guid| self.partitions.iter().all(|partition| partition.guid != *guid))
            .unwrap_or_default()
    }
}
