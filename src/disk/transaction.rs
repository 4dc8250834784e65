//! The changes to a disk, by a boot or by `hermetic repart`, as steps in an order that is safe against a power failure
//! after any of them.
//!
//! A partition is made in free space, which no program reads, and becomes a partition with the table. A partition that
//! is given up is marked so by the table first, so that the next boot finishes what this one began. In between stand
//! steps on the partitions themselves, which end on the medium. [`Transaction::carry_out`] is the one walk along the steps,
//! whatever the [`Medium`]: the boot's disk with a node for each partition, the tool's file or device, or a test's memory.

use uuid::Uuid;

use super::gpt::{Geometry, Gpt, GptError, NewPartition};
use crate::{
    units::{Bytes, Lba, PartitionNumber},
    writes::Writes,
};

/// The label of a partition that is being given up.
///
/// It begins with `_`, so that it is never taken for a slot to boot.
pub const RESET: &str = "_reset";

/// One step. It begins when everything of the steps before it is on the medium.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// The partition table is written, through the node of the whole disk.
    Table(Writes),
    /// The disk gets a table of its own instead of whatever it held: these writes take both ends of it.
    Forget(Writes),
    /// A new partition, which only the kernel knows, is formatted and filled.
    Fill(PartitionNumber),
    /// Makes the content of a partition unreadable for good.
    Erase(PartitionNumber),
}

/// A disk that the steps are carried out on. Each of them ends on the medium.
pub trait Medium {
    /// The error of a failed step.
    type Error;

    /// Writes a part of the partition table.
    ///
    /// # Errors
    /// The error of the disk.
    fn write_table(&mut self, writes: &Writes) -> Result<(), Self::Error>;

    /// Makes the disk drop its content; no part of it is kept, and the space may be given back first.
    ///
    /// # Errors
    /// The error of the disk.
    fn forget(&mut self, writes: &Writes) -> Result<(), Self::Error>;

    /// Formats and fills a new partition.
    ///
    /// # Errors
    /// It cannot be made.
    fn fill(&mut self, number: PartitionNumber) -> Result<(), Self::Error>;

    /// Makes the content of a partition unreadable.
    ///
    /// # Errors
    /// It cannot be erased.
    fn erase(&mut self, number: PartitionNumber) -> Result<(), Self::Error>;
}

/// The bytes at either end of a disk or a partition where its superblocks and tables stand: what is zeroed there, nobody
/// recognises.
pub const ENDS: u64 = Bytes::MIB;

/// The writes after which nothing that stood in a range of this length is recognised: superblocks at its start, and the labels
/// of ZFS and md RAID at its end.
#[must_use]
pub fn wipe(length: Bytes) -> Writes {
    wipe_ends(ENDS, length)
}

/// The same with `start` bytes at the start.
fn wipe_ends(start: u64, length: Bytes) -> Writes {
    let start = start.min(length.0);
    let end = length.0.saturating_sub(ENDS).max(start);
    let mut writes = Writes::new();
    writes.zero(Bytes(0), Bytes(start));
    writes.zero(Bytes(end), Bytes(length.0.saturating_sub(end)));
    writes
}

/// The changes to a partition that exists.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Its entry.
    pub number: PartitionNumber,
    /// Its last block, when it grows.
    pub last: Option<Lba>,
    /// The GUID, when the partition had none.
    pub guid: Option<Uuid>,
    /// The label, when the partition had none.
    pub label: Option<String>,
}

/// The steps, and the table that the disk has when they are done.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// The steps, in their order.
    pub steps: Vec<Step>,
    /// The table after them.
    pub after: Gpt,
}

impl Transaction {
    /// Makes `new` partitions, each at its number, and changes others: all by one write of the table. A new one gets
    /// exactly the given identity, also nil or that of another.
    ///
    /// Until then the table is the old one, and both copies of it are: a backup that differs could name the ranges that
    /// are about to be written. Grown partitions have their new length with the same write; their file systems grow
    /// later, or never: a file system that is smaller than its partition is whole.
    ///
    /// # Errors
    /// An entry or a range that is not free, a partition that would shrink, no room for a copy of the table.
    pub fn make(
        gpt: &Gpt,
        new: &[(PartitionNumber, NewPartition)],
        changes: &[Change],
    ) -> Result<Self, GptError> {
        if new.is_empty() && changes.is_empty() {
            return Ok(Self { steps: Vec::new(), after: gpt.clone() });
        }
        Self::filled(table(gpt)?, gpt, new, changes)
    }

    /// Makes the disk's first table, or one instead of whatever it held, with `new` partitions. `gpt` is the empty table.
    ///
    /// Nothing of the old table outlasts the first step: the disk has its old table, or no table, or the whole new one.
    ///
    /// # Errors
    /// As [`Transaction::make`].
    pub fn create(gpt: &Gpt, new: &[(PartitionNumber, NewPartition)]) -> Result<Self, GptError> {
        let Geometry { block_size, blocks } = gpt.geometry();
        let (block, first) = (u64::from(block_size), gpt.layout().first_usable.0);
        let mut ends = wipe_ends(ENDS.max(first.saturating_mul(block)), Bytes(blocks.saturating_mul(block)));
        ends.barrier();
        Self::filled(vec![Step::Forget(ends)], gpt, new, &[])
    }

