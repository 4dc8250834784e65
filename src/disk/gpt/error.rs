//! The errors of a partition table.

use core::fmt;

use uuid::Uuid;

use crate::{
    disk::label::Label,
    units::{Lba, PartitionNumber},
};

/// The reason why one copy of the table is not valid.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The disk could not be read there.
    Unreadable {
        /// The first block that was asked for.
        lba: Lba,
        /// The error of the disk.
        reason: String,
    },
    /// No `EFI PART` where the header should be.
    NoSignature {
        /// The block that was read.
        lba: Lba,
    },
    /// A field of the header has a value that it cannot have.
    Field {
        /// The block of the header.
        lba: Lba,
        /// The field, as the UEFI specification calls it.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// A checksum does not match: of the header or of the entries.
    Checksum {
        /// The block of the header.
        lba: Lba,
        /// The field that holds the checksum.
        field: &'static str,
    },
}

impl Fault {
    /// True when the disk failed, and what is on it is not known.
    pub fn is_of_medium(&self) -> bool {
        matches!(self, Self::Unreadable { .. })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { lba, reason } => write!(f, "block {lba} cannot be read ({reason})"),
            Self::NoSignature { lba } => write!(f, "no signature in block {lba}"),
            Self::Field { lba, field, value } => {
                write!(f, "{field} of the header in block {lba} is {value:#x}")
            }
            Self::Checksum { lba, field } => write!(f, "{field} of the header in block {lba} does not match"),
        }
    }
}

/// The reason why a disk's partition table cannot be used or changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GptError {
    /// The disk's logical block is not a power of two from 512 to 4096 bytes, or the disk is too small for any table.
    Geometry {
        /// Bytes in a block.
        block_size: u32,
        /// Blocks of the disk.
        blocks: u64,
    },
    /// The disk is empty: neither copy has a signature, and nothing else is recognised.
    None,
    /// The disk has no GPT but something else. After an MBR with partitions a GPT is a leftover.
    Foreign(Label),
    /// There was a table, and both copies of it are damaged.
    Damaged {
        /// The fault of the copy at the beginning of the disk.
        primary: Fault,
        /// The fault of the copy at the end of the disk.
        backup: Fault,
    },
    /// An entry's range is backwards or leaves the range that partitions may use.
    Range {
        /// The entry.
        number: PartitionNumber,
        /// Its first block.
        first: Lba,
        /// Its last block.
        last: Lba,
    },
    /// Two entries claim the same blocks.
    Overlap {
        /// The partition that begins earlier.
        first: PartitionNumber,
        /// The partition that begins before the other one ends.
        second: PartitionNumber,
    },
    /// The tables do not fit around the partitions, for instance because a partition begins too early for a primary
    /// table that is to be rebuilt.
    NoRoomForTable,
    /// Every entry of the table is used.
    Full {
        /// The number of entries.
        entries: u32,
    },
    /// The entry for a new partition is in use or beyond the table.
    Taken {
        /// The entry.
        number: PartitionNumber,
    },
    /// A partition that is to be changed is not there.
    Missing {
        /// Its number.
        number: PartitionNumber,
    },
    /// A new partition's GUID is nil, its type is nil, or a partition of another type has its GUID.
    Guid(Uuid),
    /// A new partition's label has more than 36 UTF-16 units.
    Label(String),
}

impl fmt::Display for GptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Geometry { block_size, blocks } => {
                write!(f, "a disk of {blocks} blocks of {block_size} bytes cannot have a GPT")
            }
            Self::None => f.write_str("no GPT at either end of the disk; write the image again"),
            Self::Foreign(label) => {
                write!(f, "the disk has no GPT of its own but {label}; write the image again")
            }
            Self::Damaged { primary, backup } => write!(
                f,
                "both copies of the GPT are damaged; primary: {primary}; backup: {backup}; restore one with sfdisk or write the image again"
            ),
            Self::Range { number, first, last } => write!(
                f,
                "partition {number} of the GPT has the impossible range {first} to {last}; correct it with sfdisk"
            ),
            Self::Overlap { first, second } => {
                write!(f, "partitions {first} and {second} of the GPT overlap; correct it with sfdisk")
            }
            Self::NoRoomForTable => f.write_str(
                "the GPT cannot be repaired: a partition lies where one of its copies belongs; move it with sfdisk",
            ),
            Self::Full { entries } => {
                write!(f, "all {entries} entries of the GPT are used; remove a partition or make the table larger")
            }
            Self::Taken { number } => write!(f, "entry {number} of the GPT cannot take a new partition"),
            Self::Missing { number } => write!(f, "the GPT has no partition {number}"),
            Self::Guid(guid) => write!(f, "a new partition cannot have the GUID {guid}: nil, or in use by a partition of another type"),
            Self::Label(label) => write!(f, "the label {label:?} has more than the 36 characters that a GPT keeps"),
        }
    }
}

impl core::error::Error for GptError {}
