//! A file system by name, and the parameters that all of them share.

use core::fmt;
use std::prelude::v1::*;

use uuid::Uuid;

use super::{MkfsError, btrfs, ext4, swap, vfat};
use crate::{units::Bytes, writes::Writes};

/// What can be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileSystem {
    /// ext4.
    Ext4,
    /// btrfs.
    Btrfs,
    /// FAT with 32 bits.
    Vfat,
    /// Swap space.
    Swap,
}

/// What is decided before any of them is made.
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
    /// The label, cut and mangled to what the format allows.
    pub label: &'a str,
    /// Random bytes that nobody else knows.
    pub random: [u8; 16],
    /// Seconds since 1970.
    pub now: u64,
}

impl FileSystem {
    /// All, in the order in which they are listed.
    pub const ALL: [Self; 4] = [Self::Ext4, Self::Btrfs, Self::Vfat, Self::Swap];

    /// Its name in repart.d and for mount(2).
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Btrfs => "btrfs",
            Self::Vfat => "vfat",
            Self::Swap => "swap",
        }
    }

    /// The one of this name; None for what cannot be made here.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// Whether it can be mounted and hold files.
    pub fn holds_files(self) -> bool {
        self != Self::Swap
    }

    /// Plans an empty one, with the choices of systemd: what `mkfs` is told there.
    ///
    /// # Errors
    /// The size is out of the format's bounds.
    pub fn plan(self, params: &Params) -> Result<Writes, MkfsError> {
        self.plan_with(params, btrfs::Choices::default())
    }

    /// The same with what only btrfs asks. Other formats have no subvolumes, and read over it as systemd does.
    ///
    /// # Errors
    /// The size is out of the format's bounds, or the choices cannot be had.
    pub fn plan_with(self, params: &Params, choices: btrfs::Choices) -> Result<Writes, MkfsError> {
        let &Params { size, sector_size, page_size, uuid, label, random, now } = params;
        match self {
            Self::Ext4 => {
                let hash_seed = uuid::Builder::from_random_bytes(random).into_uuid();
                let block_size = ext4::BlockSize::B4096;
                ext4::plan(&ext4::Params { size, uuid, label, hash_seed, now, block_size })
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
        }
    }
}

impl fmt::Display for FileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
