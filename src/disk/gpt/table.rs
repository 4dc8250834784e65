//! One copy of the table, raw: read, validated, encoded. Entries stay bytes, so that types, attributes and names that
//! we do not know survive byte for byte.
//!
//! Source: UEFI specification 2.10, section 5.3.

use std::fmt::Display;

use crc::{CRC_32_ISO_HDLC, Crc};
use uuid::Uuid;

use super::{Geometry, error::Fault};
use crate::{
    units::{Bytes, Lba},
    writes::ReadAt,
};

const SIGNATURE: &[u8; 8] = b"EFI PART";
const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// Version 1.0 of the format.
const REVISION: u32 = 0x0001_0000;
/// The number of entries of a new table.
const ENTRIES: usize = 128;
/// The header's fields up to the checksum of the entries; the rest of the block is reserved.
const HEADER_SIZE: usize = 92;
/// The specification asks for room for at least 128 entries of 128 bytes; this is 64 times as much.
const MAX_ENTRIES_BYTES: u64 = 1 << 20;
/// The largest entry that is accepted, in bytes: 128 times a power of two; tables in use have 128.
const MAX_ENTRY_SIZE: u32 = 4096;

/// The two copies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Copy {
    /// At the beginning of the disk.
    Primary,
    /// At its end.
    Backup,
}

/// A copy of the table whose checksums and fields were checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Table {
    /// The header as it was found, `HeaderSize` bytes: revision, disk GUID and reserved bytes are kept.
    header: Vec<u8>,
    /// The block of the other copy's header.
    pub alternate: Lba,
    /// The first block that a partition may have.
    pub first_usable: Lba,
    /// The last block that a partition may have.
    pub last_usable: Lba,
    /// The first block of the entries.
    pub entries_lba: Lba,
    /// The number of entries.
    pub count: u32,
    /// Bytes in an entry: 128 times a power of two.
    pub entry_size: u32,
    /// All entries.
    pub entries: Vec<u8>,
}

impl Table {
    /// Reads the copy whose header is at `lba` and checks it in full before any of its fields is used.
    pub fn read<R>(disk: &R, geometry: Geometry, lba: Lba) -> Result<Self, Fault>
    where
        R: ReadAt + ?Sized,
        R::Error: Display,
    {
        let block = read_blocks(disk, geometry, lba, 1)?;
        let field = |at: usize| u64_at(&block, at);
        let fault = |field, value| Fault::Field { lba, field, value };
        if block.get(..8) != Some(SIGNATURE) {
            return Err(Fault::NoSignature { lba });
        }
        let size = u32_at(&block, 12);
        let header = usize::try_from(size)
            .ok()
            .filter(|size| *size >= HEADER_SIZE)
            .and_then(|size| block.get(..size))
            .ok_or_else(|| fault("HeaderSize", size.into()))?
            .to_vec();
        if header_checksum(&header) != u32_at(&block, 16) {
            return Err(Fault::Checksum { lba, field: "HeaderCRC32" });
        }
        if field(24) != lba.0 {
            return Err(fault("MyLBA", field(24)));
        }
        let (count, entry_size) = (u32_at(&block, 80), u32_at(&block, 84));
        if entry_size < 128 || !entry_size.is_power_of_two() || entry_size > MAX_ENTRY_SIZE {
            return Err(fault("SizeOfPartitionEntry", entry_size.into()));
        }
        let length = u64::from(count) * u64::from(entry_size);
        if count == 0 || length > MAX_ENTRIES_BYTES {
            return Err(fault("NumberOfPartitionEntries", count.into()));
        }
        let (first_usable, last_usable) = (Lba(field(40)), Lba(field(48)));
        if first_usable.0 < 2 || first_usable > last_usable {
            return Err(fault("FirstUsableLBA", first_usable.0));
        }
        // A disk that is smaller than its table says: the kernel refuses it too.
        if last_usable.0 >= geometry.blocks {
            return Err(fault("LastUsableLBA", last_usable.0));
        }
        let entries_lba = Lba(field(72));
        let blocks = length.div_ceil(u64::from(geometry.block_size));
        let entries_end = entries_lba.0.checked_add(blocks).filter(|end| *end <= geometry.blocks);
        // The entries lie outside of the range for partitions, and over neither the MBR nor their own header.
        let apart = |end: u64| {
            entries_lba.0 >= 1
                && (end <= first_usable.0 || entries_lba > last_usable)
                && (end <= lba.0 || entries_lba > lba)
        };
        if !entries_end.is_some_and(apart) || (first_usable..=last_usable).contains(&lba) {
            return Err(fault("PartitionEntryLBA", entries_lba.0));
        }
        let mut entries = read_blocks(disk, geometry, entries_lba, blocks)?;
        entries.truncate(length as usize);
        if CRC.checksum(&entries) != u32_at(&block, 88) {
            return Err(Fault::Checksum { lba, field: "PartitionEntryArrayCRC32" });
        }
        Ok(Self {
            header,
            alternate: Lba(field(32)),
            first_usable,
            last_usable,
            entries_lba,
            count,
            entry_size,
            entries,
        })
    }

