//! Extents: which runs of blocks make up a file, and how inode and extent block say so.
//! ext4 documentation, "Extent Tree".

use std::prelude::v1::*;

use super::{checksum::Seed, geometry::Geometry, record::Record};

const MAGIC: u64 = 0xf30a;
/// Bytes of the header, and of each entry behind it.
const ENTRY: usize = 12;
/// Bytes of i_block, the room for an extent tree's root in the inode.
const ROOT: u64 = 60;
/// Entries that fit there beside the header.
const ROOT_ENTRIES: usize = 4;

/// The runs of a file: first block and length, in the order of the file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Extents(Vec<(u64, u64)>);

impl Extents {
    /// Adds a run as a separate extent.
    pub fn add(&mut self, start: u64, length: u64) {
        self.0.push((start, length));
    }

    /// Adds a run, to the last extent if it goes on there.
    pub fn grow(&mut self, start: u64, length: u64) {
        match self.0.last_mut() {
            Some((from, blocks)) if *from + *blocks == start => *blocks += length,
            _ => self.add(start, length),
        }
    }

    /// The first block of the file.
    pub fn start(&self) -> u64 {
        self.0.first().map_or(0, |&(start, _)| start)
    }

    /// The number of blocks.
    pub fn blocks(&self) -> u64 {
        self.0.iter().map(|&(_, length)| length).sum()
    }

    /// First block and length of each extent.
    pub fn runs(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().copied()
    }

    /// Every block, in the order of the file.
    pub fn each(&self) -> impl Iterator<Item = u64> + '_ {
        self.runs().flat_map(|(start, length)| start..start + length)
    }

    /// Returns true when the inode alone can hold them.
    pub fn fit_inode(&self) -> bool {
        self.0.len() <= ROOT_ENTRIES
    }

    /// Returns true when one extent block can hold them.
    pub fn fit_node(&self, geometry: &Geometry) -> bool {
        self.0.len() as u64 <= node_entries(geometry)
    }

    /// i_block of an inode: the extents, or where the block is that has them.
    pub fn root(&self, node: Option<u64>) -> Vec<u8> {
        let mut root = Record::zeroed(ROOT);
        match node {
            None => {
                header(&mut root, self.0.len(), ROOT_ENTRIES as u64, 0);
                self.entries(&mut root);
            }
            Some(block) => {
                header(&mut root, 1, ROOT_ENTRIES as u64, 1);
                root.le32(ENTRY + 4, block).le16(ENTRY + 8, block >> 32);
            }
        }
        root.into_bytes()
    }

    fn entries(&self, record: &mut Record) {
        let mut logical = 0;
        for (index, &(start, length)) in self.0.iter().enumerate() {
            let at = ENTRY * (index + 1);
            record.le32(at, logical).le16(at + 4, length).le16(at + 6, start >> 32).le32(at + 8, start);
            logical += length;
        }
    }
}

/// The extent block of a file: all its extents, and a checksum behind the last possible entry.
pub(super) fn leaf(geometry: &Geometry, seed: Seed, inode: u32, extents: &Extents) -> Vec<u8> {
    let entries = node_entries(geometry);
    let mut block = Record::zeroed(geometry.block);
    header(&mut block, extents.0.len(), entries, 0);
    extents.entries(&mut block);
    let end = ENTRY * (entries as usize + 1);
    let checksum = seed.of_inode(inode).with(block.head(end)).end();
    block.le32(end, checksum.into());
    block.into_bytes()
}

fn header(record: &mut Record, entries: usize, most: u64, depth: u64) {
    record.le16(0, MAGIC).le16(2, entries as u64).le16(4, most).le16(6, depth);
}

/// Entries that fit into a block beside the header; the rest is room for the checksum.
fn node_entries(geometry: &Geometry) -> u64 {
    geometry.block / ENTRY as u64 - 1
}
