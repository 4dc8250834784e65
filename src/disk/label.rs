//! The label of a whole disk that has no usable GPT: another partition table, the remains of one, a file system or a volume.
//! A disk on which none of these is recognised is empty, and may get a table.
//!
//! libfdisk, by whose probe systemd-repart goes, knows the labels alone: it takes a disk for empty that holds ext4 or LUKS, or a
//! GPT without its protective MBR. Here they count as well.
//!
//! Sources: UEFI specification 2.10, chapter 5; libfdisk/src/{bsd,dos,sgi,sun}.c of util-linux for the other labels; for members of a
//! RAID linux/raid/md_p.h; for the rest the magics that blkid(8) goes by.

use core::fmt::{self, Display};
use std::prelude::v1::*;

use super::probe::{self, Format, probe};
use crate::{units::Bytes, writes::ReadAt};

/// The content of a disk without a usable GPT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Label {
    /// The header of a GPT, at the place where a disk with sectors of this size has it.
    Gpt {
        /// Bytes in a sector.
        sector_size: u32,
    },
    /// A protective MBR, and no header of a GPT.
    Protective,
    /// An old-style partition table, or at least its signature.
    Mbr,
    /// A file system or a volume, over the whole disk.
    Format(Format),
    /// Another one, as it is called in messages.
    Other(&'static str),
}

impl Display for Label {
    /// With its article, where the language wants one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gpt { sector_size } => write!(f, "a GPT for sectors of {sector_size} bytes"),
            Self::Protective => f.write_str("a protective MBR without GPT"),
            Self::Mbr => f.write_str("an MBR partition table"),
            Self::Format(format) => format.fmt(f),
            Self::Other(name) => f.write_str(name),
        }
    }
}

/// The sizes of a sector that a GPT can have.
const SECTOR_SIZES: [u32; 4] = [512, 1024, 2048, 4096];
const GPT: &[u8] = b"EFI PART";
/// The signature of an MBR, which FAT, exFAT and NTFS have as well.
const MBR: (usize, &[u8]) = (510, &[0x55, 0xaa]);
/// The first volume descriptor of ISO 9660.
const ISO: (usize, &[u8]) = (0x8001, b"CD001");
const RAID: &str = "linux_raid_member";
const RAID_MAGIC: &[u8] = &[0xfc, 0x4e, 0x2b, 0xa9];

