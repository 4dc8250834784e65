//! The outcome of a plan: the table that it makes of another one, and the empty file systems of its partitions.

use std::prelude::v1::*;

use uuid::Uuid;

use super::{Definition, Encrypt, Format, Maker, NewPartition, Plan, RepartError};
use crate::{
    disk::partition::{Layout, Partition},
    file_system::FileSystem,
    luks,
    mkfs::{MkfsError, Params, Recipe, btrfs},
    units::Bytes,
};
#[cfg(feature = "std")]
use crate::{
    disk::{
        filter::Filter,
        gpt::{self, Gpt, GptError},
        slot::select_root,
        transaction::{Change, Transaction},
    },
    repart::{Adopted, Deferred},
    units::Lba,
};

/// The room for a partition's content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Room {
    /// Its length in bytes.
    pub length: Bytes,
    /// Bytes of a sector there.
    pub sector_size: u32,
}

/// The choices for an empty file system, beside its partition and its room.
#[derive(Clone, Copy, Debug)]
pub(super) struct Making {
    /// Bytes of a page of the machine.
    pub page_size: u32,
    /// The seed of its hashes.
    pub random: [u8; 16],
    /// True when no file system was ever made with these.
    pub is_unique: bool,
    /// Seconds since 1970.
    pub now: u64,
    /// It is going to be filled: a read-only subvolume is writable at first.
    pub is_filled: bool,
}

impl NewPartition {
    /// The file system that is made in it; None for a partition that stays empty, or whose blocks are copied.
    pub fn file_system(&self) -> Option<FileSystem> {
        let format = self.definition.format.filter(|_| self.definition.copy_blocks.is_none());
        format.and_then(Format::file_system)
    }

    /// The label of its LUKS2 header: `VolumeLabel=`, or `luks-` and the label of the partition, cut to what a header keeps.
    pub fn volume_label(&self) -> String {
        let said = self.definition.volume_label.clone();
        let mut label = said.unwrap_or_else(|| format!("luks-{}", self.label));
        label.truncate(label.floor_char_boundary(luks::LABEL_MAX));
        label
    }

    /// Bytes of a sector of its LUKS2 volume, on a disk with blocks of this size.
    pub fn volume_sector(&self, block_size: u32) -> u32 {
        self.definition.file_system_sector.map_or(luks::CONTENT_SECTOR as u32, |size| size.max(block_size))
    }

    /// The room for its content: behind a LUKS header there is less, in sectors of their own.
    pub fn room(&self, block_size: u32) -> Room {
        match self.definition.encrypt {
            Encrypt::Off => Room { length: self.length, sector_size: block_size },
            _ => {
                let length = self.length.0.saturating_sub(luks::DATA_OFFSET.0);
                Room { length: Bytes(length), sector_size: self.volume_sector(block_size) }
            }
        }
    }

    /// The way to make an empty file system in this room.
    ///
    /// # Errors
    /// It cannot be made so large or so small.
    pub(super) fn empty_file_system(
        &self,
        system: FileSystem,
        room: Room,
        making: Making,
    ) -> Result<Recipe, MkfsError> {
        let Room { length: size, sector_size } = room;
        let Making { page_size, random, is_unique, now, is_filled } = making;
        let (uuid, label) = (self.fs_uuid, self.label.as_str());
        let subvolumes = self.definition.new_subvolumes(is_filled);
        let choices = btrfs::Choices {
            subvolumes: &subvolumes,
            default_subvolume: self.definition.default_subvolume.as_deref(),
            ..btrfs::Choices::default()
        };
        // Of a device its own sector is the least.
        let sector_size = sector_size.max(self.file_system_sector);
        let params = Params { size, sector_size, page_size, uuid, label, random, is_unique, now };
        system.recipe(&params, choices)
    }
}

/// True when the disk has a partition that the definition may mean.
fn exists(definition: &Definition, partitions: &[Partition]) -> bool {
    partitions.iter().any(|partition| partition.type_guid == definition.type_guid)
}

