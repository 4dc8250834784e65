//! Changes to a table and the order in which they reach the disk.
//!
//! At every moment at least one copy on the disk is valid: first the copy that the table was not read from (or, when
//! both are good, the backup), barrier, then the other, barrier. A power cut leaves the old table or the new one.

use uuid::Uuid;

use super::{Copy, Gpt, GptError, Partition, check, mbr};
use crate::sort;
use crate::{
    units::{Bytes, Lba, PartitionNumber},
    writes::Writes,
};

/// The name's room in an entry, in UTF-16 units.
const LABEL_UNITS: usize = 36;
/// The offset of the last block (`EndingLBA`) in an entry, in bytes.
const LAST: usize = 40;
/// The offset of the name in an entry, in bytes.
const LABEL: usize = 56;

/// A partition that is to be added.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewPartition {
    /// The partition type.
    pub type_guid: Uuid,
    /// Its own identity (PARTUUID); no other partition of the disk may have it.
    pub guid: Uuid,
    /// The first block.
    pub first: Lba,
    /// The last block, which belongs to it.
    pub last: Lba,
    /// Attribute bits.
    pub attributes: u64,
    /// The name, at most 36 UTF-16 units.
    pub label: String,
}

impl Gpt {
    /// Adds a partition in memory, at the entry `number` or at the first free one. [`Gpt::commit`] makes it so.
    ///
    /// # Errors
    /// The entry is taken or the table full, the range is not free, GUID or label are impossible. Nothing changed then.
    pub fn add(
        &mut self,
        number: Option<PartitionNumber>,
        new: NewPartition,
    ) -> Result<PartitionNumber, GptError> {
        let number = match number {
            Some(number) if self.partition(number).is_some() => return Err(GptError::Taken { number }),
            Some(number) => number,
            None => self.layout().lowest_free_number().ok_or(GptError::Full { entries: self.table.count })?,
        };
        // A partition of the same type may be copied with its identity, as systemd-repart does for CopyBlocks=auto.
        let taken = |other: &Partition| other.guid == new.guid && other.type_guid != new.type_guid;
        if new.guid.is_nil() || self.partitions.iter().any(taken) {
            return Err(GptError::Guid(new.guid));
        }
        if new.type_guid.is_nil() {
            return Err(GptError::Guid(new.type_guid));
        }
        if new.label.encode_utf16().count() > LABEL_UNITS {
            return Err(GptError::Label(new.label));
        }
        let bytes = encode(&new);
        let mut partitions = self.partitions.clone();
        partitions.push(Partition {
            number,
            type_guid: new.type_guid,
            guid: new.guid,
            first: new.first,
            last: new.last,
            attributes: new.attributes,
            label: new.label,
        });
        sort::by_key(&mut partitions, |partition| partition.number);
        check(&self.table, &partitions)?;
        let entry = self.entry(number).ok_or(GptError::Taken { number })?;
        entry.fill(0);
        for (to, from) in entry.iter_mut().zip(bytes) {
            *to = from;
        }
        self.changed(partitions);
        Ok(number)
    }

    /// Moves the end of a partition in memory. Everything else of its entry stays byte for byte.
    ///
    /// # Errors
    /// There is no such partition, it would shrink, or the range is not free. Nothing changed then.
    pub fn grow(&mut self, number: PartitionNumber, last: Lba) -> Result<(), GptError> {
        let mut partitions = self.partitions.clone();
        let partition = partitions.iter_mut().find(|partition| partition.number == number);
        let partition = partition.ok_or(GptError::Missing { number })?;
        if last < partition.last {
            return Err(GptError::Range { number, first: partition.first, last });
        }
        partition.last = last;
        check(&self.table, &partitions)?;
        self.set(number, LAST, &last.0.to_le_bytes())?;
        self.changed(partitions);
        Ok(())
    }

    /// Gives a partition another label in memory. Everything else of its entry stays byte for byte.
    ///
    /// # Errors
    /// There is no such partition, or the label is too long. Nothing changed then.
    pub fn rename(&mut self, number: PartitionNumber, label: &str) -> Result<(), GptError> {
        if label.encode_utf16().count() > LABEL_UNITS {
            return Err(GptError::Label(label.into()));
        }
        let mut partitions = self.partitions.clone();
        let partition = partitions.iter_mut().find(|partition| partition.number == number);
        partition.ok_or(GptError::Missing { number })?.label = label.into();
        let mut name = [0; 2 * LABEL_UNITS];
        for (to, from) in name.iter_mut().zip(label.encode_utf16().flat_map(u16::to_le_bytes)) {
            *to = from;
        }
        self.set(number, LABEL, &name)?;
        self.changed(partitions);
        Ok(())
    }

