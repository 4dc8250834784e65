//! Selects the /usr to boot among the slots of an A/B scheme on a disk.
//!
//! Source: Discoverable Partitions Specification and systemd's `dissect_image()`, which this follows with one
//! difference: data and hash partition are chosen together, never each by its own newest label.

use core::{cmp::Ordering, fmt};
use std::prelude::v1::*;

use uuid::Uuid;

use super::{
    filter::Filter,
    label_version::{compare, names_a_slot},
    partition::Partition,
    types::{self, Role},
};
use crate::{units::PartitionNumber, verity::RootHash};

/// The partitions that make up one version of /usr.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slot {
    /// The file system.
    pub data: PartitionNumber,
    /// The hash tree over it. With a root hash always there; without one it is the partition with the same label
    /// version.
    pub verity: Option<PartitionNumber>,
    /// The partitions that may hold the signature of the tree's root hash, those with the same label version first. With a root
    /// hash all there are, as the signature itself says what it is for.
    pub signatures: Vec<PartitionNumber>,
    /// The data partition's label.
    pub label: String,
}

/// The criterion by which a slot is chosen.
#[derive(Clone, Copy, Debug)]
pub enum Choice<'a> {
    /// The pair of partitions that this hash names.
    RootHash(&'a RootHash),
    /// The label with this version, IMAGE_VERSION of the kernel image that was booted: a boot loader that falls back to
    /// an older kernel falls back to its /usr as well. The newest when no label has it.
    Version(&'a str),
    /// The newest label.
    Newest,
}

/// The reason why no slot was chosen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SlotError {
    /// No usable partition of /usr's type for this architecture; with the pattern of its label, when there is one.
    None(Option<String>),
    /// The root hash names two partitions by their GUIDs, and this one is not there.
    Missing {
        /// `usr` or `usr-verity`.
        role: &'static str,
        /// The GUID that it would have.
        guid: Uuid,
    },
    /// It is there, and the filter hides it.
    Hidden {
        /// `usr` or `usr-verity`.
        role: &'static str,
        /// Its label.
        label: String,
    },
}

impl fmt::Display for SlotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None(None) => write!(
                f,
                "no usr-{} partition with a bootable label; write an image for this architecture",
                types::NATIVE_ARCHITECTURE
            ),
            Self::None(Some(pattern)) => write!(
                f,
                "no usr-{} partition with a bootable label that matches {pattern} of systemd.image_filter=; correct one of them",
                types::NATIVE_ARCHITECTURE
            ),
            Self::Hidden { role, label } => write!(
                f,
                "the {role} partition of usrhash= has the label {label:?}, which systemd.image_filter= does not let pass; correct one of them"
            ),
            Self::Missing { role, guid } => write!(
                f,
                "no partition with PARTUUID {guid}, the {role} partition of usrhash=; boot the kernel that belongs to this image"
            ),
        }
    }
}

impl core::error::Error for SlotError {}

/// Chooses the /usr to boot among the partitions of one disk.
///
/// With a root hash it is the pair that the hash names, by GUID alone: attributes and labels steer automatic discovery
/// only, and there is no fallback to another version. Of partitions with the same GUID, which `CopyBlocks=auto` makes, the
/// first is taken: the root hash vouches for any of them. The filter holds here, too. Without a root hash it is, among the native usr partitions that
/// discovery may use, the label of the given version, or else the highest label version; of equal ones the first.
///
/// # Errors
/// See [`SlotError`].
pub fn select_usr(partitions: &[Partition], choice: Choice<'_>, filter: &Filter) -> Result<Slot, SlotError> {
    let version = match choice {
        Choice::RootHash(hash) => {
            let data = by_guid(partitions, (Role::Usr, "usr"), hash.data_guid(), filter)?;
            let verity = by_guid(partitions, (Role::UsrVerity, "usr-verity"), hash.verity_guid(), filter)?;
            let signatures = signatures(partitions, &data.label, filter);
            return Ok(Slot {
                data: data.number,
                verity: Some(verity.number),
                signatures: signatures.map(|(_, number)| number).collect(),
                label: data.label.clone(),
            });
        }
        Choice::Version(version) => Some(version),
        Choice::Newest => None,
    };
    let same = version.and_then(|version| {
        candidates(partitions, Role::Usr, filter).find(|slot| has_version(&slot.label, version))
    });
    let data = same.or_else(|| newest(partitions, Role::Usr, filter));
    let data = data.ok_or_else(|| SlotError::None(filter.pattern(Role::Usr).map(String::from)))?;
    let verity = candidates(partitions, Role::UsrVerity, filter)
        .find(|partition| compare(version_of_hash(&partition.label), &data.label).is_eq());
    Ok(Slot {
        data: data.number,
        verity: verity.map(|partition| partition.number),
        signatures: signatures(partitions, &data.label, filter)
            .filter_map(|(of_slot, number)| of_slot.then_some(number))
            .collect(),
        label: data.label.clone(),
    })
}

