//! The resize inode: a file that owns the blocks reserved behind the group descriptors, so that a mounted file system can
//! grow without moving anything. It is mapped the old way: the doubly indirect block points to the reserved blocks behind
//! the primary descriptors, and each of these lists its counterparts behind the backups.
//! Kernel: fs/ext4/resize.c, `reserve_backup_gdb`.

use std::prelude::v1::*;

use super::{geometry::Geometry, image::Image, layout::Layout, record::Record};

/// Bytes of i_block.
const MAP: u64 = 60;
/// The offset of the doubly indirect block in i_block, in bytes.
const DOUBLY_INDIRECT: usize = 13 * 4;
/// Directly mapped blocks of an inode.
const DIRECT: u64 = 12;

/// i_size: as far as a doubly indirect map reaches.
pub(super) fn size(geometry: &Geometry) -> u64 {
    let pointers = geometry.pointers();
    (pointers * pointers + pointers + DIRECT) * geometry.block
}

/// The blocks that belong to it.
pub(super) fn blocks(geometry: &Geometry) -> u64 {
    1 + geometry.reserved_gdt * (1 + geometry.backups().len() as u64)
}

/// i_block.
pub(super) fn map(layout: &Layout) -> Vec<u8> {
    let mut map = Record::zeroed(MAP);
    map.le32(DOUBLY_INDIRECT, layout.resize);
    map.into_bytes()
}

/// Writes the doubly indirect block and the lists in the primary reserve. Nothing is written behind the backups.
pub(super) fn write(image: &mut Image, geometry: &Geometry, layout: &Layout) {
    let mut doubly = Record::zeroed(geometry.block);
    // All lists at once: they stand side by side, and are zeroes for the most part.
    let mut lists = Record::zeroed(geometry.reserved_gdt * geometry.block);
    let first = geometry.first + 1 + geometry.gdt_blocks;
    let backups = geometry.backups();
    for index in 0..geometry.reserved_gdt {
        let reserved = first + index;
        let slot = (geometry.gdt_blocks + index) % geometry.pointers();
        doubly.le32(slot as usize * 4, reserved);
        for (slot, group) in backups.iter().enumerate() {
            let at = index * geometry.block;
            lists.le32(at as usize + slot * 4, reserved + group * geometry.per_group);
        }
    }
    image.data(first, lists.into_bytes());
    image.data(layout.resize, doubly.into_bytes());
}
