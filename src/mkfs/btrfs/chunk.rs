//! Chunks: which ranges of the device back which ranges of the address space that all other structures use. The same
//! chunks as mkfs.btrfs makes for the same size, so that the kernel's allocator begins where it would have begun.
//! btrfs documentation, "On-disk format", and `kernel-shared/volumes.c` of btrfs-progs for the sizes.

use std::prelude::v1::*;

use uuid::Uuid;

use super::{
    BtrfsError, MINIMUM, Profile, SECTOR,
    key::{Key, kind, object},
};
use crate::sort;
use crate::{mkfs::record::Record, units::Bytes};

/// The unit in which the device is given to chunks.
pub(super) const STRIPE: u64 = 64 * Bytes::KIB;
/// From this size on a chunk of metadata may have 1 GiB instead of 256 MiB.
const LARGE: u64 = 50 * Bytes::GIB;
/// The least that a chunk of doubled metadata has.
const LEAST_METADATA: u64 = 32 * Bytes::MIB;
/// A chunk of data, of single metadata, of doubled system data.
const SMALL: u64 = 8 * Bytes::MIB;
/// A chunk of single system data.
const SYSTEM: u64 = 4 * Bytes::MIB;
/// No chunk begins before this address, neither on the device.
pub(super) const FIRST: u64 = Bytes::MIB;

/// The purpose of a chunk, as on the disk.
const DATA: u64 = 1;
const SYSTEM_FLAG: u64 = 2;
const METADATA: u64 = 4;
const DUP: u64 = 32;

/// A range of addresses, and the ranges of the device behind it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Chunk {
    /// The purpose and the number of copies, as on the disk.
    pub flags: u64,
    /// Its first address.
    pub start: u64,
    /// Its length in bytes, also that of each copy.
    pub length: u64,
    /// The start of each copy on the device, in bytes.
    pub copies: Vec<u64>,
    /// The alignment in the chunk item.
    io_align: u64,
    /// The number of sub-stripes in the chunk item.
    sub_stripes: u64,
}

/// The three chunks of an empty file system.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Chunks {
    /// The size of the file system in bytes: whole sectors.
    pub total: u64,
    /// Data.
    pub data: Chunk,
    /// The chunk tree.
    pub system: Chunk,
    /// All other trees.
    pub metadata: Chunk,
}

impl Chunks {
    /// The chunks that a device of this size gets.
    pub fn new(size: Bytes, profile: Profile) -> Result<Self, BtrfsError> {
        let total = size.0 / SECTOR * SECTOR;
        if total < MINIMUM.0 {
            return Err(BtrfsError::TooSmall { size });
        }
        let chunk = |flags, start, length, copies| Chunk {
            flags,
            start,
            length,
            copies,
            io_align: STRIPE,
            sub_stripes: 1,
        };
        // mkfs.btrfs begins with single chunks, one behind the other from 1 MiB on, and keeps the last in any case.
        let behind_system = FIRST + SYSTEM;
        let data = behind_system + SMALL;
        let behind_data = data + SMALL;
        let data = chunk(DATA, data, SMALL, vec![data]);
        Ok(match profile {
            Profile::Single => Self {
                total,
                data,
                // This one is made by hand in mkfs.btrfs, and shows it.
                system: Chunk {
                    io_align: SECTOR,
                    sub_stripes: 0,
                    ..chunk(SYSTEM_FLAG, FIRST, SYSTEM, vec![FIRST])
                },
                metadata: chunk(METADATA, behind_system, SMALL, vec![behind_system]),
            },
            Profile::Dup => {
                let length = doubled_metadata(total);
                let (start, device) = (behind_data + SMALL, behind_data + 2 * SMALL);
                Self {
                    total,
                    data,
                    system: chunk(
                        SYSTEM_FLAG | DUP,
                        behind_data,
                        SMALL,
                        vec![behind_data, behind_data + SMALL],
                    ),
                    metadata: chunk(METADATA | DUP, start, length, vec![device, device + length]),
                }
            }
        })
    }

    /// All of them, by address.
    pub fn by_address(&self) -> [&Chunk; 3] {
        let mut all = [&self.data, &self.system, &self.metadata];
        sort::by_key(&mut all, |chunk| chunk.start);
        all
    }

    /// The bytes of the device that they take.
    pub fn taken(&self) -> u64 {
        self.by_address().iter().map(|chunk| chunk.length * chunk.copies.len() as u64).sum()
    }
}

/// The length of a chunk of doubled metadata: at most a tenth of the file system for both copies, but then for one if it
/// is at the upper limit, and at least a minimum.
fn doubled_metadata(total: u64) -> u64 {
    let limit = if total > LARGE { Bytes::GIB } else { 256 * Bytes::MIB };
    let tenth = total / 10;
    let length = if limit > tenth { tenth / 2 } else { limit };
    length.max(LEAST_METADATA) / STRIPE * STRIPE
}

impl Chunk {
    /// The key of its item in the chunk tree.
    pub fn key(&self) -> Key {
        Key::new(object::FIRST_CHUNK_TREE, kind::CHUNK_ITEM, self.start)
    }

    /// Its item in the chunk tree, also in the superblock for the system chunk.
    pub fn item(&self, device: Uuid) -> Vec<u8> {
        const HEAD: usize = 48;
        const EACH: usize = 32;
        let mut item = Record::zeroed((HEAD + EACH * self.copies.len()) as u64);
        item.le64(0, self.length).le64(8, object::EXTENT_TREE).le64(16, STRIPE).le64(24, self.flags);
        item.le32(32, self.io_align).le32(36, self.io_align).le32(40, SECTOR);
        item.le16(44, self.copies.len() as u64).le16(46, self.sub_stripes);
        for (index, &copy) in self.copies.iter().enumerate() {
            let at = HEAD + EACH * index;
            item.le64(at, object::DEVICE).le64(at + 8, copy).bytes(at + 16, device.as_bytes());
        }
        item.into_bytes()
    }

    /// The items of its copies in the device tree.
    pub fn device_extents(&self, chunk_tree: Uuid) -> impl Iterator<Item = (Key, Vec<u8>)> + '_ {
        self.copies.iter().map(move |&copy| {
            let mut item = Record::zeroed(48);
            item.le64(0, object::CHUNK_TREE).le64(8, object::FIRST_CHUNK_TREE);
            item.le64(16, self.start).le64(24, self.length).bytes(32, chunk_tree.as_bytes());
            (Key::new(object::DEVICE, kind::DEV_EXTENT, copy), item.into_bytes())
        })
    }

    /// Its item in the extent tree, of which `used` bytes are in use.
    pub fn block_group(&self, used: u64) -> (Key, Vec<u8>) {
        let mut item = Record::zeroed(24);
        item.le64(0, used).le64(8, object::FIRST_CHUNK_TREE).le64(16, self.flags);
        (Key::new(self.start, kind::BLOCK_GROUP_ITEM, self.length), item.into_bytes())
    }

    /// Its items in the free-space tree, when its first `used` bytes are in use.
    pub fn free_space(&self, used: u64) -> [(Key, Vec<u8>); 2] {
        let mut info = Record::zeroed(8);
        info.le32(0, 1);
        [
            (Key::new(self.start, kind::FREE_SPACE_INFO, self.length), info.into_bytes()),
            (Key::new(self.start + used, kind::FREE_SPACE_EXTENT, self.length - used), Vec::new()),
        ]
    }
}
