//! An empty FAT with 32 bits: what dosfstools' `mkfs.fat` 4.2 makes with the arguments of systemd (`-i ID -n LABEL -F
//! 32`) on a partition, except the boot code. These arguments never make FAT12 or FAT16, with any size.
//!
//! Format: Microsoft's "FAT: General Overview of On-Disk Format", version 1.03, cited as "FAT specification".
//!
//! The rooms: `geometry` (numbers of sectors), `time`, and here the structures.

use std::prelude::v1::*;

use super::{MkfsError, label, record::Record};
use crate::{units::Bytes, writes::Writes};

mod geometry;
mod time;

use geometry::{FATS, Geometry};

/// The cluster of the root directory: the first there is.
const ROOT: u64 = 2;
/// The sector with the number of free clusters, and the one with a copy of the boot sector.
const INFO: u64 = 1;
const BACKUP: u64 = 6;
/// Media descriptor of what cannot be taken out, also the low byte of the first entry of each FAT.
const FIXED: u8 = 0xf8;
/// The last cluster of a file.
const END_OF_FILE: u64 = 0x0fff_fff8;
/// The second entry: cleanly unmounted, no error seen.
const CLEAN: u64 = 0x0fff_ffff;
/// Attribute of the directory entry that holds the label.
const VOLUME: u8 = 8;
/// Boot code: `int 18h` tells the firmware to try the next device; `hlt` and a jump back to it should it return.
const BOOT_CODE: [u8; 5] = [0xcd, 0x18, 0xf4, 0xeb, 0xfd];

/// The parameters of a new FAT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Params<'a> {
    /// The size of the partition or mapping. A remainder that does not fill a track or a cluster stays unused.
    pub size: Bytes,
    /// The logical sector of the device, in bytes: 512, 1024, 2048 or 4096.
    pub sector_size: u32,
    /// The serial number, which blkid prints as `1234-ABCD`.
    pub serial: u32,
    /// The label: eleven characters are kept, in capitals, others than ASCII's replaced.
    pub label: &'a str,
    /// Seconds since 1970, for the label's entry. FAT knows the years 1980 to 2107; outside it is 1980.
    pub now: u64,
}

/// Plans an empty FAT. Offsets count from the start of the partition or mapping; a barrier ends the plan. Everything
/// that is not a file's content is written, so the plan is valid with any old content of the device.
///
/// # Errors
/// [`MkfsError::TooSmall`] when no cluster is left, [`MkfsError::TooLarge`] beyond 2^32 sectors or 2^28 clusters,
/// [`MkfsError::Sector`] for a sector size that FAT does not support.
pub fn plan(params: &Params) -> Result<Writes, MkfsError> {
    let geometry = Geometry::new(params.size, params.sector_size)?;
    let label = label::fat(params.label);
    let boot = boot(&geometry, params.serial, label);
    let info = info(&geometry);
    let sector = geometry.sector;
    let at = |record: &mut Record, index: u64, from: &Record| {
        record.bytes((index * sector) as usize, from.as_slice());
    };
    let mut reserved = Record::zeroed(geometry.reserved * sector);
    at(&mut reserved, 0, &boot);
    at(&mut reserved, INFO, &info);
    at(&mut reserved, BACKUP, &boot);
    at(&mut reserved, BACKUP + INFO, &info);

    let mut writes = Writes::new();
    writes.data(Bytes(0), reserved.into_bytes());
    for index in 0..FATS {
        let start = (geometry.reserved + index * geometry.fat) * sector;
        let mut head = Record::zeroed(sector);
        head.le32(0, (END_OF_FILE & !0xff) | u64::from(FIXED)).le32(4, CLEAN).le32(8, END_OF_FILE);
        writes.data(Bytes(start), head.into_bytes());
        writes.zero(Bytes(start + sector), Bytes((geometry.fat - 1) * sector));
    }
    let root = (geometry.reserved + FATS * geometry.fat) * sector;
    let mut directory = Record::zeroed(geometry.per_cluster * sector);
    if let Some(label) = label {
        let (time, date) = time::dos(params.now);
        directory.bytes(0, &label).u8(11, VOLUME);
        directory.le16(14, time).le16(16, date).le16(18, date).le16(22, time).le16(24, date);
    }
    writes.data(Bytes(root), directory.into_bytes());
    writes.barrier();
    Ok(writes)
}

/// The boot sector. FAT specification, "Boot Sector and BPB".
fn boot(geometry: &Geometry, serial: u32, label: Option<[u8; 11]>) -> Record {
    let mut boot = Record::zeroed(512);
    // A jump to the boot code. The name is mkfs.fat's: some readers look at it and know this one.
    boot.bytes(0, &[0xeb, 0x58, 0x90]).bytes(3, b"mkfs.fat");
    boot.le16(11, geometry.sector).u8(13, geometry.per_cluster as u8).le16(14, geometry.reserved);
    boot.u8(16, FATS as u8).u8(21, FIXED).le16(24, geometry.per_track).le16(26, geometry.heads);
    match geometry.sectors {
        few @ ..=0xffff => boot.le16(19, few),
        many => boot.le32(32, many),
    };
    boot.le32(36, geometry.fat).le32(44, ROOT).le16(48, INFO).le16(50, BACKUP);
    // The first hard disk of a BIOS; the identity that follows is there.
    boot.u8(64, 0x80).u8(66, 0x29).le32(67, serial.into());
    boot.bytes(71, &label::fat_field(label)).bytes(82, b"FAT32   ");
    boot.bytes(90, &BOOT_CODE).bytes(510, &[0x55, 0xaa]);
    boot
}

/// The information sector. FAT specification, "FAT32 FSInfo Sector Structure".
fn info(geometry: &Geometry) -> Record {
    let mut info = Record::zeroed(512);
    info.bytes(0, b"RRaA").bytes(0x1e4, b"rrAa");
    // All free but the root directory, and where to look for more.
    info.le32(0x1e8, geometry.clusters - 1).le32(0x1ec, ROOT).bytes(510, &[0x55, 0xaa]);
    info
}
