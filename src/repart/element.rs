//! The input of the placement: every partition of the disk and every definition, in systemd-repart's order (definitions
//! by name, then partitions without a definition, by number), and the needs of each.
//!
//! Source: the behaviour of systemd-repart 262, which the tests compare with.

use std::prelude::v1::*;

use super::{
    Definition, Encrypt, Format, Verity, check,
    keys::DEFAULT_WEIGHT,
    size::{round_down, round_up},
};
use crate::{
    disk::{
        partition::{Layout, Partition},
        types::{self, Role},
    },
    file_system::FileSystem,
    units::{Bytes, PartitionNumber},
};

/// A partition without SizeMinBytes= gets at least this.
const DEFAULT_MIN: u64 = 10 * Bytes::MIB;
/// No new partition is smaller.
const HARD_MIN: u64 = 4096;
/// Every partition for a dm-verity signature has this size at least.
const VERITY_SIGNATURE: u64 = 4 * HARD_MIN;
/// A FAT for firmware: on sectors of 4096 bytes FAT32 is not smaller, on others Windows asks for this much.
const FIRMWARE_FAT: (u64, u64) = (100 * Bytes::MIB, 260 * Bytes::MIB);
/// The space that LUKS2 keeps in front of the data: 16 MiB of header, and as much again for re-encryption.
const LUKS_OVERHEAD: u64 = 32 * Bytes::MIB;

/// The place of an existing partition, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Existing {
    /// Its place in [`Layout::partitions`].
    pub index: usize,
    pub offset: u64,
    pub size: u64,
    /// The free space behind it, from the next multiple of the grain.
    pub padding: u64,
}

/// A partition of the disk, a definition, or both at once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Element<'a> {
    /// The definition; None for a foreign partition, which stays as it is.
    pub definition: Option<&'a Definition>,
    /// The definition until it turned out that the partition cannot become as large as it should.
    pub given_up: Option<&'a Definition>,
    pub existing: Option<Existing>,
    /// It is left out.
    pub dropped: bool,
    /// The element that this one would be merged into.
    pub supplement_for: Option<usize>,
    /// The supplement that is merged into this one.
    pub merged: Option<usize>,
    /// The gap behind it, as an index of the areas.
    pub gap: Option<usize>,
    /// The gap that it is placed in.
    pub area: Option<usize>,
    /// Its size, once decided.
    pub size: Option<u64>,
    /// The free space behind it, once decided.
    pub padding: Option<u64>,
    /// The start of a new one.
    pub offset: Option<u64>,
    /// The entry that a new one gets.
    pub number: Option<u32>,
}

impl<'a> Element<'a> {
    fn new(definition: Option<&'a Definition>, existing: Option<Existing>) -> Self {
        Self {
            definition,
            given_up: None,
            existing,
            dropped: false,
            supplement_for: None,
            merged: None,
            gap: None,
            area: None,
            size: None,
            padding: None,
            offset: None,
            number: None,
        }
    }

    /// The definition that it has or had.
    pub fn source(&self) -> Option<&'a Definition> {
        self.definition.or(self.given_up)
    }

    pub fn priority(&self) -> i32 {
        self.definition.map_or(0, |definition| definition.priority)
    }
}

/// All elements, and the grain that everything is a multiple of.
pub(super) struct Elements<'a> {
    pub list: Vec<Element<'a>>,
    pub grain: u64,
    /// Bytes in a sector of a new file system that is told none, and in a block of the disk.
    sectors: (u32, u32),
}

impl<'a> Elements<'a> {
    /// The elements of a disk. Existing partitions are matched by type alone, in the order of the table: the first
    /// definition of a type takes the first partition of that type.
    pub fn new(definitions: &'a [Definition], layout: &Layout) -> Self {
        let grain = layout.grid.grain;
        let mut list: Vec<Element> =
            definitions.iter().map(|definition| Element::new(Some(definition), None)).collect();
        for (index, partition) in layout.partitions.iter().enumerate() {
            let existing = Existing {
                index,
                offset: partition.offset(layout.block_size).0,
                size: partition.length(layout.block_size).0,
                padding: padding(layout, partition, grain),
            };
            let slot = list.iter_mut().find(|element| {
                element.existing.is_none()
                    && element.definition.is_some_and(|d| d.type_guid == partition.type_guid)
            });
            match slot {
                Some(element) => element.existing = Some(existing),
                None => list.push(Element::new(None, Some(existing))),
            }
        }
        let sectors = (layout.grid.file_system_sector, layout.block_size);
        let mut elements = Self { list, grain, sectors };
        for index in 0..definitions.len() {
            let Some(target) = check::target(definitions, index) else { continue };
            let exists = elements.list.get(index).is_some_and(|element| element.existing.is_some());
            if let Some(element) = elements.list.get_mut(index) {
                element.supplement_for = Some(target);
            }
            // A supplement that is there already is used as it is written.
            if let Some(element) = elements.list.get_mut(target).filter(|_| !exists) {
                element.merged = Some(index);
            }
        }
        elements
    }

    /// Returns true when the element is merged into another one at present.
    pub fn is_merged(&self, index: usize) -> bool {
        let target = self.list.get(index).and_then(|element| element.supplement_for);
        target.and_then(|target| self.list.get(target)).is_some_and(|target| target.merged == Some(index))
    }

