//! Group descriptors and bitmaps. ext4 documentation, "Block Group Descriptors" and "Block and inode Bitmaps".

use std::prelude::v1::*;

use super::{
    checksum::Seed,
    geometry::{DESCRIPTOR_SIZE, Geometry},
    image::Image,
    inode::{DIRECTORIES, USED},
    layout::Layout,
    record::Record,
};

/// bg_flags: no inode in use, the inode bitmap is not written.
const INODE_UNINIT: u64 = 1;
/// bg_flags: no block in use, the block bitmap is not written.
const BLOCK_UNINIT: u64 = 2;

/// Writes the bitmaps and returns the blocks of the group descriptors. `INODE_ZEROED` is set nowhere: the kernel zeroes
/// the inode tables behind `itable_unused` when it is mounted.
pub(super) fn write(image: &mut Image, geometry: &Geometry, layout: &Layout, seed: Seed) -> Vec<u8> {
    let mut descriptors = Vec::with_capacity((geometry.gdt_blocks * geometry.block) as usize);
    for (group, tables) in (0u64..).zip(&layout.groups) {
        let mut descriptor = Record::zeroed(DESCRIPTOR_SIZE);
        let mut split32 = |low, high, value: u64| {
            descriptor.le32(low, value).le32(high, value >> 32);
        };
        split32(0x00, 0x20, tables.block_bitmap);
        split32(0x04, 0x24, tables.inode_bitmap);
        split32(0x08, 0x28, tables.inode_table);

        // All inodes in use are the first ones of group 0.
        let (used_inodes, directories) = if group == 0 { (u64::from(USED), DIRECTORIES) } else { (0, 0) };
        let used_blocks = layout.space.used_in(group);
        let free_inodes = geometry.inodes_per_group - used_inodes;
        let mut flags = 0;
        let mut split16 = |low, high, value: u64| {
            descriptor.le16(low, value).le16(high, value >> 16);
        };
        split16(0x0c, 0x2c, geometry.length(group) - used_blocks);
        split16(0x0e, 0x2e, free_inodes);
        split16(0x10, 0x30, directories);
        split16(0x1c, 0x32, free_inodes);
        // The last group's bitmap has a padding, which the kernel does not make up.
        if used_blocks == 0 && group + 1 != geometry.groups {
            flags |= BLOCK_UNINIT;
        } else {
            let bitmap = block_bitmap(group, geometry, layout);
            split16(0x18, 0x38, seed.checksum().with(&bitmap).end().into());
            image.data(tables.block_bitmap, bitmap);
        }
        if used_inodes == 0 {
            flags |= INODE_UNINIT;
        } else {
            let bitmap = inode_bitmap(used_inodes, geometry);
            let described = bitmap.get(..geometry.inodes_per_group as usize / 8).unwrap_or(&bitmap);
            split16(0x1a, 0x3a, seed.checksum().with(described).end().into());
            image.data(tables.inode_bitmap, bitmap);
        }
        descriptor.le16(0x12, flags);
        let checksum = seed.checksum().with(&(group as u32).to_le_bytes()).with(descriptor.as_slice()).end();
        descriptor.le16(0x1e, checksum.into());
        descriptors.extend(descriptor.into_bytes());
    }
    descriptors.resize((geometry.gdt_blocks * geometry.block) as usize, 0);
    descriptors
}

/// A bit for each block of the group; those behind the end of the file system are in use.
fn block_bitmap(group: u64, geometry: &Geometry, layout: &Layout) -> Vec<u8> {
    let mut bitmap = vec![0; geometry.block as usize];
    let start = geometry.start(group);
    for (from, to) in layout.space.runs_within(start, start + geometry.length(group)) {
        set(&mut bitmap, from - start, to - start);
    }
    set(&mut bitmap, geometry.length(group), geometry.per_group);
    bitmap
}

/// A bit for each inode of a group whose first `used` are in use; those behind the last one are in use.
fn inode_bitmap(used: u64, geometry: &Geometry) -> Vec<u8> {
    let mut bitmap = vec![0; geometry.block as usize];
    set(&mut bitmap, 0, used);
    set(&mut bitmap, geometry.inodes_per_group, geometry.block * 8);
    bitmap
}

/// Sets the bits from `from` to `to`, bytes at a time where they are whole.
fn set(bitmap: &mut [u8], from: u64, to: u64) {
    let (from, to) = (from as usize, to as usize);
    let (whole, end) = (from.div_ceil(8), to / 8);
    let mut bits = |from: usize, to: usize| {
        if let Some(byte) = bitmap.get_mut(from / 8) {
            (from..to).for_each(|bit| *byte |= 1 << (bit % 8));
        }
    };
    bits(from, to.min(whole * 8));
    bits(to.max(from).min(end.max(whole) * 8), to);
    if let Some(bytes) = bitmap.get_mut(whole..end) {
        bytes.fill(0xff);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_set_within_their_bounds() {
        for (from, to, expected) in [
            (0, 0, [0, 0, 0]),
            (0, 24, [0xff, 0xff, 0xff]),
            (3, 5, [0b0001_1000, 0, 0]),
            (7, 17, [0x80, 0xff, 1]),
            (8, 16, [0, 0xff, 0]),
            (24, 24, [0, 0, 0]),
        ] {
            let mut bitmap = [0; 3];
            set(&mut bitmap, from, to);
            assert_eq!(bitmap, expected, "{from}..{to}");
        }
    }
}