    /// Brings both copies of the table in line.
    ///
    /// # Errors
    /// No room for a copy of the table.
    pub fn repair(gpt: &Gpt) -> Result<Self, GptError> {
        Ok(Self { steps: table(gpt)?, after: gpt.clone().written() })
    }

    /// Removes partitions by one write of the table, and leaves what they hold: what systemd-repart does for a factory reset.
    ///
    /// # Errors
    /// There is no such partition, or no room for a copy of the table.
    pub fn remove(gpt: &Gpt, numbers: &[PartitionNumber]) -> Result<Self, GptError> {
        let mut after = gpt.clone();
        numbers.iter().try_for_each(|number| after.remove(*number))?;
        Self::repair(&after)
    }

    /// `steps`, then new partitions, then the table that has them and the changes.
    fn filled(
        mut steps: Vec<Step>,
        gpt: &Gpt,
        new: &[(PartitionNumber, NewPartition)],
        changes: &[Change],
    ) -> Result<Self, GptError> {
        let mut after = gpt.clone();
        for Change { number, last, guid, label } in changes {
            last.map(|last| after.grow(*number, last)).transpose()?;
            guid.map(|guid| after.identify(*number, guid)).transpose()?;
            label.as_deref().map(|label| after.rename(*number, label)).transpose()?;
        }
        for (number, new) in new {
            after.add(Some(*number), NewPartition { guid: after.unused_guid(), ..new.clone() })?;
            after.identify(*number, new.guid)?;
        }
        steps.extend(new.iter().map(|(number, _)| Step::Fill(*number)));
        steps.extend(table(&after)?);
        Ok(Self { steps, after: after.written() })
    }

    /// Carries the steps out, one after the other.
    ///
    /// # Errors
    /// The first step that failed. The table on the disk is the one that the last step left.
    pub fn carry_out<E>(&self, medium: &mut dyn Medium<Error = E>) -> Result<(), E> {
        self.steps.iter().try_for_each(|step| match step {
            Step::Table(writes) => medium.write_table(writes),
            Step::Forget(writes) => medium.forget(writes),
            Step::Fill(number) => medium.fill(*number),
            Step::Erase(number) => medium.erase(*number),
        })
    }

    /// Gives up partitions: one write of the table gives all of them the label [`RESET`], then their content is erased,
    /// then one write frees their entries. Those that have the label already stay as they are until then.
    ///
    /// # Errors
    /// There is no such partition, or no room for a copy of the table.
    pub fn reset(gpt: &Gpt, numbers: &[PartitionNumber]) -> Result<Self, GptError> {
        let (mut marked, mut after) = (gpt.clone(), gpt.clone());
        for number in numbers {
            if gpt.partition(*number).is_none_or(|partition| partition.label != RESET) {
                marked.rename(*number, RESET)?;
            }
            after.remove(*number)?;
        }
        if numbers.is_empty() {
            return Ok(Self { steps: Vec::new(), after });
        }
        // Also when all of them are marked: erased without both copies saying so, they would be partitions that cannot
        // be opened and may not be formatted.
        let mut steps = table(&marked)?;
        steps.extend(numbers.iter().map(|number| Step::Erase(*number)));
        steps.extend(table(&after)?);
        Ok(Self { steps, after: after.written() })
    }
}

/// The step that brings both copies in line with `gpt`, unless they are.
fn table(gpt: &Gpt) -> Result<Vec<Step>, GptError> {
    let writes = gpt.repair()?;
    Ok(if writes.0.is_empty() { Vec::new() } else { vec![Step::Table(writes)] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{gpt::Geometry, types};

    fn entry(guid: Uuid, first: u64, label: &str) -> NewPartition {
        let (first, last) = (Lba(first), Lba(first + 2047));
        NewPartition { type_guid: types::HOME, guid, first, last, attributes: 0, label: label.into() }
    }

    #[test]
    fn identities_and_labels_are_those_that_were_told() {
        let (first, second) = (PartitionNumber(1), PartitionNumber(2));
        let mut gpt = Gpt::create(Geometry { block_size: 512, blocks: 16384 }, Uuid::from_u128(9)).unwrap();
        gpt.add(Some(first), entry(Uuid::from_u128(7), 2048, "")).unwrap();
        gpt.identify(first, Uuid::nil()).unwrap();
        let wish =
            Change { number: first, last: None, guid: Some(Uuid::from_u128(5)), label: Some("home".into()) };
        // UUID=null of repart.d(5).
        let new = [(second, entry(Uuid::nil(), 8192, "second"))];
        let after = Transaction::make(&gpt, &new, &[wish]).unwrap().after;
        let seen: Vec<_> = after
            .partitions()
            .iter()
            .map(|partition| (partition.number, partition.guid, partition.label.as_str()))
            .collect();
        assert_eq!(seen, [(first, Uuid::from_u128(5), "home"), (second, Uuid::nil(), "second")]);
        // One UUID= for two.
        let new = [(second, NewPartition { type_guid: types::SRV, ..entry(Uuid::from_u128(5), 8192, "") })];
        let after = Transaction::make(&after_alone(&after, second), &new, &[]).unwrap().after;
        assert!(after.partitions().iter().all(|partition| partition.guid == Uuid::from_u128(5)));
    }

    fn after_alone(gpt: &Gpt, without: PartitionNumber) -> Gpt {
        let mut gpt = gpt.clone();
        gpt.remove(without).unwrap();
        gpt
    }
}
