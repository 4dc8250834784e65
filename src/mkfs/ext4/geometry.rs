//! The numbers of blocks, groups, inodes, descriptor blocks and journal blocks. Pure arithmetic on the size, with
//! mke2fs's rules, so that the result is what the same disk would have got from it.

use std::prelude::v1::*;

use super::{BlockSize, Ext4Error};
use crate::sort;
use crate::units::Bytes;

/// An inode for each so many bytes: `inode_ratio` of mke2fs.conf.
const BYTES_PER_INODE: u64 = 16384;
/// Bytes of an inode on the disk (`-I 256`).
pub(super) const INODE_SIZE: u64 = 256;
/// Bytes of a group descriptor with the feature 64bit.
pub(super) const DESCRIPTOR_SIZE: u64 = 64;
/// Groups whose bitmaps and inode tables stand together (flex_bg).
pub(super) const FLEX: u64 = 16;
/// A last group with less room than this beside its own metadata is not worth having and is left out.
const LEAST_ROOM: u64 = 50;
/// The least number of blocks: a smaller file system has no room for a journal.
const LEAST_BLOCKS: u64 = 2048;

/// The numbers of a file system. Blocks are counted from the start of the device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Geometry {
    /// Bytes in a block.
    pub block: u64,
    /// The block with the superblock, where the first group begins: 1 when the boot sector fills block 0, else 0.
    pub first: u64,
    /// Blocks of the file system, block 0 included.
    pub blocks: u64,
    /// Blocks in a group, except the last one: as many as a bitmap of one block describes.
    pub per_group: u64,
    /// Groups.
    pub groups: u64,
    /// Inodes in each group.
    pub inodes_per_group: u64,
    /// Blocks of each group's inode table.
    pub table_blocks: u64,
    /// Blocks of the group descriptors.
    pub gdt_blocks: u64,
    /// Blocks kept behind the group descriptors so that they can grow (resize inode).
    pub reserved_gdt: u64,
    /// Blocks of the journal.
    pub journal_blocks: u64,
    /// Blocks of the orphan file.
    pub orphan_blocks: u64,
}

impl Geometry {
    /// The numbers that follow from the size.
    pub fn new(size: Bytes, block_size: BlockSize) -> Result<Self, Ext4Error> {
        let block = block_size.bytes();
        // Like mke2fs: whole pages, also when a block is smaller.
        let wanted = size.0 / 4096 * (4096 / block);
        if wanted < LEAST_BLOCKS {
            return Err(Ext4Error::TooSmall { size, minimum: Bytes(LEAST_BLOCKS * block) });
        }
        let too_large = Ext4Error::TooLarge { size, block_size };
        if wanted > u64::from(u32::MAX) {
            return Err(too_large);
        }
        let mut geometry = Self::of_blocks(block, wanted, wanted);
        // At most one round: without its remainder the last group is full.
        let rest = (geometry.blocks - geometry.first) % geometry.per_group;
        if geometry.groups > 1 && rest > 0 && rest < geometry.overhead(geometry.groups - 1) + LEAST_ROOM {
            geometry = Self::of_blocks(block, wanted - rest, wanted);
        }
        // Beyond this mke2fs drops the resize inode for meta_bg.
        if geometry.gdt_blocks + geometry.reserved_gdt > geometry.per_group / 4 * 3 {
            return Err(too_large);
        }
        Ok(geometry)
    }

    /// The numbers for exactly `blocks` blocks and the inodes of `wanted`, which may be a few more.
    fn of_blocks(block: u64, blocks: u64, wanted: u64) -> Self {
        let first = u64::from(block == 1024);
        let per_group = block * 8;
        let groups = (blocks - first).div_ceil(per_group);

        // Whole blocks of inodes, in eights so that the bitmaps of neighbours meet at a byte.
        let inodes = wanted * block / BYTES_PER_INODE;
        let filled = (inodes.div_ceil(groups) * INODE_SIZE).div_ceil(block) * block / INODE_SIZE;
        let inodes_per_group = filled.max(8) / 8 * 8;

        let descriptors = block / DESCRIPTOR_SIZE;
        let gdt_blocks = groups.div_ceil(descriptors);
        // Room to grow a thousandfold, as far as block numbers of 32 bits reach.
        let largest = if blocks < u64::from(u32::MAX) / 1024 { blocks * 1024 } else { u64::from(u32::MAX) };
        let largest_gdt = (largest - first).div_ceil(per_group).div_ceil(descriptors);
        let reserved_gdt = largest_gdt.saturating_sub(gdt_blocks).min(block / 4);

        Self {
            block,
            first,
            blocks,
            per_group,
            groups,
            inodes_per_group,
            table_blocks: (inodes_per_group * INODE_SIZE).div_ceil(block),
            gdt_blocks,
            reserved_gdt,
            journal_blocks: journal_blocks(blocks),
            orphan_blocks: orphan_blocks(blocks),
        }
    }

    /// Blocks of the metadata of a group: bitmaps, inode table, and the backups if it carries them.
    fn overhead(&self, group: u64) -> u64 {
        2 + self.table_blocks + self.backup_blocks(group)
    }

    /// Blocks at the start of a group that hold the superblock, the group descriptors and their reserve.
    pub fn backup_blocks(&self, group: u64) -> u64 {
        if has_superblock(group) { 1 + self.gdt_blocks + self.reserved_gdt } else { 0 }
    }

