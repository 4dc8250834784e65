//! The superblock, at up to three places: it names the device, the system chunk, and where root tree and chunk tree are.
//! Kernel, `include/uapi/linux/btrfs_tree.h`, `struct btrfs_super_block`.

use std::prelude::v1::*;

use super::{
    Context, GENERATION, NODE, SECTOR,
    checksum::seal,
    forest::Forest,
    item,
    key::{KEY, object},
};
use crate::{
    mkfs::{label::cut, record::Record},
    units::Bytes,
};

/// Bytes of a superblock.
pub(super) const SIZE: u64 = 4 * Bytes::KIB;
/// The offset of the superblock, in bytes.
const PRIMARY: u64 = 64 * Bytes::KIB;
/// The offsets of its copies, in bytes, as far as the device reaches. There would be a third at 1 PiB.
const COPIES: [u64; 2] = [64 * Bytes::MIB, 256 * Bytes::GIB];
/// The most of a label that there is room for; a zero follows.
const LABEL: usize = 255;

const MAGIC: &[u8] = b"_BHRfS_M";
const WRITTEN: u64 = 1;
/// Features a kernel must know to mount: mixed back references, large metadata blocks, extended inode references, skinny
/// metadata, no holes.
const INCOMPATIBLE: u64 = 1 | 1 << 5 | 1 << 6 | 1 << 8 | 1 << 9;
/// And this one when the default subvolume is not the top.
const DEFAULT_SUBVOLUME: u64 = 1 << 1;
/// Features a kernel must know to write: the free-space tree, which is valid.
const READ_ONLY_COMPATIBLE: u64 = 1 | 1 << 1;

/// The offset of the system chunk's item in the superblock, behind its key.
const SYSTEM_CHUNKS: usize = 811;
/// The offset of the first of four records of earlier roots.
const BACKUP: usize = 2859;

/// The superblocks as place and content: copies first, the primary last.
pub(super) fn all(context: &Context, forest: &Forest, label: &str, default: u64) -> Vec<(u64, Vec<u8>)> {
    let copies = COPIES.into_iter().filter(|at| at + SIZE <= context.chunks.total);
    let places = copies.chain([PRIMARY]);
    places.map(|at| (at, superblock(context, forest, label, default, at).into_bytes())).collect()
}

fn superblock(context: &Context, forest: &Forest, label: &str, default: u64, at: u64) -> Record {
    let mut sb = Record::zeroed(SIZE);
    sb.bytes(32, context.uuid.as_bytes()).le64(48, at).le64(56, WRITTEN).bytes(64, MAGIC);
    sb.le64(72, GENERATION).le64(112, context.chunks.total).le64(120, used(forest));
    sb.le64(128, object::ROOT_TREE_DIR).le64(136, 1);
    sb.le32(144, SECTOR).le32(148, NODE).le32(152, NODE).le32(156, SECTOR);
    let features = if default == object::FS_TREE { INCOMPATIBLE } else { INCOMPATIBLE | DEFAULT_SUBVOLUME };
    sb.le64(180, READ_ONLY_COMPATIBLE).le64(188, features);
    if let (Some(root), Some(chunk)) = (forest.place(object::ROOT_TREE), forest.place(object::CHUNK_TREE)) {
        sb.le64(80, root.root()).u8(198, root.shape.level());
        sb.le64(88, chunk.root()).u8(199, chunk.shape.level()).le64(164, GENERATION);
    }
    sb.bytes(201, &item::device(context, context.chunks.taken())).bytes(299, cut(label, LABEL).as_bytes());
    let system = context.chunks.system.item(context.device);
    context.chunks.system.key().put(&mut sb, SYSTEM_CHUNKS);
    sb.bytes(SYSTEM_CHUNKS + KEY, &system).le32(160, (KEY + system.len()) as u64);
    backup(&mut sb, context, forest);
    seal(&mut sb);
    sb
}

/// The first record of roots to fall back to: those of this transaction, as each transaction leaves them.
fn backup(sb: &mut Record, context: &Context, forest: &Forest) {
    const LEVELS: usize = BACKUP + 152;
    let trees = [
        object::ROOT_TREE,
        object::CHUNK_TREE,
        object::EXTENT_TREE,
        object::FS_TREE,
        object::DEV_TREE,
        object::CSUM_TREE,
    ];
    for (index, place) in trees.into_iter().map(|owner| forest.place(owner)).enumerate() {
        if let Some(place) = place {
            let at = BACKUP + 16 * index;
            sb.le64(at, place.root()).le64(at + 8, GENERATION).u8(LEVELS + index, place.shape.level());
        }
    }
    sb.le64(BACKUP + 96, context.chunks.total).le64(BACKUP + 104, used(forest)).le64(BACKUP + 112, 1);
}

/// The bytes in use: every block of every tree, counted once.
fn used(forest: &Forest) -> u64 {
    let all = std::iter::once(&forest.chunk).chain(&forest.trees);
    all.map(|(place, _)| place.shape.blocks() * NODE).sum()
}