/// The partitions of signatures, whatever their attributes say: those of the slot with this label, which come with true, then
/// the others. A signature is checked before it counts.
pub fn signatures(
    partitions: &[Partition],
    label: &str,
    filter: &Filter,
) -> impl Iterator<Item = (bool, PartitionNumber)> {
    let wanted = types::native(Role::UsrVeritySig);
    let all = move || {
        partitions.iter().filter(move |partition| {
            !wanted.is_nil()
                && partition.type_guid == wanted
                && filter.passes(Role::UsrVeritySig, &partition.label)
        })
    };
    let of_slot = move |partition: &&Partition| compare(version_of_hash(&partition.label), label).is_eq();
    let first = all().filter(of_slot).map(|partition| (true, partition.number));
    first.chain(all().filter(move |partition| !of_slot(partition)).map(|partition| (false, partition.number)))
}

/// Returns true when a label is `VERSION` or `NAME_VERSION`.
pub fn has_version(label: &str, version: &str) -> bool {
    label.strip_suffix(version).is_some_and(|name| name.is_empty() || name.ends_with('_'))
}

/// Chooses the root among the partitions of one disk: of those of the native root type that discovery may use, the one
/// with the highest label version, and of equal ones the first. None when there is no such partition.
pub fn select_root<'a>(partitions: &'a [Partition], filter: &Filter) -> Option<&'a Partition> {
    newest(partitions, Role::Root, filter)
}

/// `max_by` keeps the last of equal ones, the first shall stay.
fn newest<'a>(partitions: &'a [Partition], role: Role, filter: &Filter) -> Option<&'a Partition> {
    candidates(partitions, role, filter).reduce(|best, next| match compare(&next.label, &best.label) {
        Ordering::Greater => next,
        Ordering::Less | Ordering::Equal => best,
    })
}

fn candidates<'a>(
    partitions: &'a [Partition],
    role: Role,
    filter: &Filter,
) -> impl Iterator<Item = &'a Partition> {
    let wanted = types::native(role);
    partitions.iter().filter(move |partition| {
        !wanted.is_nil()
            && partition.type_guid == wanted
            && !partition.no_auto()
            && names_a_slot(&partition.label)
            && filter.passes(role, &partition.label)
    })
}

/// Image builders write the labels of the hash and the signature partition as that of the data, with or without an ending.
fn version_of_hash(label: &str) -> &str {
    let endings = ["_verity", "-verity", "_verity_sig", "-verity-sig"];
    endings.iter().find_map(|ending| label.strip_suffix(ending)).unwrap_or(label)
}

