//! Definitions against a partition table: existing partitions are adopted, missing ones are placed.

use core::fmt;
use std::prelude::v1::*;

use uuid::Uuid;

use super::{
    Definition, RepartError,
    allocate::{Areas, Lack},
    derive,
    element::{Element, Elements},
    grow::{self, Numbers},
    size,
};
use crate::{
    disk::{
        partition::{Layout, Partition},
        types::{self, GROW_FILE_SYSTEM, Identifier, NO_AUTO, READ_ONLY},
    },
    units::{Bytes, Lba, PartitionNumber},
};

/// A partition that is to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewPartition {
    /// The definition, with the supplement that is merged into it.
    pub definition: Definition,
    /// The place of its definition among all.
    pub position: usize,
    /// Its entry in the table.
    pub number: PartitionNumber,
    /// Its first block.
    pub first: Lba,
    /// Its last block, which belongs to it.
    pub last: Lba,
    /// The start.
    pub offset: Bytes,
    /// The length.
    pub length: Bytes,
    /// The free space behind it.
    pub padding: Bytes,
    /// Bytes in a sector of its file system; a LUKS2 volume has its own, which may be larger.
    pub file_system_sector: u32,
    /// Its type.
    pub type_guid: Uuid,
    /// Its own identity (PARTUUID).
    pub guid: Uuid,
    /// Its label.
    pub label: String,
    /// Its attribute bits.
    pub attributes: u64,
    /// The UUID of its file system.
    pub fs_uuid: Uuid,
    /// The UUID of its LUKS header, when it has one.
    pub luks_uuid: Uuid,
}

/// An existing partition that a definition matches. Only its type says so: it may have been made by another program for
/// another purpose.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Adopted {
    /// The definition, with the supplement that is merged into it.
    pub definition: Definition,
    /// The place of its definition among all.
    pub position: usize,
    /// Its entry in the table.
    pub number: PartitionNumber,
    /// The number of partitions of its type before it in the table; as many definitions of that type come before.
    pub earlier: usize,
    /// The start.
    pub offset: Bytes,
    /// The length.
    pub length: Bytes,
    /// The new length: never less.
    pub new_length: Bytes,
    /// The free space behind it, and the space that is to stay free.
    pub padding: (Bytes, Bytes),
    /// Its identity, which is written only if it has none.
    pub guid: Uuid,
    /// True when it has no identity yet.
    pub guid_is_new: bool,
    /// Its label, which is written only if it has none.
    pub label: String,
    /// True when it has no label yet.
    pub label_is_new: bool,
}

impl Adopted {
    /// Returns true when it gets larger.
    pub fn grows(&self) -> bool {
        self.new_length > self.length
    }
}

impl fmt::Display for Adopted {
    /// The definition that was adopted and the reason, for the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, definition, earlier, length, .. } = self;
        let identifier = Identifier(definition.type_guid);
        write!(
            f,
            "partition {number} ({:?}, {length}) is taken for {}: number {} of type {identifier} on the disk and among the definitions",
            self.label,
            definition.file,
            earlier + 1
        )
    }
}

/// A partition that exists and that no definition means: it stays as it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Foreign {
    /// Its entry in the table.
    pub partition: Partition,
    /// The start.
    pub offset: Bytes,
    /// The length.
    pub length: Bytes,
    /// The free space behind it, and the space that is to stay free.
    pub padding: (Bytes, Bytes),
    /// The place of the definition that meant it until it could not grow; None when there was none.
    pub position: Option<usize>,
}

/// The reason why a definition is not carried out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reason {
    /// Not all fit, and its Priority= lets it go.
    NoSpace,
    /// Its partition exists, cannot become as large as it should, and its Priority= lets it be.
    CannotGrow(PartitionNumber),
    /// It is merged into another definition, that of this file.
    Merged(String),
}

/// A definition that is not carried out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dropped {
    /// The definition.
    pub definition: Definition,
    /// The reason.
    pub reason: Reason,
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Definition { file, priority, .. } = &self.definition;
        match &self.reason {
            Reason::NoSpace => write!(f, "{file}: does not fit and is left out (Priority={priority})"),
            Reason::CannotGrow(number) => {
                write!(f, "{file}: partition {number} cannot grow and stays as it is (Priority={priority})")
            }
            Reason::Merged(target) => write!(f, "{file}: is merged into {target}"),
        }
    }
}

/// The changes to a disk.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// The partitions to make, in the order of their definitions.
    pub new: Vec<NewPartition>,
    /// The definitions whose partition exists, in their order.
    pub adopted: Vec<Adopted>,
    /// The partitions without a definition, by number.
    pub foreign: Vec<Foreign>,
    /// The definitions that are not carried out.
    pub dropped: Vec<Dropped>,
    /// The GUID of the disk for a new table; None when the disk has a table. Set by the caller for a disk without one.
    pub table: Option<Uuid>,
}

