//! The GUID partition table: read from a valid copy, changed in memory, written back copy by copy.
//!
//! The gpt crate (4.1) decodes entries well. This thin layer stands around it, one guard for each gap:
//!
//! | gap of the crate | guard |
//! |---|---|
//! | reading asserts an entry size of 128 and allocates by untrusted counts | `table`: size and count are bounded and both checksums checked before anything is decoded; the crate sees entries of 128 bytes from memory |
//! | it never falls back to the backup's entries | [`Gpt::read`]: each copy is header and entries, valid together or not at all |
//! | it reports no space on a grown disk, whose backup is where the disk once ended | [`Gpt::read`]: the last usable block and the backup's place move with the disk |
//! | writing compacts entries, forgets what it does not know and interleaves both copies without barriers | `edit`: entries stay raw bytes; one copy, barrier, the other copy, barrier |
//!
//! Source: UEFI specification 2.10, chapter 5.

mod create;
mod edit;
mod error;
mod mbr;
mod table;

use std::{fmt::Display, io::Cursor};

use gpt::{disk::LogicalBlockSize, header::Header};
use uuid::Uuid;

pub use edit::NewPartition;
pub use error::{Fault, GptError};
pub use table::Copy;

use super::{
    label::Label,
    partition::{FreeArea, Grid, Layout, Partition},
};
use crate::sort;
use crate::{
    units::{Bytes, Lba, PartitionNumber},
    writes::ReadAt,
};
use mbr::Mbr;
use table::Table;

/// The size of a disk.
#[derive(Clone, core::marker::Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    /// Bytes in a logical block: 512, 1024, 2048 or 4096.
    pub block_size: u32,
    /// The number of blocks.
    pub blocks: u64,
}

impl Geometry {
    /// The last block.
    fn last(self) -> Lba {
        Lba(self.blocks.saturating_sub(1))
    }
}

/// A disk's partition table, valid in itself: no entry leaves the usable range, none overlap.
#[derive(Clone, Debug)]
pub struct Gpt {
    geometry: Geometry,
    source: Copy,
    /// The source as it shall be written: its bounds fit the disk as it is now.
    table: Table,
    /// The first block of the primary's entries.
    primary_entries: Lba,
    /// True when the primary on the disk equals `table`.
    primary_current: bool,
    /// True when the backup on the disk equals `table` and lies at the end of the disk.
    backup_current: bool,
    mbr: ([u8; mbr::LENGTH], Mbr),
    partitions: Vec<Partition>,
}

impl Gpt {
    /// Reads the table of `disk`: from the primary copy, or from the backup when the primary is damaged.
    ///
    /// # Errors
    /// An empty disk, one with another label, both copies damaged, an entry with an impossible range, entries that overlap.
    pub fn read<R>(disk: &R, geometry: Geometry) -> Result<Self, GptError>
    where
        R: ReadAt + ?Sized,
        R::Error: Display,
    {
        let Geometry { block_size, blocks } = geometry;
        let addressable = blocks.checked_mul(u64::from(block_size)).is_some();
        // MBR, two headers, two blocks of entries, one usable block.
        if !(512..=4096).contains(&block_size) || !block_size.is_power_of_two() || blocks < 6 || !addressable
        {
            return Err(GptError::Geometry { block_size, blocks });
        }
        let mbr = mbr::read(disk, geometry);
        if mbr.1 == Mbr::Partitioned {
            return Err(GptError::Foreign(Label::Mbr));
        }
        let primary = Table::read(disk, geometry, Lba(1));
        // A valid primary needs no backup to be read, and a backup is of use only at the end of the disk: firmware,
        // kernel and this program look for it there when the primary is gone. A backup elsewhere, at the end of the
        // disk before it grew, counts as missing.
        let at_end = Table::read(disk, geometry, geometry.last()).and_then(|backup| match backup.alternate {
            Lba(1) => Ok(backup),
            Lba(value) => Err(Fault::Field { lba: geometry.last(), field: "AlternateLBA", value }),
        });
        let (source, mut table) = match (primary, &at_end) {
            (Ok(primary), _) => (Copy::Primary, primary),
            (Err(_), Ok(backup)) => (Copy::Backup, backup.clone()),
            (Err(primary), Err(backup)) => return Err(no_table(disk, geometry, primary, backup)),
        };
        let primary_entries = match source {
            Copy::Primary => table.entries_lba,
            Copy::Backup => Lba(2),
        };
        let mut primary_current = source == Copy::Primary;
        if source == Copy::Primary && table.alternate != geometry.last() {
            // The disk grew (or shrank by less than its free end): bounds and backup follow it.
            primary_current = false;
            table.alternate = geometry.last();
            table.last_usable =
                Lba(geometry.last().0.saturating_sub(table.entries_blocks(geometry)).saturating_sub(1));
            if table.last_usable < table.first_usable {
                return Err(GptError::NoRoomForTable);
            }
        }
        let backup_current = at_end.is_ok_and(|backup| {
            backup.same_content(&table)
                && backup.entries_lba > backup.last_usable
                && backup.entries_lba < geometry.last()
        });
        let partitions = decode(&table)?;
        check(&table, &partitions)?;
        Ok(Self {
            geometry,
            source,
            table,
            primary_entries,
            primary_current,
            backup_current,
            mbr,
            partitions,
        })
    }

