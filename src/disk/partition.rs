//! A partition as the table describes it, and the table's layout as a planner sees it.

use std::prelude::v1::*;

use uuid::Uuid;

use super::types;
use crate::sort;
use crate::units::{Bytes, Lba, PartitionNumber};

/// One used entry of a partition table. Its range was checked against the table that it came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Partition {
    /// The entry's place in the table, from 1.
    pub number: PartitionNumber,
    /// The partition type.
    pub type_guid: Uuid,
    /// Its own identity (PARTUUID).
    pub guid: Uuid,
    /// The first block.
    pub first: Lba,
    /// The last block, which belongs to it.
    pub last: Lba,
    /// Attribute bits, see [`types::NO_AUTO`] and its siblings.
    pub attributes: u64,
    /// The name (PARTLABEL); invalid UTF-16 is replaced.
    pub label: String,
}

impl Partition {
    /// The number of blocks.
    pub fn blocks(&self) -> u64 {
        self.last.0.saturating_sub(self.first.0).saturating_add(1)
    }

    /// The start in bytes, on a disk with blocks of `block_size` bytes.
    pub fn offset(&self, block_size: u32) -> Bytes {
        Bytes(self.first.0.saturating_mul(u64::from(block_size)))
    }

    /// The length in bytes, on a disk with blocks of `block_size` bytes.
    pub fn length(&self, block_size: u32) -> Bytes {
        Bytes(self.blocks().saturating_mul(u64::from(block_size)))
    }

    /// Returns true when automatic discovery must leave the partition alone.
    pub fn no_auto(&self) -> bool {
        self.attributes & types::NO_AUTO != 0
    }
}

/// The units of a planner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grid {
    /// Bytes, a power of two: partitions begin at multiples of it, and new ones have multiples of it.
    pub grain: u64,
    /// Bytes in a sector of a new file system that is told none.
    pub file_system_sector: u32,
}

impl Grid {
    /// That of a disk with blocks of this size, as systemd-repart has it.
    pub fn of_disk(block_size: u32) -> Self {
        Self { grain: u64::from(block_size).max(4096), file_system_sector: block_size }
    }
}

/// The part of a partition table that a planner needs: the space that partitions may use, and the partitions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    /// Bytes in a logical block.
    pub block_size: u32,
    /// The units of a planner.
    pub grid: Grid,
    /// The first block that a partition may have.
    pub first_usable: Lba,
    /// The last block that a partition may have.
    pub last_usable: Lba,
    /// The number of entries of the table.
    pub entries: u32,
    /// The used entries by number; they do not overlap and lie within the usable range.
    pub partitions: Vec<Partition>,
}

/// A gap between partitions, its bounds rounded inwards to the grain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FreeArea {
    /// The partition that ends before the gap; None at the beginning of the disk.
    pub after: Option<PartitionNumber>,
    /// The start.
    pub offset: Bytes,
    /// The length; a multiple of the grain, never 0.
    pub length: Bytes,
}

impl Layout {
    /// The gaps between the partitions in disk order, each rounded inwards to multiples of `grain` bytes. Gaps that
    /// are smaller are not listed.
    pub fn free_areas(&self, grain: u64) -> Vec<FreeArea> {
        let grain = grain.max(1);
        let block = u64::from(self.block_size);
        let mut sorted: Vec<&Partition> = self.partitions.iter().collect();
        sort::by_key(&mut sorted, |partition| partition.first);
        let mut areas = Vec::new();
        let mut add = |after: Option<PartitionNumber>, from: u64, to: u64| {
            let Some(offset) = from.checked_mul(block).and_then(|at| at.checked_next_multiple_of(grain))
            else {
                return;
            };
            let end = to.saturating_mul(block) / grain * grain;
            if end > offset {
                areas.push(FreeArea { after, offset: Bytes(offset), length: Bytes(end - offset) });
            }
        };
        let (mut after, mut from) = (None, self.first_usable.0);
        for partition in sorted {
            add(after, from, partition.first.0);
            after = Some(partition.number);
            from = partition.last.0.saturating_add(1);
        }
        add(after, from, self.last_usable.0.saturating_add(1));
        areas
    }

    /// The lowest entry number that no partition has, or None when the table is full.
    pub fn lowest_free_number(&self) -> Option<PartitionNumber> {
        (1..=self.entries)
            .map(PartitionNumber)
            .find(|number| self.partitions.iter().all(|p| p.number != *number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(number: u32, first: u64, last: u64) -> Partition {
        Partition {
            number: PartitionNumber(number),
            type_guid: types::ESP,
            guid: Uuid::from_u128(u128::from(number)),
            first: Lba(first),
            last: Lba(last),
            attributes: 0,
            label: String::new(),
        }
    }

    #[test]
    fn gaps_are_rounded_inwards_and_crumbs_are_dropped() {
        let layout = Layout {
            grid: Grid::of_disk(512),
            block_size: 512,
            first_usable: Lba(34),
            last_usable: Lba(999),
            entries: 3,
            partitions: vec![partition(3, 500, 799), partition(1, 100, 103), partition(2, 112, 499)],
        };
        let areas = layout.free_areas(4096);
        let seen: Vec<_> = areas.iter().map(|a| (a.after.map(|n| n.0), a.offset.0, a.length.0)).collect();
        // 34 → 40 .. 100 → 96; 104 .. 112; nothing between 2 and 3; 800 .. 1000.
        assert_eq!(
            seen,
            [(None, 40 * 512, 56 * 512), (Some(1), 104 * 512, 8 * 512), (Some(3), 800 * 512, 200 * 512)]
        );
        assert_eq!(layout.lowest_free_number(), None);
        let mut layout = layout;
        layout.partitions.remove(1);
        assert_eq!(layout.lowest_free_number(), Some(PartitionNumber(1)));
    }
}
