//! The admission of partitions that exist: what a definition encrypts has to be encrypted already.
//!
//! It is asked for every partition of such a type, because systemd-gpt-auto-generator(8) takes the first one of a type (of
//! swap each one) that its attributes do not take out. The table and the content of its partitions are a stranger's word:
//! neither order nor attribute nor label exempts one. Nothing is read here.

use std::prelude::v1::*;

use super::{Definition, Encrypt, RepartError};
use crate::{
    disk::{
        partition::Partition,
        probe::{Format, probe},
    },
    file_system::FileSystem,
    luks::LUKS1,
};

/// The protection of a partition's content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protection {
    /// A LUKS2 volume. The owner of its key is not asked for: without one it stays closed.
    Luks2,
    /// A LUKS2 volume with the null cipher, which opens with any key and encrypts nothing.
    NullCipher,
    /// A LUKS1 volume. No definition makes one, and its cipher could be the null cipher too.
    Luks1,
    /// None that is known.
    None,
}

impl Protection {
    /// The protection of a partition that begins with these bytes, [`LENGTH`](crate::disk::probe::LENGTH) of them or all.
    /// `is_null` reads the header of a LUKS2 volume and says that it names the null cipher.
    pub fn of(start: &[u8], is_null: &dyn Fn() -> bool) -> Self {
        // swapon(8) takes a partition that has its signature, whatever else it is.
        if FileSystem::Swap.magic(start).is_some() {
            return Self::None;
        }
        match probe(start).map(|superblock| superblock.format) {
            Some(Format::LUKS2) if is_null() => Self::NullCipher,
            Some(Format::LUKS2) => Self::Luks2,
            Some(Format::LUKS1) => Self::Luks1,
            _ => Self::None,
        }
    }
}

/// The partitions that have to be encrypted, and the definitions that say so.
///
/// As everywhere in repart.d(5) the first definition of a type means the first partition of that type in the table: one
/// that a definition without Encrypt= means may be plain. One that no definition means has to be as the first that encrypts
/// its type says.
pub fn encrypted<'a>(
    definitions: &'a [Definition],
    partitions: &'a [Partition],
) -> Vec<(&'a Partition, &'a Definition)> {
    let mut unmet: Vec<&Definition> = definitions.iter().collect();
    let mut found = Vec::new();
    for partition in partitions {
        let same_type = |definition: &&Definition| definition.type_guid == partition.type_guid;
        let encrypts = |definition: &&Definition| definition.encrypt != Encrypt::Off;
        let met = unmet.iter().position(same_type).map(|index| unmet.remove(index));
        let meant = met.or_else(|| definitions.iter().filter(same_type).find(encrypts));
        found.extend(meant.filter(encrypts).map(|definition| (partition, definition)));
    }
    found
}