fn by_guid<'a>(
    partitions: &'a [Partition],
    (role, name): (Role, &'static str),
    guid: Uuid,
    filter: &Filter,
) -> Result<&'a Partition, SlotError> {
    let named = || partitions.iter().filter(|partition| partition.guid == guid);
    match (named().find(|partition| filter.passes(role, &partition.label)), named().next()) {
        (Some(found), _) => Ok(found),
        (None, Some(hidden)) => Err(SlotError::Hidden { role: name, label: hidden.label.clone() }),
        (None, None) => Err(SlotError::Missing { role: name, guid }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Lba;

    const HASH: &str = "00112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef";
    const DATA: &str = "00112233-4455-6677-8899-aabbccddeeff";
    const TREE: &str = "01234567-89ab-cdef-0123-456789abcdef";

    fn disk(rows: &[(Role, &str, &str, u64)]) -> Vec<Partition> {
        let row = |(index, (role, label, guid, attributes)): (usize, &(Role, &str, &str, u64))| Partition {
            number: PartitionNumber(index as u32 + 1),
            type_guid: types::native(*role),
            guid: Uuid::try_parse(guid).unwrap_or(Uuid::from_u128(index as u128 + 1)),
            first: Lba(0),
            last: Lba(0),
            attributes: *attributes,
            label: (*label).into(),
        };
        rows.iter().enumerate().map(row).collect()
    }

    fn numbers(slot: Result<Slot, SlotError>) -> (u32, Option<u32>) {
        let slot = slot.unwrap();
        (slot.data.0, slot.verity.map(|number| number.0))
    }

    #[test]
    fn without_a_hash_the_newest_bootable_label_wins_with_its_own_tree() {
        use Role::{Root, Usr, UsrVerity};
        let table = disk(&[
            (Usr, "os_1.9", "", 0),
            (UsrVerity, "os_1.9_verity", "", 0),
            (UsrVerity, "os_1.11", "", 0),
            (Usr, "os_1.10", "", 0),
            (UsrVerity, "os_1.10_verity", "", 0),
            (Usr, "os_1.010", "", 0),
            (Usr, "os_2", "", types::NO_AUTO),
            (Usr, "_empty", "", 0),
            (Usr, "PRT#os_9", "", 0),
            (Usr, "PND#os_9", "", 0),
            (Root, "os_9", "", 0),
        ]);
        assert_eq!(numbers(select_usr(&table, Choice::Newest, &Filter::default())), (4, Some(5)));
        assert_eq!(numbers(select_usr(&table[..1], Choice::Newest, &Filter::default())), (1, None));
        assert_eq!(select_usr(&table[6..], Choice::Newest, &Filter::default()), Err(SlotError::None(None)));
        // The kernel's own version goes before a newer one; a version that no slot has changes nothing.
        assert_eq!(numbers(select_usr(&table, Choice::Version("1.9"), &Filter::default())), (1, Some(2)));
        assert_eq!(numbers(select_usr(&table, Choice::Version("9"), &Filter::default())), (4, Some(5)));
        assert_eq!(numbers(select_usr(&table, Choice::Version("2"), &Filter::default())), (4, Some(5)));
    }

    #[test]
    fn what_the_filter_hides_is_not_there() {
        use Role::{Root, Usr, UsrVerity};
        let table = disk(&[
            (Usr, "os_1", "", 0),
            (UsrVerity, "os_1", TREE, 0),
            (Usr, "other_2", DATA, 0),
            (UsrVerity, "other_2", "", 0),
            (Root, "foreign", "", 0),
            (Root, "os-root", "", 0),
        ]);
        let filter = Filter::parse("usr=os_*:usr-verity=os_*:root=os-*").unwrap();
        assert_eq!(numbers(select_usr(&table, Choice::Newest, &filter)), (1, Some(2)));
        assert_eq!(numbers(select_usr(&table, Choice::Version("2"), &filter)), (1, Some(2)));
        let root = |filter| select_root(&table, &filter).map(|root| root.number.0);
        assert_eq!((root(Filter::default()), root(filter.clone())), (Some(6), Some(6)));
        assert_eq!(root(Filter::parse("root=foreign").unwrap()), Some(5));
        assert_eq!(root(Filter::parse("root=x").unwrap()), None);
        let nothing = Filter::parse("usr=x*").unwrap();
        let error = Err(SlotError::None(Some("x*".into())));
        assert_eq!(select_usr(&table, Choice::Newest, &nothing), error);
        let hash: RootHash = HASH.parse().unwrap();
        let hidden = Err(SlotError::Hidden { role: "usr", label: "other_2".into() });
        assert_eq!(select_usr(&table, Choice::RootHash(&hash), &filter), hidden);
    }

    /// The labels are those of ParticleOS (all alike), of mkosi and of systemd-repart's own tests.
    #[test]
    fn signatures_of_the_slot_come_first() {
        use Role::{RootVeritySig, Usr, UsrVerity, UsrVeritySig};
        let table = disk(&[
            (UsrVeritySig, "os_1", "", 0),
            (Usr, "os_2", DATA, 0),
            (UsrVerity, "os_2_verity", TREE, 0),
            (UsrVeritySig, "other_7", "", 0),
            (UsrVeritySig, "os_2_verity_sig", "", types::NO_AUTO),
            (RootVeritySig, "os_2", "", 0),
            (UsrVeritySig, "os_2", "", 0),
            (UsrVeritySig, "os_2-verity-sig", "", 0),
        ]);
        let hash: RootHash = HASH.parse().unwrap();
        let numbers = |choice, filter: &str| -> Vec<u32> {
            let slot = select_usr(&table, choice, &Filter::parse(filter).unwrap()).unwrap();
            slot.signatures.iter().map(|number| number.0).collect()
        };
        assert_eq!(numbers(Choice::RootHash(&hash), ""), [5, 7, 8, 1, 4]);
        assert_eq!(numbers(Choice::RootHash(&hash), "usr-verity-sig=os_*"), [5, 7, 8, 1]);
        assert_eq!(numbers(Choice::RootHash(&hash), "usr-verity-sig=x"), [0; 0]);
        assert_eq!(numbers(Choice::Newest, ""), [5, 7, 8]);
        assert_eq!(numbers(Choice::Newest, "usr-verity-sig=os_2"), [7]);
        assert_eq!(numbers(Choice::Newest, "usr-verity-sig=x"), [0; 0]);
    }

    #[test]
    fn with_a_hash_only_the_pair_that_it_names_counts() {
        use Role::{Usr, UsrVerity};
        let hash: RootHash = HASH.parse().unwrap();
        let mut table = disk(&[
            (Usr, "os_9", "", 0),
            (UsrVerity, "os_9", "", 0),
            (UsrVerity, "os_1", TREE, types::NO_AUTO),
            (Usr, "_empty", DATA, types::NO_AUTO),
        ]);
        assert_eq!(numbers(select_usr(&table, Choice::RootHash(&hash), &Filter::default())), (4, Some(3)));
        let missing = |role, guid: &str| SlotError::Missing { role, guid: Uuid::try_parse(guid).unwrap() };
        assert_eq!(
            select_usr(&table[..3], Choice::RootHash(&hash), &Filter::default()),
            Err(missing("usr", DATA))
        );
        assert_eq!(
            select_usr(&table[3..], Choice::RootHash(&hash), &Filter::default()),
            Err(missing("usr-verity", TREE))
        );
        // A copy behind it is not looked at.
        table.extend_from_within(3..);
        table[4].number = PartitionNumber(5);
        assert_eq!(numbers(select_usr(&table, Choice::RootHash(&hash), &Filter::default())), (4, Some(3)));
    }
}