    /// The groups that carry backups, in order: a few dozen, however many groups there are.
    pub fn backups(&self) -> Vec<u64> {
        let mut backups = vec![1];
        for base in [3, 5, 7] {
            backups.extend(
                core::iter::successors(Some(base), |power| Some(power * base))
                    .take_while(|power| *power < self.groups),
            );
        }
        backups.retain(|group| *group < self.groups);
        sort::slice(&mut backups);
        backups
    }

    /// The first block of a group.
    pub fn start(&self, group: u64) -> u64 {
        self.first + group * self.per_group
    }

    /// The last block of a group.
    pub fn last(&self, group: u64) -> u64 {
        (self.start(group) + self.per_group).min(self.blocks) - 1
    }

    /// Blocks of a group.
    pub fn length(&self, group: u64) -> u64 {
        self.last(group) + 1 - self.start(group)
    }

    /// The group of a block; block 0 counts to the first one.
    pub fn group_of(&self, block: u64) -> u64 {
        block.saturating_sub(self.first) / self.per_group
    }

    /// All inodes.
    pub fn inodes(&self) -> u64 {
        self.inodes_per_group * self.groups
    }

    /// Block numbers in a block of an indirectly mapped file.
    pub fn pointers(&self) -> u64 {
        self.block / 4
    }
}

/// Returns true when a group carries the superblock and the descriptors (sparse_super): the first two, and the powers
/// of 3, 5, 7. ext4 documentation, "Block Groups".
fn has_superblock(group: u64) -> bool {
    let power_of = |base: u64| {
        let mut rest = group;
        while rest.is_multiple_of(base) {
            rest /= base;
        }
        rest == 1
    };
    group <= 1 || power_of(3) || power_of(5) || power_of(7)
}

/// The journal's size by the file system's, both in blocks.
fn journal_blocks(blocks: u64) -> u64 {
    const K: u64 = 1 << 10;
    match blocks {
        b if b < 32 * K => K,
        b if b < 256 * K => 4 * K,
        b if b < 512 * K => 8 * K,
        b if b < 4096 * K => 16 * K,
        b if b < 8192 * K => 32 * K,
        b if b < 16384 * K => 64 * K,
        b if b < 32768 * K => 128 * K,
        _ => 256 * K,
    }
}

/// The orphan file's size by the file system's, both in blocks: a 4096th, within 32 and 512.
fn orphan_blocks(blocks: u64) -> u64 {
    (blocks / 4096).clamp(32, 512)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backups_stand_in_the_powers_of_3_5_and_7() {
        let carriers: Vec<u64> = (0..400).filter(|&group| has_superblock(group)).collect();
        assert_eq!(carriers, [0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125, 243, 343]);
        for mib in [8, 200, 256, 400, 50_000, 8_000_000] {
            let geometry = Geometry::new(Bytes(mib << 20), BlockSize::B4096).unwrap();
            let carriers: Vec<u64> = (1..geometry.groups).filter(|&group| has_superblock(group)).collect();
            assert_eq!(geometry.backups(), carriers, "{mib} MiB");
        }
    }

    /// Expected values: `dumpe2fs -h` of what mke2fs 1.47.2 made of these sizes.
    #[test]
    fn numbers_are_those_of_mke2fs() {
        // MiB, then: blocks, groups, inodes per group, reserved GDT blocks, journal blocks, orphan blocks.
        for (mib, expected) in [
            (8, [2048, 1, 512, 0, 1024, 32]),
            (100, [25600, 1, 6400, 12, 1024, 32]),
            (2048, [524_288, 16, 8192, 255, 16384, 128]),
            (65536, [16_777_216, 512, 8192, 1024, 131_072, 512]),
            (8 << 20, [2_147_483_648, 65536, 8192, 1024, 262_144, 512]),
        ] {
            let g = Geometry::new(Bytes(mib << 20), BlockSize::B4096).unwrap();
            let found =
                [g.blocks, g.groups, g.inodes_per_group, g.reserved_gdt, g.journal_blocks, g.orphan_blocks];
            assert_eq!(found, expected, "{mib} MiB");
        }
    }

    #[test]
    fn a_last_group_without_room_is_left_out() {
        // 128 MiB are one group exactly; 200 blocks more cannot hold a second one's tables.
        let g = Geometry::new(Bytes((128 << 20) + 200 * 4096), BlockSize::B4096).unwrap();
        assert_eq!((g.blocks, g.groups), (32768, 1));
    }

    #[test]
    fn sizes_out_of_bounds_are_refused() {
        for (size, block_size, expected) in [
            (0, BlockSize::B4096, Err(true)),
            ((8 << 20) - 1, BlockSize::B4096, Err(true)),
            (8 << 20, BlockSize::B4096, Ok(2048)),
            ((16 << 40) - 1, BlockSize::B4096, Ok(4_294_967_295)),
            (16 << 40, BlockSize::B4096, Err(false)),
            (u64::MAX, BlockSize::B4096, Err(false)),
            ((2 << 20) - 1, BlockSize::B1024, Err(true)),
            (2 << 20, BlockSize::B1024, Ok(2048)),
            (1 << 40, BlockSize::B1024, Err(false)),
        ] {
            let found = Geometry::new(Bytes(size), block_size)
                .map(|g| g.blocks)
                .map_err(|error| matches!(error, Ext4Error::TooSmall { .. }));
            assert_eq!(found, expected, "{size} {block_size:?}");
        }
    }
}