/// True when there are all the roots that the definitions ask for.
fn has_roots(definitions: &[Definition], partitions: &[Partition]) -> bool {
    definitions.iter().filter(|one| one.is_root()).all(|one| exists(one, partitions))
}

/// Plans as [`plan`](super::plan()) does, for a boot. When there is too little room, and a missing partition could not be made in
/// any room, that is the error that is returned.
///
/// # Errors
/// As `plan` and [`refuse`](super::refuse).
pub fn plan_of_boot(definitions: &[Definition], layout: &Layout, seed: Uuid) -> Result<Plan, RepartError> {
    super::plan(definitions, layout, seed).or_else(|lack| {
        let mut missing = definitions.iter().filter(|one| !exists(one, &layout.partitions));
        missing.try_for_each(|one| super::refuse(one, Maker::Boot))?;
        Err(lack)
    })
}

/// The course of a boot over a disk.
pub enum Course {
    /// The plan is carried out.
    Carry(Plan),
    /// The disk stays as it is and the boot goes on, for it has its roots: there is no room for the rest, and that is the reason.
    Leave(RepartError),
}

/// Decides what a boot does. A machine that booted before boots again, as systemd's initrd goes on when systemd-repart fails.
///
/// # Errors
/// As [`plan_of_boot`].
pub fn course(definitions: &[Definition], layout: &Layout, seed: Uuid) -> Result<Course, RepartError> {
    match plan_of_boot(definitions, layout, seed) {
        Ok(plan) => Ok(Course::Carry(plan)),
        Err(lack) if lack.is_lack() && has_roots(definitions, &layout.partitions) => Ok(Course::Leave(lack)),
        Err(error) => Err(error),
    }
}

#[cfg(feature = "std")]
impl NewPartition {
    /// Its entry in the table.
    pub fn entry(&self) -> gpt::NewPartition {
        gpt::NewPartition {
            type_guid: self.type_guid,
            guid: self.guid,
            first: self.first,
            last: self.last,
            attributes: self.attributes,
            label: self.label.clone(),
        }
    }
}

#[cfg(feature = "std")]
impl Adopted {
    /// The change of its entry: it grows, and gets a label or an identity when it has none.
    pub fn change(&self, block_size: u32) -> Option<Change> {
        let end = self.offset.0.saturating_add(self.new_length.0);
        let last = Lba((end / u64::from(block_size).max(1)).saturating_sub(1));
        let change = Change {
            number: self.number,
            last: self.grows().then_some(last),
            guid: self.guid_is_new.then_some(self.guid),
            label: self.label_is_new.then(|| self.label.clone()),
        };
        let changes = change.last.is_some() || change.guid.is_some() || change.label.is_some();
        changes.then_some(change)
    }
}

#[cfg(feature = "std")]
impl Plan {
    /// The steps in which it comes onto the disk, except deferred partitions: those are neither made nor changed. A plan that makes a table is for a disk whose content is dropped.
    ///
    /// # Errors
    /// A table that cannot be repaired, an entry that does not fit.
    pub fn transaction(&self, gpt: &Gpt, deferred: Deferred<'_>) -> Result<Transaction, GptError> {
        let block_size = gpt.geometry().block_size;
        let new = self.new.iter().filter(|new| !deferred.covers(&new.definition));
        let new: Vec<_> = new.map(|new| (new.number, new.entry())).collect();
        let kept = self.adopted.iter().filter(|old| !deferred.covers(&old.definition));
        let changes: Vec<_> = kept.filter_map(|old| old.change(block_size)).collect();
        if self.table.is_some() {
            return Transaction::create(gpt, &new);
        }
        if new.is_empty() && changes.is_empty() {
            return Transaction::repair(gpt);
        }
        Transaction::make(gpt, &new, &changes)
    }
}

/// Checks that a disk has a root that a boot would find.
///
/// # Errors
/// There is no such root.
#[cfg(feature = "std")]
pub fn demand_root(partitions: &[Partition], filter: &Filter) -> Result<(), RepartError> {
    select_root(partitions, filter).map(drop).ok_or(RepartError::NoRoot)
}