    /// The copy that this was read from.
    pub fn source(&self) -> Copy {
        self.source
    }

    /// Returns true when the backup is valid, at the end of the disk, and equal to this table. If not, it could name
    /// ranges that are free here: repair it before anything is written into free space.
    pub fn backup_is_current(&self) -> bool {
        self.backup_current
    }

    /// Returns true when the primary is valid and fits the disk.
    pub fn primary_is_current(&self) -> bool {
        self.primary_current
    }

    /// The disk that this table is for.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// The disk's own GUID.
    pub fn disk_guid(&self) -> Uuid {
        self.table.disk_guid()
    }

    /// The used entries by number.
    pub fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    /// The partition with this number.
    pub fn partition(&self, number: PartitionNumber) -> Option<&Partition> {
        self.partitions.iter().find(|partition| partition.number == number)
    }

    /// The same as a planner sees it.
    pub fn layout(&self) -> Layout {
        Layout {
            block_size: self.geometry.block_size,
            grid: Grid::of_disk(self.geometry.block_size),
            first_usable: self.table.first_usable,
            last_usable: self.table.last_usable,
            entries: self.table.count,
            partitions: self.partitions.clone(),
        }
    }

    /// The gaps between the partitions, see [`Layout::free_areas`].
    pub fn free_areas(&self, grain: u64) -> Vec<FreeArea> {
        self.layout().free_areas(grain)
    }
}

/// The error for a disk without a valid copy of the table. It is empty only when nothing is recognised on it.
fn no_table<R>(disk: &R, geometry: Geometry, primary: Fault, backup: &Fault) -> GptError
where
    R: ReadAt + ?Sized,
    R::Error: Display,
{
    let damaged = |primary| GptError::Damaged { primary, backup: backup.clone() };
    let (Fault::NoSignature { .. }, Fault::NoSignature { .. }) = (&primary, backup) else {
        return damaged(primary);
    };
    match Label::look(disk, Bytes(geometry.blocks.saturating_mul(u64::from(geometry.block_size)))) {
        Ok(None) => GptError::None,
        Ok(Some(label)) => GptError::Foreign(label),
        Err(error) => damaged(Fault::Unreadable { lba: Lba(0), reason: error.to_string() }),
    }
}

/// Decodes the entries with the gpt crate, from memory, in the one shape that it reads safely: entries of 128 bytes
/// whose number was checked. Bytes of an entry beyond the first 128 are reserved and stay in the raw table.
fn decode(table: &Table) -> Result<Vec<Partition>, GptError> {
    let mut entries = Vec::with_capacity(table.entries.len());
    for entry in table.entries.chunks_exact(table.entry_size as usize) {
        entries.extend_from_slice(entry.get(..ENTRY_SIZE).unwrap_or_default());
    }
    let header = Header {
        signature: "EFI PART".into(),
        revision: (1, 0),
        header_size_le: 92,
        crc32: 0,
        reserved: 0,
        current_lba: 1,
        backup_lba: table.alternate.0,
        first_usable: table.first_usable.0,
        last_usable: table.last_usable.0,
        disk_guid: table.disk_guid(),
        part_start: 0,
        num_parts: table.count,
        part_size: ENTRY_SIZE as u32,
        crc32_parts: crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&entries),
    };
    // Its only failures are a short read and a checksum: neither can happen with memory that was filled here.
    let decoded =
        gpt::partition::file_read_partitions(&mut Cursor::new(entries), &header, LogicalBlockSize::Lb512)
            .map_err(|_| GptError::None)?;
    Ok(decoded
        .into_iter()
        .filter(|(_, entry)| entry.is_used())
        .map(|(number, entry)| Partition {
            number: PartitionNumber(number),
            type_guid: entry.part_type_guid.guid,
            guid: entry.part_guid,
            first: Lba(entry.first_lba),
            last: Lba(entry.last_lba),
            attributes: entry.flags,
            label: entry.name,
        })
        .collect())
}

/// The size of an entry that the specification defines, in bytes; most tables have entries of this size.
const ENTRY_SIZE: usize = 128;