impl Plan {
    /// Returns true when anything is to be written. A partition without label or identity alone does not count, as in
    /// systemd.
    pub fn changes(&self) -> bool {
        self.table.is_some() || !self.new.is_empty() || self.grown().next().is_some()
    }

    /// The partitions that get larger.
    pub fn grown(&self) -> impl Iterator<Item = &Adopted> {
        self.adopted.iter().filter(|adopted| adopted.grows())
    }
}

/// Plans what `definitions` ask for on a disk with the partitions of `layout`.
///
/// Existing partitions are matched by type alone, in the order of the table: the first definition of a type takes the
/// first partition of that type. They never shrink, move or lose their label.
///
/// # Errors
/// No gap that is large enough, no free entry in the table.
pub fn plan(definitions: &[Definition], layout: &Layout, seed: Uuid) -> Result<Plan, RepartError> {
    let mut elements = Elements::new(definitions, layout);
    let mut areas = Areas::new(&mut elements, layout);
    // Named before any element is left out: those that are left out also take part in being unique.
    let names = name(&elements, layout, seed);
    areas.fit(&mut elements).map_err(|lack| no_space(&elements, lack))?;
    let merged: Vec<usize> = (0..elements.list.len()).filter(|index| elements.is_merged(*index)).collect();
    for index in &merged {
        if let Some(element) = elements.list.get_mut(*index) {
            element.dropped = true;
        }
    }
    grow::grow(&mut elements, &areas);
    grow::place(&mut elements, &areas, &mut Numbers::of(layout));
    assemble(&elements, layout, &names, &merged)
}

/// The smallest disk on which `definitions` fit beside the partitions of `layout`, in bytes.
pub fn least_disk(definitions: &[Definition], layout: &Layout) -> Bytes {
    let elements = Elements::new(definitions, layout);
    let block = u64::from(layout.block_size).max(1);
    // Behind the partitions are the entries and the header of the backup.
    let tables =
        size::round_up(Bytes::MIB, elements.grain).saturating_add(size::round_up(ENTRIES, block) + block);
    Bytes((0..elements.list.len()).filter(|index| !elements.is_merged(*index)).fold(tables, |sum, index| {
        sum.saturating_add(elements.list.get(index).map_or(0, |element| elements.min_with_padding(element)))
    }))
}

/// Bytes of the entries of a table.
const ENTRIES: u64 = 128 * 128;

fn no_space(elements: &Elements<'_>, lack: Lack) -> RepartError {
    let element = elements.list.get(lack.element);
    let file = element.and_then(Element::source).map(|definition| definition.file.clone());
    RepartError::NoSpace {
        file: file.unwrap_or_default(),
        needed: Bytes(lack.needed),
        largest: Bytes(lack.largest),
    }
}

/// Label and identity of each element.
fn name(elements: &Elements<'_>, layout: &Layout, seed: Uuid) -> Vec<(String, Uuid)> {
    let mut names: Vec<(String, Uuid)> = Vec::with_capacity(elements.list.len());
    let current = |element: &Element<'_>| layout.partitions.get(element.existing?.index);
    // The UUIDs that other partitions have or will get.
    let mut taken: Vec<Uuid> = layout.partitions.iter().map(|partition| partition.guid).collect();
    taken.extend(elements.list.iter().filter_map(|element| element.definition?.uuid));
    for (index, element) in elements.list.iter().enumerate() {
        let partition = current(element);
        let own_label = partition.map(|partition| partition.label.clone());
        let own_guid = partition.map(|partition| partition.guid);
        let Some(definition) = element.definition else {
            names.push((own_label.unwrap_or_default(), own_guid.unwrap_or_default()));
            continue;
        };
        let guid = own_guid.filter(|guid| !guid.is_nil()).or(definition.uuid).unwrap_or_else(|| {
            let before = elements.list.iter().take(index);
            let type_guid = definition.type_guid;
            let count = before.filter(|other| other.definition.is_some_and(|d| d.type_guid == type_guid));
            unique_guid(seed, type_guid, count.count() as u64, &taken)
        });
        taken.push(guid);
        let label = own_label
            .filter(|label| !label.is_empty())
            .or_else(|| definition.label.clone())
            .unwrap_or_else(|| unique_label(definition.type_guid, &names));
        names.push((label, guid));
    }
    names
}

