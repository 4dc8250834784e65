//! The first twelve inodes: ten reserved ones, lost+found, the orphan file.
//! ext4 documentation, "Index Nodes".

use std::prelude::v1::*;

use super::{
    checksum::Seed,
    geometry::{Geometry, INODE_SIZE},
    layout::Layout,
    record::Record,
    resize,
};

/// The list of bad blocks: empty.
const BAD_BLOCKS: u32 = 1;
/// The root directory.
pub(super) const ROOT: u32 = 2;
/// The inode that reserves room for more group descriptors.
const RESIZE: u32 = 7;
/// The journal.
pub(super) const JOURNAL: u32 = 8;
/// The first inode that is not reserved; lost+found takes it.
pub(super) const FIRST: u32 = 11;
/// lost+found.
pub(super) const LOST_FOUND: u32 = FIRST;
/// The orphan file.
pub(super) const ORPHAN: u32 = 12;
/// Inodes in use: all from 1 to this one.
pub(super) const USED: u32 = ORPHAN;
/// Of these, directories.
pub(super) const DIRECTORIES: u64 = 2;

/// The last second that an inode can name: 34 bits, of which the lower 32 are signed (10 May 2446).
pub(super) const LAST_SECOND: u64 = 0x3_7fff_ffff;
/// Bytes in use behind the 128 of the original inode.
pub(super) const EXTRA_SIZE: u64 = 32;

const DIRECTORY_755: u64 = 0o040_755;
const DIRECTORY_700: u64 = 0o040_700;
const FILE_600: u64 = 0o100_600;
/// i_flags: i_block holds extents.
const EXTENTS: u64 = 0x8_0000;

/// The fields that differ between inodes.
struct Inode {
    mode: u64,
    links: u64,
    size: u64,
    /// Blocks, those of the map included.
    blocks: u64,
    flags: u64,
    map: Vec<u8>,
}

/// The blocks of group 0's inode table that hold inodes in use. Free inodes in them are zeroed.
pub(super) fn table(geometry: &Geometry, layout: &Layout, seed: Seed, now: u64) -> Vec<u8> {
    let mut table = Vec::new();
    for number in 1..=USED {
        table.extend(match describe(number, geometry, layout) {
            Some(inode) => inode.encode(number, geometry, seed, now),
            None => reserved(number, seed, now),
        });
    }
    table.resize(table.len().next_multiple_of(geometry.block as usize), 0);
    table
}

fn describe(number: u32, geometry: &Geometry, layout: &Layout) -> Option<Inode> {
    let (mode, links, extents, node) = match number {
        ROOT => (DIRECTORY_755, 3, &layout.root, None),
        LOST_FOUND => (DIRECTORY_700, 2, &layout.lost_found, None),
        JOURNAL => (FILE_600, 1, &layout.journal, layout.journal_node),
        ORPHAN => (FILE_600, 1, &layout.orphan, None),
        RESIZE => {
            return Some(Inode {
                mode: FILE_600,
                links: 1,
                size: resize::size(geometry),
                blocks: resize::blocks(geometry),
                flags: 0,
                map: resize::map(layout),
            });
        }
        _ => return None,
    };
    Some(Inode {
        mode,
        links,
        size: extents.blocks() * geometry.block,
        blocks: extents.blocks() + u64::from(node.is_some()),
        flags: EXTENTS,
        map: extents.root(node),
    })
}

impl Inode {
    fn encode(&self, number: u32, geometry: &Geometry, seed: Seed, now: u64) -> Vec<u8> {
        let sectors = self.blocks * (geometry.block / 512);
        let mut inode = Record::zeroed(INODE_SIZE);
        inode.le16(0x00, self.mode).le32(0x04, self.size).le32(0x6c, self.size >> 32).le16(0x1a, self.links);
        inode.le32(0x1c, sectors).le16(0x74, sectors >> 32).le32(0x20, self.flags).bytes(0x28, &self.map);
        inode.le16(0x80, EXTRA_SIZE);
        // atime, ctime, mtime, crtime, and what their 32 signed bits lack.
        for seconds in [0x08, 0x0c, 0x10, 0x90] {
            inode.le32(seconds, now);
        }
        for extra in [0x84, 0x88, 0x8c, 0x94] {
            inode.le32(extra, epoch(now));
        }
        let checksum = u64::from(seed.of_inode(number).with(inode.as_slice()).end());
        inode.le16(0x7c, checksum).le16(0x82, checksum >> 16);
        inode.into_bytes()
    }
}

/// A reserved, unused inode: zeroes and the lower half of their checksum, for without extra size there is no place for
/// the upper one. The bad blocks have times.
fn reserved(number: u32, seed: Seed, now: u64) -> Vec<u8> {
    let mut inode = Record::zeroed(INODE_SIZE);
    if number == BAD_BLOCKS {
        for seconds in [0x08, 0x0c, 0x10] {
            inode.le32(seconds, now);
        }
    }
    let checksum = seed.of_inode(number).with(inode.as_slice()).end();
    inode.le16(0x7c, checksum.into());
    inode.into_bytes()
}

/// The two bits that extend a time beyond 2038: how often 2^32 must be added to the lower 32 bits read as signed.
fn epoch(now: u64) -> u64 {
    let signed = i64::from(now as u32 as i32);
    ((now as i64 - signed) >> 32) as u64 & 3
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of ext4 documentation, "Inode Timestamps": extra bits, and the times that they begin and end.
    #[test]
    fn times_beyond_2038_have_extra_bits() {
        for (now, bits) in [
            (0, 0),
            (0x7fff_ffff, 0),
            (0x8000_0000, 1),
            (0x1_7fff_ffff, 1),
            (0x1_8000_0000, 2),
            (0x2_8000_0000, 3),
            (LAST_SECOND, 3),
        ] {
            assert_eq!(epoch(now), bits, "{now:#x}");
        }
    }
}