    /// Removes a partition in memory: its entry is free afterwards, every other keeps its number.
    ///
    /// # Errors
    /// There is no such partition.
    pub fn remove(&mut self, number: PartitionNumber) -> Result<(), GptError> {
        let missing = GptError::Missing { number };
        let mut partitions = self.partitions.clone();
        partitions.retain(|partition| partition.number != number);
        if partitions.len() == self.partitions.len() {
            return Err(missing);
        }
        self.entry(number).ok_or(missing)?.fill(0);
        self.changed(partitions);
        Ok(())
    }

    /// The same table once it is the disk's: [`Gpt::commit`] or [`Gpt::repair`] has been carried out.
    #[must_use]
    pub fn written(self) -> Self {
        let mbr = match self.mbr {
            (block, mbr::Mbr::Protective) => (block, mbr::Mbr::Protective),
            (block, _) => (mbr::protect(block, self.geometry), mbr::Mbr::Protective),
        };
        Self { source: Copy::Primary, primary_current: true, backup_current: true, mbr, ..self }
    }

    /// The raw entry with this number.
    fn entry(&mut self, number: PartitionNumber) -> Option<&mut [u8]> {
        let index = (number.0 as usize).checked_sub(1)?;
        self.table.entries.chunks_exact_mut(self.table.entry_size as usize).nth(index)
    }

    /// Overwrites a field of an entry.
    fn set(&mut self, number: PartitionNumber, at: usize, bytes: &[u8]) -> Result<(), GptError> {
        let field = self.entry(number).and_then(|entry| entry.get_mut(at..at + bytes.len()));
        field.ok_or(GptError::Missing { number })?.copy_from_slice(bytes);
        Ok(())
    }

    /// The table in memory is another one than either copy on the disk.
    fn changed(&mut self, partitions: Vec<Partition>) {
        self.partitions = partitions;
        self.primary_current = false;
        self.backup_current = false;
    }

    /// Plans the writes that bring both copies and the protective MBR in line with this table: the backup equal to it
    /// and at the end of the disk, a damaged primary rebuilt. Empty when there is nothing to do.
    ///
    /// # Errors
    /// A partition lies where a copy belongs.
    pub fn repair(&self) -> Result<Writes, GptError> {
        let mut plan = Writes::new();
        let copies = match self.source {
            Copy::Primary => [Copy::Backup, Copy::Primary],
            Copy::Backup => [Copy::Primary, Copy::Backup],
        };
        for copy in copies {
            let current = match copy {
                Copy::Primary => self.primary_current,
                Copy::Backup => self.backup_current,
            };
            if !current {
                self.write(copy, &mut plan)?;
            }
        }
        if self.mbr.1 != mbr::Mbr::Protective {
            // One sector, and the tables do not depend on it: last, for the kernel and other tools.
            plan.data(Bytes(0), mbr::protect(self.mbr.0, self.geometry).to_vec());
            plan.barrier();
        }
        Ok(plan)
    }

    /// Plans the writes that make the table in memory the disk's table: backup, barrier, primary, barrier. When the
    /// backup was the only valid copy, the primary comes first.
    ///
    /// # Errors
    /// A partition lies where a copy belongs.
    pub fn commit(&self) -> Result<Writes, GptError> {
        let all = Self { primary_current: false, backup_current: false, ..self.clone() };
        all.repair()
    }

    /// Appends one copy, entries before header, and a barrier.
    fn write(&self, copy: Copy, plan: &mut Writes) -> Result<(), GptError> {
        let (table, geometry) = (&self.table, self.geometry);
        let blocks = table.entries_blocks(geometry);
        let end = geometry.last();
        let (lba, alternate, entries) = match copy {
            Copy::Primary => (Lba(1), end, self.primary_entries),
            Copy::Backup => (end, Lba(1), Lba(end.0.saturating_sub(blocks))),
        };
        let fits = match copy {
            Copy::Primary => entries
                .0
                .checked_add(blocks)
                .is_some_and(|after| after <= table.first_usable.0 || entries > table.last_usable),
            Copy::Backup => entries > table.last_usable,
        };
        let at = |lba: Lba| lba.offset(geometry.block_size).ok_or(GptError::NoRoomForTable);
        if !fits {
            return Err(GptError::NoRoomForTable);
        }
        plan.data(at(entries)?, table.encode_entries(geometry));
        plan.data(at(lba)?, table.encode_header(geometry, lba, alternate, entries));
        plan.barrier();
        Ok(())
    }
}

/// An entry of 128 bytes.
fn encode(new: &NewPartition) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(super::ENTRY_SIZE);
    bytes.extend(new.type_guid.to_bytes_le());
    bytes.extend(new.guid.to_bytes_le());
    bytes.extend(new.first.0.to_le_bytes());
    bytes.extend(new.last.0.to_le_bytes());
    bytes.extend(new.attributes.to_le_bytes());
    bytes.extend(new.label.encode_utf16().flat_map(u16::to_le_bytes));
    bytes.resize(super::ENTRY_SIZE, 0);
    bytes
}
