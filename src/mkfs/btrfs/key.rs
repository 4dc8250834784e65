//! Keys: every item of every tree has one, and a tree is sorted by them.
//! Kernel, `include/uapi/linux/btrfs_tree.h`.

use crate::mkfs::record::Record;

/// Bytes of a key on the disk.
pub(super) const KEY: usize = 17;

/// The key of an item: its object, its kind, and an offset whose meaning depends on the kind.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Key {
    /// The object: a tree, an inode, an address.
    pub object: u64,
    /// The kind of item, see [`kind`].
    pub kind: u8,
    /// An offset, an address, a length, a hash, another object.
    pub offset: u64,
}

impl Key {
    /// The key of these three.
    pub fn new(object: u64, kind: u8, offset: u64) -> Self {
        Self { object, kind, offset }
    }

    /// Puts the key into a structure.
    pub fn put(self, record: &mut Record, at: usize) {
        record.le64(at, self.object).u8(at + 8, self.kind).le64(at + 9, self.offset);
    }
}

/// Kinds of items.
pub(super) mod kind {
    pub const INODE_ITEM: u8 = 1;
    pub const INODE_REF: u8 = 12;
    pub const DIR_ITEM: u8 = 84;
    pub const DIR_INDEX: u8 = 96;
    pub const ROOT_ITEM: u8 = 132;
    pub const ROOT_BACKREF: u8 = 144;
    pub const ROOT_REF: u8 = 156;
    pub const METADATA_ITEM: u8 = 169;
    pub const TREE_BLOCK_REF: u8 = 176;
    pub const BLOCK_GROUP_ITEM: u8 = 192;
    pub const FREE_SPACE_INFO: u8 = 198;
    pub const FREE_SPACE_EXTENT: u8 = 199;
    pub const DEV_EXTENT: u8 = 204;
    pub const DEV_ITEM: u8 = 216;
    pub const CHUNK_ITEM: u8 = 228;
    pub const PERSISTENT_ITEM: u8 = 249;
    pub const UUID_SUBVOL: u8 = 251;
}

/// Numbers of trees and of other objects that always have the same.
pub(super) mod object {
    pub const ROOT_TREE: u64 = 1;
    pub const EXTENT_TREE: u64 = 2;
    pub const CHUNK_TREE: u64 = 3;
    pub const DEV_TREE: u64 = 4;
    pub const FS_TREE: u64 = 5;
    /// The directory of the root tree whose entry "default" names the default subvolume.
    pub const ROOT_TREE_DIR: u64 = 6;
    pub const CSUM_TREE: u64 = 7;
    pub const UUID_TREE: u64 = 9;
    pub const FREE_SPACE_TREE: u64 = 10;
    pub const DATA_RELOC_TREE: u64 = (-9i64).cast_unsigned();
    /// The first subvolume, and the root directory of each.
    pub const FIRST_FREE: u64 = 256;
    /// The object of all chunk items.
    pub const FIRST_CHUNK_TREE: u64 = 256;
    /// The object of all device items.
    pub const DEV_ITEMS: u64 = 1;
    /// The only device.
    pub const DEVICE: u64 = 1;
    /// The object of the counters of device errors.
    pub const DEV_STATS: u64 = 0;
}
