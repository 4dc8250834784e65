//! Items that stand in more than one tree, or that belong to no chunk: inodes, names, roots, devices, extents. Kernel,
//! `include/uapi/linux/btrfs_tree.h`, one function for each structure.

use std::prelude::v1::*;

use uuid::Uuid;

use super::{
    Context, GENERATION, NODE, SECTOR,
    key::{KEY, Key, kind, object},
};
use crate::mkfs::record::Record;

/// A directory that everybody may read.
const DIRECTORY_MODE: u64 = 0o40755;
/// The type of a directory in an entry.
const DIRECTORY: u8 = 2;
/// Flag of a root item's inode: its fields have been initialised (`BTRFS_INODE_ROOT_ITEM_INIT`).
const INITIALISED: u64 = 1 << 31;
/// Flag of an inode: what is made in the directory is written in place (`BTRFS_INODE_NODATACOW`), as `chattr +C` sets it.
const NO_COW: u64 = 1 << 1;
/// Flag of a root item: the subvolume is read-only (`BTRFS_ROOT_SUBVOL_RDONLY`).
const READ_ONLY: u64 = 1;
/// Flag of an extent: it is a block of a tree.
const TREE_BLOCK: u64 = 2;

/// The inode of a directory whose entries' names have `names` bytes together; with `no_cow`, what is made in it is written
/// in place.
pub(super) fn directory(names: u64, no_cow: bool, now: u64) -> Vec<u8> {
    let mut item = Record::zeroed(160);
    // Each name stands in two items, and both count.
    item.le64(0, GENERATION).le64(16, 2 * names).le64(24, NODE).le32(40, 1).le32(52, DIRECTORY_MODE);
    if no_cow {
        item.le64(64, NO_COW);
    }
    for time in [112, 124, 136, 148] {
        item.le64(time, now);
    }
    item.into_bytes()
}

/// The reference of an inode to the entry with this name and index.
pub(super) fn inode_ref(index: u64, name: &[u8]) -> Vec<u8> {
    const HEAD: usize = 10;
    let mut item = Record::zeroed((HEAD + name.len()) as u64);
    item.le64(0, index).le16(8, name.len() as u64).bytes(HEAD, name);
    item.into_bytes()
}

/// An entry of a directory that leads to another directory, or to a subvolume.
pub(super) fn entry(location: Key, name: &[u8]) -> Vec<u8> {
    const HEAD: usize = KEY + 13;
    let mut item = Record::zeroed((HEAD + name.len()) as u64);
    location.put(&mut item, 0);
    item.le64(KEY, GENERATION).le16(KEY + 10, name.len() as u64).u8(KEY + 12, DIRECTORY).bytes(HEAD, name);
    item.into_bytes()
}

/// The reference of a subvolume to its entry, or of the tree with the entry to the subvolume.
pub(super) fn root_ref(directory: u64, index: u64, name: &[u8]) -> Vec<u8> {
    const HEAD: usize = 18;
    let mut item = Record::zeroed((HEAD + name.len()) as u64);
    item.le64(0, directory).le64(8, index).le16(16, name.len() as u64).bytes(HEAD, name);
    item.into_bytes()
}

/// The parts of a root item beyond the place of the tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum RootKind {
    /// A tree of the file system's own.
    Internal,
    /// The tree for relocation, which has a root directory but no identity.
    Relocation,
    /// The top of all subvolumes.
    Top {
        /// Its UUID.
        uuid: Uuid,
    },
    /// A subvolume.
    Subvolume {
        /// Its UUID.
        uuid: Uuid,
        /// True when the subvolume is read-only.
        read_only: bool,
    },
}

/// A root item: the tree has its root at `address`, has this level and this many blocks.
pub(super) fn root(root: RootKind, address: u64, level: u8, blocks: u64, now: u64) -> Vec<u8> {
    let mut item = Record::zeroed(439);
    item.le64(0, 1).le64(16, 3).le64(24, NODE).le32(40, 1).le32(52, DIRECTORY_MODE);
    item.le64(160, GENERATION).le64(176, address).le64(192, blocks * NODE).le32(216, 1);
    item.u8(238, level).le64(239, GENERATION);
    if root != RootKind::Internal {
        item.le64(168, object::FIRST_FREE).le64(64, INITIALISED);
    }
    if let RootKind::Top { uuid } | RootKind::Subvolume { uuid, .. } = root {
        item.bytes(247, uuid.as_bytes()).le64(327, now).le64(339, now);
    }
    if let RootKind::Subvolume { read_only, .. } = root {
        // The transaction of the last change and of the creation, as the kernel keeps them.
        item.le64(208, if read_only { READ_ONLY } else { 0 }).le64(295, GENERATION).le64(303, GENERATION);
    }
    item.into_bytes()
}

/// The device, of which `used` bytes belong to chunks.
pub(super) fn device(context: &Context, used: u64) -> Vec<u8> {
    let mut item = Record::zeroed(98);
    item.le64(0, object::DEVICE).le64(8, context.chunks.total).le64(16, used);
    item.le32(24, SECTOR).le32(28, SECTOR).le32(32, SECTOR);
    item.bytes(66, context.device.as_bytes()).bytes(82, context.uuid.as_bytes());
    item.into_bytes()
}

/// The extent of a block at `level` of the tree `owner`.
pub(super) fn tree_block(address: u64, level: u8, owner: u64) -> (Key, Vec<u8>) {
    let mut item = Record::zeroed(33);
    item.le64(0, 1).le64(8, GENERATION).le64(16, TREE_BLOCK).u8(24, kind::TREE_BLOCK_REF).le64(25, owner);
    (Key::new(address, kind::METADATA_ITEM, level.into()), item.into_bytes())
}