/// The formats by their offset in the beginning of a disk, their magic, and blkid's name for them. Those before an MBR's
/// signature are recognised in spite of it.
const BEGINNINGS: [(usize, &[u8], &str); 14] = [
    (3, b"NTFS    ", "ntfs"),
    (3, b"EXFAT   ", "exfat"),
    (0, RAID_MAGIC, RAID),
    (4096, RAID_MAGIC, RAID),
    (0x8001, b"BEA01", "udf"),
    (0x8000, b"JFS1", "jfs"),
    (1024, &[0x10, 0x20, 0xf5, 0xf2], "f2fs"),
    (4096 + 24, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81", "bcache"),
    (4096 + 24, b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef", "bcachefs"),
    (512, b"PM\0\0", "an Apple partition map"),
    (0, &[0x0b, 0xe5, 0xa9, 0x41], "an SGI disk label"),
    (508, &[0xda, 0xbe], "a Sun disk label"),
    (512, &[0x57, 0x45, 0x56, 0x82], "a BSD disk label"),
    (64, &[0x57, 0x45, 0x56, 0x82], "a BSD disk label"),
];

impl Label {
    /// Looks for a label on a disk of this size; None when it is empty.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub fn look<R>(disk: &R, size: Bytes) -> Result<Option<Self>, R::Error>
    where
        R: ReadAt + ?Sized,
    {
        let length = usize::try_from(size.0).unwrap_or(usize::MAX).min(probe::LENGTH);
        let mut start = vec![0; length];
        disk.read_exact_at(Bytes(0), &mut start)?;
        let has = |at: usize, magic: &[u8]| start.get(at..).is_some_and(|rest| rest.starts_with(magic));
        let at_end = |back: u64, magic: &[u8]| {
            let mut found = [0; 8];
            match size.0.checked_sub(back) {
                Some(at) if back >= 8 => disk.read_exact_at(Bytes(at), &mut found)?,
                _ => return Ok(false),
            }
            Ok(found.starts_with(magic))
        };
        // An image for both discs and sticks has tables for sectors that a disc does not have: they are no concern there.
        if has(ISO.0, ISO.1) {
            return Ok(Some(Self::Other("iso9660")));
        }
        for sector_size in SECTOR_SIZES {
            // The backup is in the last whole sector.
            let rest = size.0 % u64::from(sector_size);
            if has(sector_size as usize, GPT) || at_end(u64::from(sector_size).saturating_add(rest), GPT)? {
                return Ok(Some(Self::Gpt { sector_size }));
            }
        }
        if has(MBR.0, MBR.1) && entry_types(&start).any(|kind| kind == PROTECTIVE) {
            return Ok(Some(Self::Protective));
        }
        // A partition table by its entries is more than what an earlier use left behind it.
        let is_boot_sector = start.starts_with(&[0xeb]) || start.starts_with(&[0xe9]);
        if has(MBR.0, MBR.1) && !is_boot_sector && entry_types(&start).any(|kind| kind != 0) {
            return Ok(Some(Self::Mbr));
        }
        if let Some(found) = probe(&start) {
            return Ok(Some(Self::Format(found.format)));
        }
        if let Some((_, _, name)) = BEGINNINGS.iter().find(|(at, magic, _)| has(*at, magic)) {
            return Ok(Some(Self::Other(name)));
        }
        // Version 0.90 is in the last whole 64 KiB but one, 1.0 at least 8 KiB before the end, on a multiple of 4 KiB.
        let old = (size.0 % (64 << 10)).saturating_add(64 << 10);
        let new = (size.0 % 4096).saturating_add(8192);
        if at_end(old, RAID_MAGIC)? || at_end(new, RAID_MAGIC)? {
            return Ok(Some(Self::Other(RAID)));
        }
        Ok(has(MBR.0, MBR.1).then_some(Self::Mbr))
    }

    /// True for the remains of a GPT, or one that the disk's sectors hide: somebody partitioned this disk.
    #[must_use]
    pub fn is_gpt(self) -> bool {
        matches!(self, Self::Gpt { .. } | Self::Protective)
    }
}

/// The type of a protective entry.
const PROTECTIVE: u8 = 0xee;

/// The types of an MBR's four entries; 0 for one that is not used.
fn entry_types(start: &[u8]) -> impl Iterator<Item = u8> {
    let entries = start.get(446..MBR.0).unwrap_or_default();
    entries.chunks_exact(16).filter_map(|entry| entry.get(4).copied())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file_system::FileSystem;
    use proptest::prelude::*;

    /// Not a multiple of anything.
    const SIZE: usize = (300 << 10) + 777;

    fn look(image: &[u8]) -> Option<Label> {
        Label::look(image, Bytes(image.len() as u64)).unwrap()
    }

    fn with(pieces: &[(usize, &[u8])]) -> Vec<u8> {
        let mut image = vec![0; SIZE];
        for (at, bytes) in pieces {
            image[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        image
    }

    #[test]
    fn a_disk_of_zeroes_is_empty_and_one_without_bytes_too() {
        assert_eq!(look(&vec![0; SIZE]), None);
        assert_eq!(look(&[]), None);
        assert_eq!(look(&[0xff; 70 << 10]), None);
    }

    #[test]
    fn every_label_is_seen_and_the_one_that_says_most_counts() {
        let mbr = (510, &[0x55, 0xaa][..]);
        let linux = (446 + 4, &[0x83][..]);
        let ext4: (usize, &[u8]) = (1080, &[0x53, 0xef]);
        let whole = SIZE - SIZE % 4096;
        for (pieces, expected) in [
            (vec![(512, GPT), (2048, GPT), mbr, ISO], Label::Other("iso9660")),
            (vec![(512, GPT)], Label::Gpt { sector_size: 512 }),
            (vec![(4096, GPT)], Label::Gpt { sector_size: 4096 }),
            (vec![(SIZE - SIZE % 512 - 512, GPT)], Label::Gpt { sector_size: 512 }),
            (vec![(whole - 4096, GPT), mbr], Label::Gpt { sector_size: 4096 }),
            (vec![(446 + 16 + 4, &[0xee]), mbr, ext4], Label::Protective),
            (vec![mbr], Label::Mbr),
            (vec![mbr, linux, ext4], Label::Mbr),
            (vec![mbr, ext4], Label::Format(Format::FileSystem(FileSystem::Ext2))),
            (
                vec![(0, &[0xeb]), linux, (82, b"FAT32   "), mbr],
                Label::Format(Format::FileSystem(FileSystem::Vfat)),
            ),
            (vec![(whole - 8192, RAID_MAGIC)], Label::Other(RAID)),
            (vec![(SIZE - SIZE % 65536 - 65536, RAID_MAGIC)], Label::Other(RAID)),
        ] {
            assert_eq!(look(&with(&pieces)), Some(expected), "{pieces:x?}");
        }
        for (at, magic, name) in BEGINNINGS {
            assert_eq!(look(&with(&[(at, magic)])), Some(Label::Other(name)));
        }
    }

    #[test]
    fn a_disk_that_cannot_be_read_is_not_empty() {
        assert!(Label::look(&[0; 4096][..], Bytes(8192)).is_err());
        assert!(Label::look(&[0; 70 << 10][..], Bytes(1 << 20)).is_err());
    }

    proptest! {
        #[test]
        fn looking_is_total(noise in proptest::collection::vec(any::<u8>(), 0..6000), length in 0..SIZE) {
            let mut image = noise;
            image.resize(length, 0);
            look(&image);
        }
    }
}
