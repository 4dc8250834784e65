//! The superblock, and its copies with the group descriptors. ext4 documentation, "The Super Block".

use std::prelude::v1::*;

use super::{
    Params,
    checksum::{Seed, crc32c},
    geometry::{DESCRIPTOR_SIZE, FLEX, Geometry, INODE_SIZE},
    image::Image,
    inode::{EXTRA_SIZE, FIRST, JOURNAL, ORPHAN, USED},
    layout::Layout,
    record::Record,
};
use crate::{mkfs::label, writes::Data};

/// Bytes of the superblock, of which the last four are its checksum.
const SIZE: u64 = 1024;
/// The offset of the superblock on the device, in bytes, with any block size.
const OFFSET: u64 = 1024;
const MAGIC: u64 = 0xef53;
/// s_state: cleanly unmounted. The copies do not claim it, so that a mount from one of them is checked first.
const CLEAN: u64 = 1;
/// s_errors: go on after an error.
const CONTINUE: u64 = 1;
/// s_max_mnt_count: no check after so many mounts.
const NEVER: u64 = 0xffff;
/// s_rev_level: inode sizes are stored.
const DYNAMIC: u64 = 1;
/// has_journal, ext_attr, resize_inode, dir_index, orphan_file.
const COMPATIBLE: u64 = 0x4 | 0x8 | 0x10 | 0x20 | 0x1000;
/// filetype, extents, 64bit, flex_bg, metadata_csum_seed.
const INCOMPATIBLE: u64 = 0x2 | 0x40 | 0x80 | 0x200 | 0x2000;
/// sparse_super, large_file, huge_file, dir_nlink, extra_isize, metadata_csum.
const READ_ONLY_COMPATIBLE: u64 = 0x1 | 0x2 | 0x8 | 0x20 | 0x40 | 0x400;
/// s_def_hash_version: half MD4.
const HALF_MD4: u8 = 1;
/// s_jnl_backup_type: s_jnl_blocks is a copy of the journal's i_block.
const JOURNAL_COPY: u8 = 1;
/// s_default_mount_opts: user_xattr, acl.
const MOUNT_OPTIONS: u64 = 0x4 | 0x8;
/// s_flags: names are hashed as signed characters, as mke2fs on x86 says.
const SIGNED_HASH: u64 = 1;
/// s_checksum_type: crc32c.
const CRC32C: u8 = 1;
/// Bytes of a label.
const LABEL: usize = 16;

/// Writes the superblock with the group descriptors behind it, and the copies of both.
pub(super) fn write(
    image: &mut Image,
    params: &Params,
    geometry: &Geometry,
    layout: &Layout,
    seed: Seed,
    now: u64,
    descriptors: &Data,
) {
    // The bytes before the superblock are zeroed: a boot sector in them is out of date.
    if geometry.first > 0 {
        image.data(0, Record::zeroed(geometry.block).into_bytes());
    }
    let copies = 1 + geometry.backups().len() as u64;
    let written = image.volume() + geometry.block + (copies - 1) * SIZE + copies * descriptors.len() as u64;

    for group in core::iter::once(0).chain(geometry.backups()) {
        let mut superblock = Record::zeroed(SIZE);
        describe(&mut superblock, geometry, layout, written);
        name(&mut superblock, params, seed);
        times(&mut superblock, now);
        superblock.le16(0x3a, if group == 0 { CLEAN } else { 0 }).le16(0x5a, group.min(0xffff));
        let checksum = crc32c(superblock.head(SIZE as usize - 4));
        superblock.le32(SIZE as usize - 4, checksum.into());

        if group == 0 {
            let mut block = Record::zeroed(geometry.block);
            let within = if geometry.first == 0 { OFFSET } else { 0 };
            block.bytes(within as usize, superblock.as_slice());
            image.data(geometry.start(group), block.into_bytes());
        } else {
            // The rest of the block belongs to nothing and stays as it is.
            image.data(geometry.start(group), superblock.into_bytes());
        }
        image.data(geometry.start(group) + 1, descriptors.clone());
    }
}

/// Sizes, features, and where things are.
fn describe(sb: &mut Record, geometry: &Geometry, layout: &Layout, written: u64) {
    let free = geometry.blocks - geometry.first - layout.space.used();
    let log_block = u64::from(geometry.block.ilog2() - 10);
    sb.le32(0x00, geometry.inodes()).le32(0x10, geometry.inodes() - u64::from(USED));
    sb.le32(0x04, geometry.blocks).le32(0x150, geometry.blocks >> 32);
    sb.le32(0x0c, free).le32(0x158, free >> 32);
    sb.le32(0x14, geometry.first).le32(0x18, log_block).le32(0x1c, log_block);
    sb.le32(0x20, geometry.per_group).le32(0x24, geometry.per_group).le32(0x28, geometry.inodes_per_group);
    sb.le16(0x36, NEVER).le16(0x38, MAGIC).le16(0x3c, CONTINUE).le32(0x4c, DYNAMIC);
    sb.le32(0x54, FIRST.into()).le16(0x58, INODE_SIZE);
    sb.le32(0x5c, COMPATIBLE).le32(0x60, INCOMPATIBLE).le32(0x64, READ_ONLY_COMPATIBLE);
    sb.le16(0xce, geometry.reserved_gdt).le32(0xe0, JOURNAL.into());
    sb.u8(0xfc, HALF_MD4).u8(0xfd, JOURNAL_COPY).le16(0xfe, DESCRIPTOR_SIZE).le32(0x100, MOUNT_OPTIONS);
    // The copy of the journal's inode: its map, then the halves of its size, the upper one first.
    let journal_size = geometry.journal_blocks * geometry.block;
    sb.bytes(0x10c, &layout.journal.root(layout.journal_node));
    sb.le32(0x148, journal_size >> 32).le32(0x14c, journal_size);
    sb.le16(0x15c, EXTRA_SIZE).le16(0x15e, EXTRA_SIZE).le32(0x160, SIGNED_HASH);
    sb.u8(0x174, FLEX.ilog2() as u8).u8(0x175, CRC32C).le64(0x178, written >> 10);
    sb.le32(0x248, layout.overhead).le32(0x280, ORPHAN.into());
}

/// UUIDs, label, and the seed of the checksums.
fn name(sb: &mut Record, params: &Params, seed: Seed) {
    sb.bytes(0x68, params.uuid.as_bytes()).bytes(0x78, label::cut(params.label, LABEL).as_bytes());
    sb.bytes(0xec, params.hash_seed.as_bytes()).le32(0x270, seed.0.into());
}

/// Last write, last check, creation: 32 bits, and the bits beyond.
fn times(sb: &mut Record, now: u64) {
    let beyond = (now >> 32) as u8;
    sb.le32(0x30, now).le32(0x40, now).le32(0x108, now);
    sb.u8(0x274, beyond).u8(0x276, beyond).u8(0x277, beyond);
}
