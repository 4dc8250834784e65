//! Definitions against a partition table: what exists is adopted, what lacks is placed.

use std::prelude::v1::*;

use uuid::Uuid;

use super::{
    Definition, Encrypt, Format, RepartError, derive,
    place::{self, Wish},
    size::{round_down, round_up},
};
use crate::{
    disk::{
        partition::Layout,
        types::{GROW_FILE_SYSTEM, Identifier},
    },
    units::{Bytes, Lba, PartitionNumber},
};

/// A partition that is to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewPartition {
    /// What asks for it.
    pub definition: Definition,
    /// Its entry in the table.
    pub number: PartitionNumber,
    /// Its first block.
    pub first: Lba,
    /// Its last block, which belongs to it.
    pub last: Lba,
    /// Where it begins.
    pub offset: Bytes,
    /// How long it is.
    pub length: Bytes,
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

/// What is to be done to a disk.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// The partitions to make, in the order of their definitions.
    pub new: Vec<NewPartition>,
    /// The definitions whose partition exists, with its number.
    pub adopted: Vec<(Definition, PartitionNumber)>,
}

/// A partition without SizeMinBytes= gets at least this.
const DEFAULT_MIN: u64 = 10 * Bytes::MIB;
/// The smallest file system that mkfs and we make.
const EXT4_MIN: u64 = 32 * Bytes::MIB;
/// What LUKS2 keeps in front of the data: 16 MiB of header, and as much again for re-encryption.
const LUKS_OVERHEAD: u64 = 32 * Bytes::MIB;

/// Plans what `definitions` ask for on a disk with the partitions of `layout`.
///
/// Existing partitions are matched by type alone, in the order of the table: the first definition of a type takes the
/// first partition of that type. They stay as they are, where systemd-repart could let them grow into the gap behind
/// them.
///
/// # Errors
/// No gap that is large enough, no free entry in the table.
pub fn plan(definitions: &[Definition], layout: &Layout, seed: Uuid) -> Result<Plan, RepartError> {
    let grain = u64::from(layout.block_size).max(4096);
    let block = u64::from(layout.block_size).max(1);
    let matched = matched(definitions, layout);
    let missing: Vec<&Definition> = definitions
        .iter()
        .zip(&matched)
        .filter_map(|(definition, number)| number.is_none().then_some(definition))
        .collect();
    let wishes: Vec<Wish> = missing.iter().map(|definition| wish(definition, grain)).collect();
    let places = place::place(layout, grain, &wishes).map_err(|lack| RepartError::NoSpace {
        file: missing.get(lack.wish).map(|definition| definition.file.clone()).unwrap_or_default(),
        needed: Bytes(wishes.get(lack.wish).map_or(0, |wish| wish.min)),
        largest: Bytes(lack.largest),
    })?;

    let mut plan = Plan::default();
    // Labels and GUIDs are looked at in the order of the definitions: what precedes takes part in being unique.
    let mut labels: Vec<String> = Vec::new();
    let mut guids: Vec<Uuid> = layout.partitions.iter().map(|partition| partition.guid).collect();
    let mut numbers = free_numbers(layout);
    let mut numbered = Vec::with_capacity(places.len());
    for (index, place) in places {
        let number = numbers.next().ok_or(RepartError::TableFull { entries: layout.entries })?;
        numbered.push((index, number, place));
    }
    numbered.sort_by_key(|(index, ..)| *index);
    let mut numbered = numbered.into_iter();
    for (index, (definition, existing)) in definitions.iter().zip(matched).enumerate() {
        if let Some(number) = existing {
            let partition = layout.partitions.iter().find(|partition| partition.number == number);
            labels.extend(partition.map(|partition| partition.label.clone()));
            plan.adopted.push((definition.clone(), number));
            continue;
        }
        let Some((_, number, place)) = numbered.next() else { break };
        let guid = unique_guid(definitions, index, seed, &guids);
        guids.push(guid);
        let label = definition.label.clone().unwrap_or_else(|| unique_label(definition.type_guid, &labels));
        labels.push(label.clone());
        let first = place.offset.0 / block;
        plan.new.push(NewPartition {
            definition: definition.clone(),
            number,
            first: Lba(first),
            last: Lba(first.saturating_add(place.length.0 / block).saturating_sub(1)),
            offset: place.offset,
            length: place.length,
            type_guid: definition.type_guid,
            guid,
            label,
            attributes: GROW_FILE_SYSTEM,
            fs_uuid: derive::file_system_uuid(guid),
            luks_uuid: derive::luks_uuid(guid),
        });
    }
    Ok(plan)
}

/// For each definition the existing partition that it means.
fn matched(definitions: &[Definition], layout: &Layout) -> Vec<Option<PartitionNumber>> {
    let mut matched = vec![None; definitions.len()];
    for partition in &layout.partitions {
        let slot = definitions
            .iter()
            .zip(&mut matched)
            .find(|(definition, slot)| slot.is_none() && definition.type_guid == partition.type_guid);
        if let Some((_, slot)) = slot {
            *slot = Some(partition.number);
        }
    }
    matched
}

fn wish(definition: &Definition, grain: u64) -> Wish {
    let content = match definition.format {
        Format::Ext4 => EXT4_MIN,
    };
    let content = round_up(content, grain)
        + match definition.encrypt {
            Encrypt::Off => 0,
            Encrypt::KeyFile => round_up(LUKS_OVERHEAD, grain),
        };
    let min = round_up(definition.size_min.unwrap_or(DEFAULT_MIN), grain).max(content);
    Wish {
        min,
        max: definition.size_max.map(|max| round_down(max, grain).max(min)),
        weight: definition.weight.into(),
    }
}

fn free_numbers(layout: &Layout) -> impl Iterator<Item = PartitionNumber> {
    (1..=layout.entries)
        .map(PartitionNumber)
        .filter(|number| layout.partitions.iter().all(|partition| partition.number != *number))
}

/// systemd's identifier of the type, with `-2`, `-3`, ... when a definition before has that label.
fn unique_label(type_guid: Uuid, taken: &[String]) -> String {
    let identifier = Identifier(type_guid);
    let numbered = (2_u32..).map(|count| format!("{identifier}-{count}"));
    core::iter::once(identifier.to_string())
        .chain(numbered)
        .find(|label| !taken.contains(label))
        .unwrap_or_default()
}

/// The UUID that follows from the seed. When another partition has it already, systemd takes a random one; here it is
/// the next one that follows, so that a plan depends on nothing but its inputs.
fn unique_guid(definitions: &[Definition], index: usize, seed: Uuid, taken: &[Uuid]) -> Uuid {
    let type_guid = definitions.get(index).map_or(Uuid::nil(), |definition| definition.type_guid);
    let before = definitions.iter().take(index).filter(|other| other.type_guid == type_guid).count() as u64;
    (before..)
        .map(|counter| derive::partition_uuid(seed, type_guid, counter))
        .take(taken.len() + 1)
        .find(|guid| !taken.contains(guid))
        .unwrap_or_default()
}