/// Checks ranges and overlaps. A table with a fault in either is refused as a whole: the program that wrote it and this
/// one would disagree about which blocks are free.
fn check(table: &Table, partitions: &[Partition]) -> Result<(), GptError> {
    for Partition { number, first, last, .. } in partitions {
        if first > last || *first < table.first_usable || *last > table.last_usable {
            return Err(GptError::Range { number: *number, first: *first, last: *last });
        }
    }
    let mut sorted: Vec<&Partition> = partitions.iter().collect();
    sort::by_key(&mut sorted, |partition| partition.first);
    for (one, next) in sorted.iter().zip(sorted.iter().skip(1)) {
        if next.first <= one.last {
            return Err(GptError::Overlap { first: one.number, second: next.number });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DISK: Geometry = Geometry { block_size: 512, blocks: 64 };

    /// A header for [`DISK`] with four entries, its fields overwritten by `fields` (offset, value), both checksums
    /// right, so that the checks behind them are reached.
    fn image(lba: usize, entries: &[u8], fields: &[(usize, u64)]) -> Vec<u8> {
        let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
        let entries_lba: usize = if lba == 1 { 2 } else { 62 };
        let mut header = vec![0; 512];
        let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"EFI PART\0\0\x01\0\x5c");
        let alternate = 64 - lba as u64;
        for (at, value) in
            [(24, lba as u64), (32, alternate), (40, 3), (48, 61), (56, 7), (72, entries_lba as u64)]
        {
            put(at, &value.to_le_bytes());
        }
        put(80, &[4, 0, 0, 0, 128, 0, 0, 0]);
        for (at, value) in fields {
            put(*at, &value.to_le_bytes());
        }
        put(88, &crc.checksum(entries).to_le_bytes());
        let checksum = crc.checksum(&header[..92]);
        header[16..20].copy_from_slice(&checksum.to_le_bytes());
        let mut image = vec![0; 64 * 512];
        image[lba * 512..(lba + 1) * 512].copy_from_slice(&header);
        image[entries_lba * 512..(entries_lba + 1) * 512].copy_from_slice(entries);
        image
    }

    #[test]
    fn an_empty_table_is_read_from_either_end() {
        let primary = image(1, &[0; 512], &[]);
        let gpt = Gpt::read(&primary[..], DISK).unwrap();
        assert_eq!(
            (gpt.source(), gpt.backup_is_current(), gpt.partitions()),
            (Copy::Primary, false, &[][..])
        );
        let backup = image(63, &[0; 512], &[]);
        let gpt = Gpt::read(&backup[..], DISK).unwrap();
        assert_eq!((gpt.source(), gpt.backup_is_current()), (Copy::Backup, true));
        assert_eq!(gpt.layout().lowest_free_number(), Some(PartitionNumber(1)));
    }

    #[test]
    fn fields_that_would_hurt_are_refused_by_name() {
        for (at, value, expected) in [
            (24, 2, "MyLBA"),
            (40, 1, "FirstUsableLBA"),
            (40, 62, "FirstUsableLBA"),
            (48, 64, "LastUsableLBA"),
            (48, u64::MAX, "LastUsableLBA"),
            (72, 0, "PartitionEntryLBA"),
            (72, 1, "PartitionEntryLBA"),
            (72, 3, "PartitionEntryLBA"),
            (72, 64, "PartitionEntryLBA"),
            (72, u64::MAX, "PartitionEntryLBA"),
            (80, 128 << 32, "NumberOfPartitionEntries"),
            (80, 128 << 32 | 0xffff_ffff, "NumberOfPartitionEntries"),
            (80, 127 << 32 | 4, "SizeOfPartitionEntry"),
            (80, 192 << 32 | 4, "SizeOfPartitionEntry"),
            (80, 4, "SizeOfPartitionEntry"),
        ] {
            let image = image(1, &[0; 512], &[(at, value)]);
            match Gpt::read(&image[..], DISK) {
                Err(GptError::Damaged { primary: Fault::Field { field, .. }, .. }) => {
                    assert_eq!(field, expected)
                }
                other => panic!("{expected}: {other:?}"),
            }
        }
        for geometry in [(512, 5), (256, 64), (1000, 64), (8192, 64), (512, u64::MAX)]
            .map(|(block_size, blocks)| Geometry { block_size, blocks })
        {
            let error = Gpt::read(&[0_u8; 512][..], geometry).unwrap_err();
            assert!(matches!(error, GptError::Geometry { .. }), "{error}");
        }
    }

    proptest! {
        #[test]
        fn reading_is_total_and_what_is_accepted_is_sound(
            entries in proptest::collection::vec((any::<u8>(), 0_u64..70, 0_u64..70, any::<[u8; 72]>()), 4),
            fields in proptest::collection::vec((3_usize..11, prop_oneof![0_u64..70, any::<u64>()]), 0..3),
            backup in any::<bool>(),
        ) {
            let mut bytes = Vec::new();
            for (kind, first, last, name) in entries {
                bytes.extend([kind % 2; 32]);
                bytes.extend([first, last, 0].iter().flat_map(|value| value.to_le_bytes()));
                bytes.extend(name);
            }
            let fields: Vec<_> = fields.into_iter().map(|(word, value)| (word * 8, value)).collect();
            let image = image(if backup { 63 } else { 1 }, &bytes, &fields);
            if let Ok(gpt) = Gpt::read(&image[..], DISK) {
                let layout = gpt.layout();
                prop_assert!(layout.last_usable.0 < 64);
                for partition in gpt.partitions() {
                    prop_assert!(partition.first <= partition.last);
                    prop_assert!((layout.first_usable..=layout.last_usable).contains(&partition.first));
                    prop_assert!((layout.first_usable..=layout.last_usable).contains(&partition.last));
                }
                let _planned_or_refused = gpt.commit();
            }
        }
    }
}
