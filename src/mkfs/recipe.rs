//! An empty file system of any kind, and the parameters that all of them share.

use std::prelude::v1::*;

use uuid::Uuid;

use super::{MkfsError, btrfs, ext4, swap, vfat};
use crate::{
    file_system::{FileSystem, MadeBy},
    units::Bytes,
    writes::Writes,
};

/// The parameters that every file system has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Params<'a> {
    /// The size of the partition, mapping or file.
    pub size: Bytes,
    /// The logical sector of the device, in bytes; 512 for a file.
    pub sector_size: u32,
    /// Bytes in a page of the machine that will use it.
    pub page_size: u32,
    /// The UUID; FAT takes its first four bytes for a serial number.
    pub uuid: Uuid,
    /// The label, cut and changed to fit the format.
    pub label: &'a str,
    /// Random bytes that are known to nobody else.
    pub random: [u8; 16],
    /// True when no file system before this one can have been made with the same random bytes: they come from a generator now, and
    /// from no seed.
    pub is_unique: bool,
    /// Seconds since 1970.
    pub now: u64,
}

/// The way to make one empty file system.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Recipe {
    /// Writes to its device.
    Writes(Writes),
    /// A program of /usr that writes to its device.
    Program {
        /// The file system that it makes.
        system: FileSystem,
        /// The name of the program.
        program: &'static str,
    },
}

impl Recipe {
    /// As [`Recipe::writes`], borrowed.
    ///
    /// # Errors
    /// A program makes it.
    pub fn as_writes(&self) -> Result<&Writes, MkfsError> {
        match self {
            Self::Writes(writes) => Ok(writes),
            Self::Program { system, program } => Err(MkfsError::Program { format: system.name(), program }),
        }
    }

    /// The writes, for one who runs no programs.
    ///
    /// # Errors
    /// A program makes it.
    pub fn writes(self) -> Result<Writes, MkfsError> {
        match self {
            Self::Writes(writes) => Ok(writes),
            Self::Program { system, program } => Err(MkfsError::Program { format: system.name(), program }),
        }
    }
}

impl FileSystem {
    /// Plans the writes of an empty one, with the choices of systemd-repart's calls of `mkfs`.
    ///
    /// # Errors
    /// The size is out of the format's bounds, or it is not made by writes.
    pub fn plan(self, params: &Params) -> Result<Writes, MkfsError> {
        self.recipe(params, btrfs::Choices::default())?.writes()
    }

    /// The way to make an empty one, with the choices that only btrfs has. Other formats have no subvolumes, and read over
    /// them as systemd does.
    ///
    /// # Errors
    /// The size is out of the format's bounds, the choices cannot be had, or nothing makes it.
    pub fn recipe(self, params: &Params, choices: btrfs::Choices) -> Result<Recipe, MkfsError> {
        let &Params { size, sector_size, page_size, uuid, label, random, is_unique, now } = params;
        let writes = match self {
            Self::Ext4 => {
                let hash_seed = uuid::Builder::from_random_bytes(random).into_uuid();
                let block_size = ext4::BlockSize::B4096;
                let journal = if is_unique { ext4::Journal::Fresh(random) } else { ext4::Journal::Zeroed };
                ext4::plan(&ext4::Params { size, uuid, label, hash_seed, now, block_size, journal })
                    .map_err(MkfsError::Ext4)
            }
            Self::Btrfs => {
                let seed = uuid::Builder::from_random_bytes(random).into_uuid();
                btrfs::plan(&btrfs::Params { size, uuid, label, seed, now, choices })
                    .map_err(MkfsError::Btrfs)
            }
            Self::Vfat => {
                let [a, b, c, d, ..] = uuid.into_bytes();
                let serial = u32::from_be_bytes([a, b, c, d]);
                vfat::plan(&vfat::Params { size, sector_size, serial, label, now })
            }
            Self::Swap => swap::plan(&swap::Params { size, page_size, uuid, label }),
            other => {
                return match other.made_by() {
                    MadeBy::Program(program) => Ok(Recipe::Program { system: other, program }),
                    MadeBy::Writes | MadeBy::Nothing => Err(MkfsError::NotMade { format: other.name() }),
                };
            }
        };
        writes.map(Recipe::Writes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_has_a_recipe_or_says_why_not() {
        let params = Params {
            size: Bytes(512 << 20),
            sector_size: 512,
            page_size: 4096,
            uuid: Uuid::from_u128(7),
            label: "x",
            random: [7; 16],
            is_unique: false,
            now: 0,
        };
        for system in FileSystem::ALL {
            let recipe = system.recipe(&params, btrfs::Choices::default());
            let refusal = match system.made_by() {
                MadeBy::Writes => {
                    assert!(matches!(recipe, Ok(Recipe::Writes(_))), "{system}");
                    continue;
                }
                MadeBy::Program(program) => {
                    let expected = Recipe::Program { system: *system, program };
                    assert_eq!(recipe, Ok(expected), "{system}");
                    format!("{program} makes it and cannot be run here")
                }
                MadeBy::Nothing => "it is not made here".to_string(),
            };
            let said = system.plan(&params).unwrap_err().to_string();
            assert_eq!(said, format!("{system}: {refusal}; choose another file system"));
        }
        assert_eq!(FileSystem::Xfs.made_by(), MadeBy::Program("mkfs.xfs"));
    }
}