    /// An empty table for a disk; None when the disk has no room for a table.
    pub fn empty(geometry: Geometry, disk_guid: Uuid) -> Option<Self> {
        let Geometry { block_size, blocks } = geometry;
        if !(512..=4096).contains(&block_size) || !block_size.is_power_of_two() {
            return None;
        }
        let entries = vec![0; ENTRIES * super::ENTRY_SIZE];
        let array = (entries.len() as u64).div_ceil(u64::from(block_size));
        let behind = array.checked_add(2)?;
        let last = blocks.checked_sub(behind)?;
        // 1 MiB, unless that were a lot of the disk.
        let aligned = (1 << 20) / u64::from(block_size);
        let first = if blocks > 4 * aligned { aligned.max(behind) } else { behind };
        if first > last {
            return None;
        }
        let mut header = vec![0; HEADER_SIZE];
        put(&mut header, 0, SIGNATURE);
        put(&mut header, 8, &REVISION.to_le_bytes());
        put(&mut header, 12, &(HEADER_SIZE as u32).to_le_bytes());
        put(&mut header, 56, &disk_guid.to_bytes_le());
        put(&mut header, 80, &(ENTRIES as u32).to_le_bytes());
        put(&mut header, 84, &(super::ENTRY_SIZE as u32).to_le_bytes());
        Some(Self {
            header,
            alternate: geometry.last(),
            first_usable: Lba(first),
            last_usable: Lba(last),
            entries_lba: Lba(2),
            count: ENTRIES as u32,
            entry_size: super::ENTRY_SIZE as u32,
            entries,
        })
    }

    /// The disk's own GUID.
    pub fn disk_guid(&self) -> Uuid {
        guid_at(&self.header, 56)
    }

    /// The number of blocks that the entries take.
    pub fn entries_blocks(&self, geometry: Geometry) -> u64 {
        (self.entries.len() as u64).div_ceil(u64::from(geometry.block_size))
    }

    /// The header's block for this copy, with `entries_lba` and both addresses as given and fresh checksums.
    pub fn encode_header(&self, geometry: Geometry, lba: Lba, alternate: Lba, entries_lba: Lba) -> Vec<u8> {
        let mut header = self.header.clone();
        put(&mut header, 24, &lba.0.to_le_bytes());
        put(&mut header, 32, &alternate.0.to_le_bytes());
        put(&mut header, 40, &self.first_usable.0.to_le_bytes());
        put(&mut header, 48, &self.last_usable.0.to_le_bytes());
        put(&mut header, 72, &entries_lba.0.to_le_bytes());
        put(&mut header, 88, &CRC.checksum(&self.entries).to_le_bytes());
        let checksum = header_checksum(&header);
        put(&mut header, 16, &checksum.to_le_bytes());
        header.resize(geometry.block_size as usize, 0);
        header
    }

    /// The entries, filled up with zeroes to whole blocks.
    pub fn encode_entries(&self, geometry: Geometry) -> Vec<u8> {
        let mut entries = self.entries.clone();
        entries.resize(entries.len().next_multiple_of(geometry.block_size as usize), 0);
        entries
    }

    /// Returns true when both describe the same disk and partitions. Addresses of the copies themselves may differ.
    pub fn same_content(&self, other: &Self) -> bool {
        self.disk_guid() == other.disk_guid()
            && self.first_usable == other.first_usable
            && self.last_usable == other.last_usable
            && self.entry_size == other.entry_size
            && self.entries == other.entries
    }
}

fn read_blocks<R>(disk: &R, geometry: Geometry, lba: Lba, blocks: u64) -> Result<Vec<u8>, Fault>
where
    R: ReadAt + ?Sized,
    R::Error: Display,
{
    let unreadable = |reason: String| Fault::Unreadable { lba, reason };
    let end = lba.0.checked_add(blocks).filter(|end| *end <= geometry.blocks);
    let (Some(offset), Some(_)) = (lba.offset(geometry.block_size), end) else {
        return Err(unreadable("beyond the end of the disk".into()));
    };
    // `blocks` is bounded by MAX_ENTRIES_BYTES.
    let mut buffer = vec![0; blocks.saturating_mul(u64::from(geometry.block_size)) as usize];
    disk.read_exact_at(Bytes(offset.0), &mut buffer).map_err(|error| unreadable(error.to_string()))?;
    Ok(buffer)
}

/// The header's checksum is computed with its own field zeroed.
fn header_checksum(header: &[u8]) -> u32 {
    let mut digest = CRC.digest();
    digest.update(header.get(..16).unwrap_or_default());
    digest.update(&[0; 4]);
    digest.update(header.get(20..).unwrap_or_default());
    digest.finalize()
}

/// Writes `bytes` at `at`. The header has at least [`HEADER_SIZE`] bytes, and no caller goes beyond that.
fn put(header: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(field) = header.get_mut(at..at + bytes.len()) {
        field.copy_from_slice(bytes);
    }
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

fn guid_at(bytes: &[u8], at: usize) -> Uuid {
    Uuid::from_bytes_le(array_at(bytes, at))
}