/// Admits a partition that has to be encrypted by this definition.
///
/// # Errors
/// It is not.
pub fn admit(definition: &Definition, found: Protection) -> Result<(), RepartError> {
    let found = match found {
        Protection::Luks2 => return Ok(()),
        Protection::NullCipher => "encrypted with the null cipher, which is none",
        Protection::Luks1 => LUKS1,
        Protection::None => "not encrypted",
    };
    Err(RepartError::Unprotected { found, file: definition.file.clone() })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{
        disk::{
            probe::LENGTH,
            types::{self, NO_AUTO, Role},
        },
        units::{Lba, PartitionNumber},
    };

    /// Bytes and their places; all others are zeroes.
    type Bytes<'a> = &'a [(usize, &'a [u8])];

    const LUKS2: Bytes<'static> = &[(0, b"LUKS\xba\xbe\0\x02")];
    const SWAP: Bytes<'static> = &[(4086, b"SWAPSPACE2")];
    const EXT4: Bytes<'static> = &[(1080, &[0x53, 0xef])];

    fn start(bytes: &[(usize, &[u8])]) -> Vec<u8> {
        let mut start = vec![0; LENGTH];
        for (at, bytes) in bytes {
            start[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        start
    }

    #[test]
    fn a_header_alone_is_no_encryption() {
        let rows: [(&str, Bytes<'_>, bool, Protection); 12] = [
            ("nothing", &[], false, Protection::None),
            ("swap", SWAP, false, Protection::None),
            ("ext4", EXT4, false, Protection::None),
            ("btrfs", &[((64 << 10) + 64, b"_BHRfS_M")], false, Protection::None),
            ("an unknown format", &[(1024, &[0x10, 0x20, 0xf5, 0xf2])], false, Protection::None),
            ("a hash tree", &[(0, b"verity\0\0\x01\0\0\0")], false, Protection::None),
            ("LUKS2", LUKS2, false, Protection::Luks2),
            ("LUKS2 with the null cipher", LUKS2, true, Protection::NullCipher),
            ("LUKS2 and swap", &[LUKS2[0], SWAP[0]], false, Protection::None),
            ("LUKS2 and swap of larger pages", &[LUKS2[0], (65526, b"SWAPSPACE2")], false, Protection::None),
            (
                "ext4 before the second header",
                &[EXT4[0], (0x4000, b"SKUL\xba\xbe\0\x02")],
                false,
                Protection::None,
            ),
            ("LUKS1", &[(0, b"LUKS\xba\xbe\0\x01")], false, Protection::Luks1),
        ];
        for (name, bytes, is_null, expected) in rows {
            assert_eq!(Protection::of(&start(bytes), &|| is_null), expected, "{name}");
        }
    }

    fn definition(type_guid: Uuid, encrypt: Encrypt) -> Definition {
        Definition { encrypt, file: format!("{encrypt:?}.conf"), ..Definition::of_type(type_guid) }
    }

    #[test]
    fn every_partition_of_a_type_that_is_encrypted_has_to_be() {
        const OTHER: Uuid = Uuid::from_u128(1);
        let root = types::native(Role::Root);
        let (tpm2, key_file, off) = (Encrypt::Tpm2, Encrypt::KeyFile, Encrypt::Off);
        type Asked<'a> = &'a [(Uuid, Encrypt)];
        type There<'a> = &'a [(Uuid, u64, &'a str)];
        let rows: [(&str, Asked<'_>, There<'_>, &[u32]); 12] = [
            ("nothing is asked", &[], &[(types::SWAP, 0, "")], &[]),
            ("nothing is there", &[(types::SWAP, tpm2)], &[], &[]),
            ("plain is asked", &[(types::SWAP, off)], &[(types::SWAP, 0, "")], &[]),
            ("adopted", &[(types::SWAP, tpm2)], &[(types::SWAP, 0, "")], &[1]),
            ("of another type", &[(types::HOME, tpm2)], &[(types::SWAP, 0, ""), (types::SRV, 0, "")], &[]),
            (
                "beside another",
                &[(types::SWAP, tpm2)],
                &[(types::SWAP, NO_AUTO, ""), (types::SWAP, 0, "")],
                &[1, 2],
            ),
            (
                "behind another",
                &[(types::SWAP, tpm2)],
                &[(types::SWAP, 0, ""), (types::SWAP, NO_AUTO, "")],
                &[1, 2],
            ),
            (
                "of the first type",
                &[(types::VAR, key_file), (types::TMP, off)],
                &[(types::TMP, 0, ""), (types::VAR, 0, "")],
                &[2],
            ),
            (
                "by its label no slot",
                &[(root, tpm2)],
                &[(root, 0, "_empty"), (root, NO_AUTO, "PRT#1")],
                &[1, 2],
            ),
            // Two of a type: each means its own, and what is more than that is encrypted.
            ("one of two", &[(OTHER, tpm2), (OTHER, off)], &[(OTHER, 0, ""), (OTHER, 0, "")], &[1]),
            ("the other of two", &[(OTHER, off), (OTHER, tpm2)], &[(OTHER, 0, ""), (OTHER, 0, "")], &[2]),
            (
                "a third",
                &[(OTHER, off), (OTHER, tpm2)],
                &[(OTHER, 0, ""), (OTHER, 0, ""), (OTHER, 0, "")],
                &[2, 3],
            ),
        ];
        for (name, definitions, partitions, expected) in rows {
            let definitions: Vec<_> =
                definitions.iter().map(|(kind, encrypt)| definition(*kind, *encrypt)).collect();
            let entry = |(index, (type_guid, attributes, label)): (usize, &(Uuid, u64, &str))| Partition {
                number: PartitionNumber(index as u32 + 1),
                type_guid: *type_guid,
                guid: Uuid::from_u128(index as u128),
                first: Lba(0),
                last: Lba(0),
                attributes: *attributes,
                label: (*label).into(),
            };
            let partitions: Vec<_> = partitions.iter().enumerate().map(entry).collect();
            let found: Vec<u32> =
                encrypted(&definitions, &partitions).iter().map(|(one, _)| one.number.0).collect();
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn only_luks2_is_admitted_and_the_line_says_what_to_do() {
        let definition = definition(types::HOME, Encrypt::KeyFile);
        assert_eq!(admit(&definition, Protection::Luks2), Ok(()));
        for found in [Protection::NullCipher, Protection::Luks1, Protection::None] {
            let line = admit(&definition, found).unwrap_err().to_string();
            assert!(
                line.contains("KeyFile.conf") && line.contains("hermetic.root-policy=existing"),
                "{line}"
            );
        }
    }
}
