//! An empty ext4: what Debian 13's `mke2fs` 1.47.2 makes with the arguments of systemd (`-I 256 -m 0 -E
//! nodiscard,lazy_itable_init=1 -b 4096 -T default`), block for block.
//!
//! Features: has_journal, ext_attr, resize_inode, dir_index, orphan_file, filetype, extent, 64bit, flex_bg,
//! metadata_csum, metadata_csum_seed, sparse_super, large_file, huge_file, dir_nlink, extra_isize.
//!
//! Parts that are written, and parts that are not:
//! - the journal is zeroed, all of it and at once, or it has an identity that nothing on the disk can have ([`Journal`]). UUIDs of
//!   file systems may be derived from a seed, so a journal left over from an earlier one in the same space could carry the right UUID
//!   and would be replayed;
//! - inode tables are lazy: only the blocks with inodes in use are written. The others are declared unused in the group
//!   descriptors (`INODE_UNINIT`, `itable_unused`, no `INODE_ZEROED`), so that e2fsck does not read them and the
//!   kernel's ext4lazyinit zeroes them after the first mount;
//! - block bitmaps of groups without any block in use are not written either (`BLOCK_UNINIT`).
//!
//! Format: <https://docs.kernel.org/filesystems/ext4/>, cited below as "ext4 documentation" with the chapter.
//!
//! The rooms: `geometry` (numbers of blocks), `space` and `layout` (places of blocks), one file for each structure on
//! the disk, `image` (the writes).

use std::prelude::v1::*;

use core::fmt;

use uuid::Uuid;

use super::record;
use crate::{units::Bytes, writes::Writes};

mod checksum;
mod directory;
mod extent;
mod geometry;
mod group;
mod image;
mod inode;
mod journal;
mod layout;
mod orphan;
mod resize;
mod space;
mod superblock;

use checksum::Seed;
use geometry::Geometry;
use image::Image;
pub use journal::Journal;
use layout::Layout;

/// The unit in which an ext4 counts and allocates.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum BlockSize {
    /// 1024 bytes: for very small file systems.
    B1024,
    /// 4096 bytes: systemd asks for this with any size.
    #[default]
    B4096,
}

impl BlockSize {
    /// The size in bytes.
    pub fn bytes(self) -> u64 {
        match self {
            Self::B1024 => 1024,
            Self::B4096 => 4096,
        }
    }
}

/// The parameters of a new ext4; everything else follows from them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Params<'a> {
    /// The size of the partition or mapping. A remainder that does not fill a block (or a last block group) stays
    /// unused.
    pub size: Bytes,
    /// The UUID of the file system; all metadata checksums are seeded with it.
    pub uuid: Uuid,
    /// The label; at most 16 bytes are kept, cut between two characters.
    pub label: &'a str,
    /// The seed of the directory hashes. Random or derived, but not known to those who choose file names: with it they
    /// could fill a directory with colliding names.
    pub hash_seed: Uuid,
    /// Seconds since 1970, for all times of the superblock and of the first inodes. ext4 ends in the year 2446; a later
    /// time is cut to its last second.
    pub now: u64,
    /// The block size.
    pub block_size: BlockSize,
    /// The journal.
    pub journal: Journal,
}

/// The reason why an ext4 cannot be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ext4Error {
    /// Fewer than 2048 blocks: no room for a journal.
    TooSmall {
        /// The size that was requested.
        size: Bytes,
        /// The least that works with this block size.
        minimum: Bytes,
    },
    /// More blocks than the resize inode can address, or group descriptors that fill the first block group.
    TooLarge {
        /// The size that was requested.
        size: Bytes,
        /// With this block size.
        block_size: BlockSize,
    },
    /// A structure found no place. No size between the two limits is known for which this happens.
    NoRoom {
        /// The structure.
        what: &'static str,
    },
}

impl fmt::Display for Ext4Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooSmall { size, minimum } => {
                write!(
                    f,
                    "ext4: {size} is too small, at least {minimum} are needed; make the partition larger"
                )
            }
            Self::TooLarge { size, block_size } => write!(
                f,
                "ext4: {size} is too large for blocks of {} bytes; make the partition smaller",
                block_size.bytes()
            ),
            Self::NoRoom { what } => write!(f, "ext4: no room for the {what}; choose another size"),
        }
    }
}

impl core::error::Error for Ext4Error {}

/// Plans an empty ext4. Offsets count from the start of the partition or mapping; a barrier ends the plan. The plan is
/// valid with any old content of the device.
///
/// Memory: the plan holds the written bytes, the group descriptors once for all backups: 1 MiB for a file system of 1
/// GiB, 7 MiB for 64 GiB, 9 MiB for 1 TiB, 27 MiB for 8 TiB. The zeroes of the journal (at most 1 GiB) take none.
///
/// # Errors
/// [`Ext4Error::TooSmall`] below 2048 blocks, [`Ext4Error::TooLarge`] from 2^32 blocks (16 TiB with blocks of 4096
/// bytes, about 736 GiB with 1024).
pub fn plan(params: &Params) -> Result<Writes, Ext4Error> {
    let geometry = Geometry::new(params.size, params.block_size)?;
    let layout = Layout::new(&geometry)?;
    let seed = Seed::of(params.uuid);
    let now = params.now.min(inode::LAST_SECOND);

    let mut image = Image::new(geometry.block);
    image.wipe_end(geometry.blocks);
    image.data(layout.root.start(), directory::root(&geometry, seed));
    let lost_found = directory::lost_found(&geometry, seed);
    image.data_over(&layout.lost_found, lost_found);
    resize::write(&mut image, &geometry, &layout);
    journal::write(&mut image, &geometry, &layout, params);
    if let Some(node) = layout.journal_node {
        image.data(node, extent::leaf(&geometry, seed, inode::JOURNAL, &layout.journal));
    }
    orphan::write(&mut image, &geometry, &layout, seed);

    let inodes = inode::table(&geometry, &layout, seed, now);
    if let Some(table) = layout.groups.first().map(|group| group.inode_table) {
        image.data(table, inodes);
    }
    let descriptors = group::write(&mut image, &geometry, &layout, seed).into();
    superblock::write(&mut image, params, &geometry, &layout, seed, now, &descriptors);
    Ok(image.into_writes())
}
