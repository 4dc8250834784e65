//! The orphan file: a list of inodes to be freed after a crash, empty.
//! ext4 documentation, "Orphan file".

use super::{
    checksum::Seed, geometry::Geometry, image::Image, inode::ORPHAN, layout::Layout, record::Record,
};

const MAGIC: u64 = 0x0b10_ca04;
/// Bytes of magic number and checksum at the end of each block.
const TAIL: u64 = 8;

/// Writes the blocks; each has a checksum that includes its own number.
pub(super) fn write(image: &mut Image, geometry: &Geometry, layout: &Layout, seed: Seed) {
    let tail = (geometry.block - TAIL) as usize;
    let empty = Record::zeroed(geometry.block);
    for (start, length) in layout.orphan.runs() {
        let mut run = Record::zeroed(length * geometry.block);
        for (index, block) in (start..start + length).enumerate() {
            let checksum = seed.of_inode(ORPHAN).with(&block.to_le_bytes()).with(empty.head(tail)).end();
            let at = index * geometry.block as usize + tail;
            run.le32(at, MAGIC).le32(at + 4, checksum.into());
        }
        image.data(start, run.into_bytes());
    }
}
