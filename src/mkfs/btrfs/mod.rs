//! An empty btrfs on one device: what Debian 13's `mkfs.btrfs` 6.14 makes by default, with the same chunks and
//! features, and the subvolumes that systemd's repart.d asks for.
//!
//! Metadata and the chunk tree in two copies or one, data in one; crc32c; nodes of 16 KiB, sectors of 4 KiB. Features:
//! mixed back references, big metadata, extended inode references, skinny metadata, no holes, the free-space tree.
//!
//! mkfs.btrfs makes a file system in a temporary chunk and then changes it in several transactions. Here everything is
//! computed first and written once, as the result of the first transaction. So the differences are:
//! - every generation is 1, every block of a tree is beside its neighbours, and the list of earlier roots has one
//!   entry;
//! - the free-space tree has no records of the temporary chunks, which mkfs.btrfs leaves behind.
//!
//! The first MiB of the device, which btrfs never gives away, and the last one are wiped: no older superblock, no LUKS
//! or RAID header is left behind. mkfs.btrfs wipes two MiB each.
//!
//! Format: <https://btrfs.readthedocs.io/en/latest/dev/On-disk-format.html> and the kernel's `btrfs_tree.h` and
//! `tree-checker.c`; each file names its part.
//!
//! The rooms: `chunk` (which range of the device is for which purpose), `volume` (subvolumes and directories), `item`
//! (structures), `tree` (items into blocks), `forest` (all trees), `superblock`.

use std::prelude::v1::*;

use core::fmt;

use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

use crate::{units::Bytes, writes::Writes};

mod checksum;
mod chunk;
mod forest;
mod item;
mod key;
mod superblock;
mod tree;
mod volume;

use chunk::Chunks;
use forest::Forest;
use volume::Volumes;

/// Bytes of a tree's block.
const NODE: u64 = 16 * Bytes::KIB;
/// Bytes of the smallest piece of a file.
const SECTOR: u64 = 4 * Bytes::KIB;
/// The only transaction so far.
const GENERATION: u64 = 1;
/// The number of bytes that are wiped at each end of the device.
const WIPED: u64 = chunk::FIRST;

/// The smallest btrfs that is made: systemd-repart's minimum. mkfs.btrfs goes down to 109 MiB, but below a few hundred MiB
/// little is left for data.
pub const MINIMUM: Bytes = Bytes(256 * Bytes::MIB);

/// In how many copies metadata is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Profile {
    /// Two, so that a damaged one is repaired from the other.
    #[default]
    Dup,
    /// One.
    Single,
}

impl core::str::FromStr for Profile {
    type Err = &'static str;

    /// Parses the profile's name in btrfs-progs. The error is the advice.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "dup" => Ok(Self::Dup),
            "single" => Ok(Self::Single),
            _ => Err("the profile of metadata is dup or single: there is one device"),
        }
    }
}

/// A subvolume to be made, and the directories above it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subvolume<'a> {
    /// Its path from the top: `/var`.
    pub path: &'a str,
    /// Its flags.
    pub flags: SubvolumeFlags,
}

/// The flags of a subvolume.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SubvolumeFlags {
    /// It is read-only.
    pub read_only: bool,
    /// Its files are written in place: without checksums and compression.
    pub no_cow: bool,
}

impl SubvolumeFlags {
    /// `ro`, `nodatacow`, or both with a comma between, as `Subvolumes=` of repart.d(5) has them; None for another word.
    pub fn parse(text: &str) -> Option<Self> {
        text.split(',').filter(|flag| !flag.is_empty()).try_fold(Self::default(), |flags, flag| match flag {
            "ro" => Some(Self { read_only: true, ..flags }),
            "nodatacow" => Some(Self { no_cow: true, ..flags }),
            _ => None,
        })
    }
}

/// The parameters of a new btrfs; everything else follows from them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Params<'a> {
    /// The size of the partition or mapping. A remainder that does not fill a sector of 4096 bytes stays unused.
    pub size: Bytes,
    /// The UUID of the file system.
    pub uuid: Uuid,
    /// The label; at most 255 bytes are kept, cut between two characters.
    pub label: &'a str,
    /// The UUIDs of the device, of the chunk tree and of each subvolume follow from this. Random or derived; not the same
    /// for two file systems.
    pub seed: Uuid,
    /// Seconds since 1970, for all times.
    pub now: u64,
    /// The parameters that no other format has.
    pub choices: Choices<'a>,
}