/// systemd's identifier of the type, with `-2`, `-3`, ... when an element before has that label.
fn unique_label(type_guid: Uuid, names: &[(String, Uuid)]) -> String {
    let identifier = match types::has_identifier(type_guid) {
        true => Identifier(type_guid).to_string(),
        false => "linux".into(),
    };
    let numbered = (2_u32..).map(|count| format!("{identifier}-{count}"));
    core::iter::once(identifier.clone())
        .chain(numbered)
        .find(|label| names.iter().all(|(taken, _)| taken != label))
        .unwrap_or_default()
}

/// The UUID that follows from the seed. When another partition has it already, systemd takes a random one; here it is
/// the next one that follows, so that a plan depends on nothing but its inputs.
fn unique_guid(seed: Uuid, type_guid: Uuid, before: u64, taken: &[Uuid]) -> Uuid {
    (before..)
        .map(|counter| derive::partition_uuid(seed, type_guid, counter))
        .take(taken.len() + 1)
        .find(|guid| !taken.contains(guid))
        .unwrap_or_default()
}

/// Turns decided elements into the plan.
fn assemble(
    elements: &Elements<'_>,
    layout: &Layout,
    names: &[(String, Uuid)],
    merged: &[usize],
) -> Result<Plan, RepartError> {
    let block = u64::from(layout.block_size).max(1);
    let mut plan = Plan::default();
    for (position, (element, (label, guid))) in elements.list.iter().zip(names).enumerate() {
        let length = Bytes(element.size.unwrap_or(0));
        let padding = Bytes(element.padding.unwrap_or(0));
        if let (Some(definition), true) = (element.definition, element.dropped) {
            let target = element.supplement_for.filter(|_| merged.contains(&position));
            let target = target.and_then(|target| elements.list.get(target)).and_then(Element::source);
            let reason = target.map_or(Reason::NoSpace, |target| Reason::Merged(target.file.clone()));
            plan.dropped.push(Dropped { definition: definition.clone(), reason });
            continue;
        }
        let definition = element.definition.map(|definition| {
            let supplement = element.merged.and_then(|index| elements.list.get(index)?.definition);
            supplement.map_or_else(|| definition.clone(), |supplement| definition.merged_with(supplement))
        });
        match (element.existing, definition) {
            (Some(existing), definition) => {
                let Some(partition) = layout.partitions.get(existing.index) else { continue };
                let (offset, old) = (Bytes(existing.offset), Bytes(existing.size));
                let padding = (Bytes(existing.padding), padding);
                let Some(definition) = definition else {
                    if let Some(definition) = element.given_up {
                        let reason = Reason::CannotGrow(partition.number);
                        plan.dropped.push(Dropped { definition: definition.clone(), reason });
                    }
                    let position = element.given_up.map(|_| position);
                    let partition = partition.clone();
                    plan.foreign.push(Foreign { partition, offset, length: old, padding, position });
                    continue;
                };
                let before = layout.partitions.iter().take(existing.index);
                plan.adopted.push(Adopted {
                    earlier: before.filter(|other| other.type_guid == partition.type_guid).count(),
                    definition,
                    position,
                    number: partition.number,
                    offset,
                    length: old,
                    new_length: length.max(old),
                    padding,
                    guid: *guid,
                    guid_is_new: *guid != partition.guid,
                    label: label.clone(),
                    label_is_new: *label != partition.label,
                });
            }
            (None, Some(definition)) => {
                let number = element.number.ok_or_else(|| RepartError::TableFull {
                    file: definition.file.clone(),
                    entries: layout.entries,
                })?;
                let offset = element.offset.unwrap_or(0);
                let first = offset / block;
                plan.new.push(NewPartition {
                    position,
                    number: PartitionNumber(number),
                    first: Lba(first),
                    last: Lba(first.saturating_add(length.0 / block).saturating_sub(1)),
                    offset: Bytes(offset),
                    length,
                    padding,
                    file_system_sector: elements.sector(&definition),
                    type_guid: definition.type_guid,
                    guid: *guid,
                    label: label.clone(),
                    attributes: attributes(&definition),
                    fs_uuid: derive::file_system_uuid(*guid),
                    luks_uuid: derive::luks_uuid(*guid),
                    definition,
                });
            }
            (None, None) => {}
        }
    }
    Ok(plan)
}

/// The attribute bits of a new partition. A bit that has no meaning for its type is set by Flags= only.
fn attributes(definition: &Definition) -> u64 {
    let guid = definition.type_guid;
    [
        (definition.no_auto, types::knows_no_auto(guid), NO_AUTO),
        (definition.read_only, types::knows_read_only(guid), READ_ONLY),
        (definition.grow_file_system, types::knows_grow_file_system(guid), GROW_FILE_SYSTEM),
    ]
    .into_iter()
    .fold(definition.flags, |bits, setting| match setting {
        (Some(true), true, bit) => bits | bit,
        (Some(false), true, bit) => bits & !bit,
        _ => bits,
    })
}
