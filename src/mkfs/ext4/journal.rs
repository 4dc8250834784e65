//! The journal: a superblock that says it is empty, and zeroes.
//! ext4 documentation, "Journal (jbd2)". Everything in it is big-endian.

use uuid::Uuid;

use super::{geometry::Geometry, image::Image, layout::Layout, record::Record};

const MAGIC: u32 = 0xc03b_3998;
/// h_blocktype of a superblock, version 2.
const SUPERBLOCK: u32 = 4;
/// Sequence number of the first transaction.
const FIRST_SEQUENCE: u32 = 1;
/// Block of the journal where the log begins: behind its superblock.
const FIRST_BLOCK: u32 = 1;

/// Writes superblock and zeroes. Zeroes never come later: a journal of an earlier file system that was made from the same
/// seed has the same UUID, and recovery could take its blocks for this one's.
pub(super) fn write(image: &mut Image, geometry: &Geometry, layout: &Layout, uuid: Uuid) {
    let mut superblock = Record::zeroed(geometry.block);
    superblock.be32(0x00, MAGIC).be32(0x04, SUPERBLOCK);
    superblock.be32(0x0c, geometry.block as u32).be32(0x10, geometry.journal_blocks as u32);
    superblock.be32(0x14, FIRST_BLOCK).be32(0x18, FIRST_SEQUENCE);
    // s_start at 0x1c stays 0: nothing to recover. One file system uses it.
    superblock.bytes(0x30, uuid.as_bytes()).be32(0x40, 1);

    let start = layout.journal.start();
    image.data(start, superblock.into_bytes());
    for (from, length) in layout.journal.runs() {
        let skipped = u64::from(from == start);
        if length > skipped {
            image.zero(from + skipped, length - skipped);
        }
    }
}