/// The parameters that no other format has. The default is that of mkfs.btrfs without options.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Choices<'a> {
    /// The copies of metadata.
    pub metadata: Profile,
    /// Subvolumes, numbered from 256 in this order.
    pub subvolumes: &'a [Subvolume<'a>],
    /// The one that is mounted by default; None for the top.
    pub default_subvolume: Option<&'a str>,
}

/// The reason why a btrfs cannot be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BtrfsError {
    /// Below [`MINIMUM`].
    TooSmall {
        /// The size that was requested.
        size: Bytes,
    },
    /// Not a path of a subvolume.
    Path {
        /// The path.
        path: String,
    },
    /// A subvolume is asked for twice.
    Twice {
        /// Its path, the second time.
        path: String,
    },
    /// The default subvolume is not one of the subvolumes.
    NoDefault {
        /// Its path.
        path: String,
    },
    /// The trees of so many subvolumes do not fit into the metadata chunk.
    NoRoom {
        /// The number of subvolumes.
        subvolumes: usize,
    },
}

impl fmt::Display for BtrfsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooSmall { size } => write!(
                f,
                "btrfs: {size} is too small, at least {MINIMUM} are needed; make the partition larger"
            ),
            Self::Path { path } => write!(
                f,
                "btrfs: {path:?} is no path of a subvolume; write it from the top like /var, without \"..\""
            ),
            Self::Twice { path } => {
                write!(f, "btrfs: subvolume {path:?} is asked for twice; remove one of them")
            }
            Self::NoDefault { path } => {
                write!(f, "btrfs: the default subvolume {path:?} is none of the subvolumes; add it to them")
            }
            Self::NoRoom { subvolumes } => {
                write!(f, "btrfs: {subvolumes} subvolumes leave no room for files; ask for fewer")
            }
        }
    }
}

impl core::error::Error for BtrfsError {}

/// The values that all structures share.
struct Context {
    uuid: Uuid,
    device: Uuid,
    chunk_tree: Uuid,
    seed: Uuid,
    now: u64,
    chunks: Chunks,
}

impl Context {
    fn new(params: &Params) -> Result<Self, BtrfsError> {
        Ok(Self {
            uuid: params.uuid,
            device: derive(params.seed, "device", 0),
            chunk_tree: derive(params.seed, "chunk-tree", 0),
            seed: params.seed,
            // Times are signed.
            now: params.now.min(i64::MAX.cast_unsigned()),
            chunks: Chunks::new(params.size, params.choices.metadata)?,
        })
    }

    /// The UUID of the top or of a subvolume.
    fn volume_uuid(&self, id: u64) -> Uuid {
        derive(self.seed, "subvolume", id)
    }
}

/// A UUID of version 4 that follows from the seed and from its purpose.
fn derive(seed: Uuid, what: &str, number: u64) -> Uuid {
    let digest = Sha256::new()
        .chain_update(seed.as_bytes())
        .chain_update(what.as_bytes())
        .chain_update(number.to_le_bytes())
        .finalize();
    Builder::from_random_bytes(digest.first_chunk().copied().unwrap_or_default()).into_uuid()
}

/// Plans an empty btrfs. Offsets count from the start of the partition or mapping. Trees come first, then a barrier,
/// then the superblocks, the primary last, and a barrier. The plan is valid with any old content of the device.
///
/// # Errors
/// A size below [`MINIMUM`], invalid paths, more subvolumes than a quarter of the first metadata chunk has blocks for
/// (some hundred with single metadata).
pub fn plan(params: &Params) -> Result<Writes, BtrfsError> {
    let context = Context::new(params)?;
    let volumes = Volumes::new(&params.choices)?;
    let forest = Forest::new(&context, &volumes)?;

    let mut writes = Writes::new();
    writes.zero(Bytes(0), Bytes(WIPED));
    let end = context.chunks.total - WIPED;
    writes.zero(Bytes(end), Bytes(params.size.0 - end));
    let chunks = &context.chunks;
    for (chunk, blocks) in
        [(&chunks.system, forest.system(&context)), (&chunks.metadata, forest.metadata(&context))]
    {
        for &copy in &chunk.copies {
            writes.data(Bytes(copy), blocks.clone());
        }
    }
    writes.barrier();
    for (at, superblock) in superblock::all(&context, &forest, params.label, volumes.default) {
        writes.data(Bytes(at), superblock);
    }
    writes.barrier();
    Ok(writes)
}