    /// The definition that is merged into the one of `element`.
    fn supplement(&self, element: &Element<'a>) -> Option<&'a Definition> {
        element.merged.and_then(|index| self.list.get(index)).and_then(|element| element.definition)
    }

    /// The least that the partition can do with, in bytes.
    pub fn min_size(&self, element: &Element<'a>) -> u64 {
        let current = element.existing.map(|existing| existing.size);
        let Some(definition) = element.definition else { return current.unwrap_or(0) };
        if is_signature(definition) {
            return VERITY_SIGNATURE.max(current.unwrap_or(0));
        }
        let least = match current {
            Some(size) => size,
            None => self.content(definition).max(HARD_MIN),
        };
        let supplement = self.supplement(element).and_then(|supplement| supplement.size_min);
        let wanted = definition.size_min.max(supplement).unwrap_or({
            let fixed = definition.format.and_then(Format::file_system).is_some_and(FileSystem::is_read_only)
                || definition.verity != Verity::Off;
            if fixed { 1 } else { DEFAULT_MIN }
        });
        let wanted = round_up(wanted, self.grain);
        // 257 rounded down: one that it made lacks a grain, and is no smaller than its definition allowed.
        if current.is_some_and(|size| wanted.checked_sub(size) == Some(self.grain)) {
            least
        } else {
            wanted.max(least)
        }
    }

    /// The size that the content of a new partition needs.
    fn content(&self, definition: &Definition) -> u64 {
        let encrypted = definition.encrypt != Encrypt::Off;
        let inner = match (definition.copy_size, definition.format) {
            (Some(size), _) => round_up(size, self.grain),
            (None, Some(format)) => round_up(self.least_file_system(definition, format), self.grain),
            (None, None) if encrypted => self.grain,
            (None, None) => 0,
        };
        let overhead = if encrypted { round_up(LUKS_OVERHEAD, self.grain) } else { 0 };
        inner.saturating_add(overhead)
    }

    /// The least size at which systemd makes such a file system; a grain where it knows none.
    fn least_file_system(&self, definition: &Definition, format: Format) -> u64 {
        let is_boot = [types::ESP, types::XBOOTLDR].contains(&definition.type_guid);
        match format.file_system() {
            Some(FileSystem::Vfat) if is_boot => match self.sector(definition) {
                ..4096 => FIRMWARE_FAT.0,
                _ => FIRMWARE_FAT.1,
            },
            system => system.map_or(0, |system| system.least().0),
        }
    }

    /// Bytes in a sector of the file system of a new partition: never less than the disk's.
    pub fn sector(&self, definition: &Definition) -> u32 {
        let (default, block_size) = self.sectors;
        definition.file_system_sector.unwrap_or(default).max(block_size)
    }

    /// The most that the partition may get; None for as much as there is.
    pub fn max_size(&self, element: &Element<'a>) -> Option<u64> {
        let Some(definition) = element.definition else {
            return Some(element.existing.map_or(0, |existing| existing.size));
        };
        let supplement = self.supplement(element).and_then(|supplement| supplement.size_max);
        let max = [definition.size_max, supplement].into_iter().flatten().min()?;
        let current = element.existing.map_or(0, |existing| existing.size);
        Some(round_down(max, self.grain).max(current).max(self.min_size(element)))
    }

    /// The least free space behind the partition.
    pub fn min_padding(&self, element: &Element<'a>) -> u64 {
        let own = element.definition.and_then(|definition| definition.padding_min);
        let supplement = self.supplement(element).and_then(|supplement| supplement.padding_min);
        own.max(supplement).unwrap_or(0)
    }

    /// The most free space behind the partition.
    pub fn max_padding(&self, element: &Element<'a>) -> u64 {
        let own = element.definition.and_then(|definition| definition.padding_max);
        let supplement = self.supplement(element).and_then(|supplement| supplement.padding_max);
        [own, supplement].into_iter().flatten().min().unwrap_or(u64::MAX)
    }

    /// The least size of the partition up to the place where the next one may begin.
    pub fn min_with_padding(&self, element: &Element<'a>) -> u64 {
        let least = self.min_size(element).saturating_add(self.min_padding(element));
        match element.existing {
            // A partition that does not begin on the grain may end on it.
            Some(existing) => {
                round_up(existing.offset.saturating_add(least), self.grain).saturating_sub(existing.offset)
            }
            None => round_up(least, self.grain),
        }
    }

    /// The share that the partition has, and that of the space behind it.
    pub fn weights(&self, element: &Element<'a>) -> (u64, u64) {
        match self.supplement(element).or(element.definition) {
            Some(definition) => (definition.weight.into(), definition.padding_weight.into()),
            None => (DEFAULT_WEIGHT.into(), 0),
        }
    }
}

/// For each definition the existing partition that it means.
pub fn matched(definitions: &[Definition], layout: &Layout) -> Vec<Option<PartitionNumber>> {
    let elements = Elements::new(definitions, layout);
    let number = |element: &Element<'_>| {
        layout.partitions.get(element.existing?.index).map(|partition| partition.number)
    };
    elements.list.iter().take(definitions.len()).map(number).collect()
}

fn is_signature(definition: &Definition) -> bool {
    matches!(types::role(definition.type_guid), Some(Role::RootVeritySig | Role::UsrVeritySig))
}

/// The space between a partition and the next one (or the end of the usable range), its bounds rounded inwards.
fn padding(layout: &Layout, partition: &Partition, grain: u64) -> u64 {
    let block = u64::from(layout.block_size);
    let end = partition.last.0.saturating_add(1);
    let next = layout
        .partitions
        .iter()
        .map(|other| other.first.0)
        .filter(|first| *first >= end)
        .min()
        .unwrap_or(layout.last_usable.0.saturating_add(1));
    let next = round_down(next.saturating_mul(block), grain);
    next.saturating_sub(round_up(end.saturating_mul(block), grain))
}
