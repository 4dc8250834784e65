//! The two directories of an empty file system: the root and lost+found, both linear.
//! ext4 documentation, "Directory Entries".

use std::prelude::v1::*;

use super::{
    checksum::Seed,
    geometry::Geometry,
    inode::{LOST_FOUND, ROOT},
    record::Record,
};

/// file_type of a directory.
const DIRECTORY: u8 = 2;
/// Bytes of the pseudo entry at the end of each block that carries the checksum.
const TAIL: u64 = 12;
/// file_type of that entry, which marks it.
const TAIL_TYPE: u8 = 0xde;

/// The root directory: one block.
pub(super) fn root(geometry: &Geometry, seed: Seed) -> Vec<u8> {
    block(geometry, seed, ROOT, &[(ROOT, "."), (ROOT, ".."), (LOST_FOUND, "lost+found")])
}

/// lost+found: one block with the two entries that each directory has, then an empty one to be repeated.
pub(super) fn lost_found(geometry: &Geometry, seed: Seed) -> [Vec<u8>; 2] {
    [
        block(geometry, seed, LOST_FOUND, &[(LOST_FOUND, "."), (ROOT, "..")]),
        block(geometry, seed, LOST_FOUND, &[(0, "")]),
    ]
}

/// A block of directory `owner`. The last entry reaches to the tail.
fn block(geometry: &Geometry, seed: Seed, owner: u32, entries: &[(u32, &str)]) -> Vec<u8> {
    let tail = geometry.block - TAIL;
    let mut block = Record::zeroed(geometry.block);
    let mut at = 0;
    for (index, (inode, name)) in entries.iter().enumerate() {
        // A header of 8 bytes and the name, in fours.
        let needed = 8 + (name.len() as u64).next_multiple_of(4);
        let length = if index + 1 == entries.len() { tail - at } else { needed };
        let start = at as usize;
        block.le32(start, (*inode).into()).le16(start + 4, length).u8(start + 6, name.len() as u8);
        if *inode != 0 {
            block.u8(start + 7, DIRECTORY);
        }
        block.bytes(start + 8, name.as_bytes());
        at += length;
    }
    let tail = tail as usize;
    let checksum = seed.of_inode(owner).with(block.head(tail)).end();
    block.le16(tail + 4, TAIL).u8(tail + 7, TAIL_TYPE).le32(tail + 8, checksum.into());
    block.into_bytes()
}
