//! The format on a block device, by its superblock: so that the kernel is told the file system and never tries them all
//! on media from a stranger.
//!
//! Sources: the kernel's headers and the specifications that [`crate::file_system`] names, the LUKS1 and LUKS2
//! specifications, cryptsetup's verity format.

use core::fmt;
use std::prelude::v1::*;

use uuid::Uuid;

use crate::file_system::FileSystem;

/// The length of a device's beginning that [`probe`] looks at: btrfs is the last, with its superblock at 64 KiB.
pub const LENGTH: usize = 68 << 10;

/// The formats that are distinguished.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Format {
    /// A file system, or swap space.
    FileSystem(FileSystem),
    /// A container of something else.
    Container(Container),
}

/// A format that holds a file system, or a part of one, and is none.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Container {
    /// LUKS, version 1.
    Luks1,
    /// LUKS, version 2.
    Luks2,
    /// A dm-verity hash tree with its superblock.
    Verity,
    /// A physical volume of LVM 2.
    Lvm2,
}

impl Format {
    /// LUKS, version 1.
    pub const LUKS1: Self = Self::Container(Container::Luks1);

    /// LUKS, version 2.
    pub const LUKS2: Self = Self::Container(Container::Luks2);

    /// The file system; None for a container.
    pub fn file_system(self) -> Option<FileSystem> {
        match self {
            Self::FileSystem(system) => Some(system),
            Self::Container(_) => None,
        }
    }
}

impl fmt::Display for Format {
    /// As blkid calls it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FileSystem(system) => system.name(),
            Self::Container(Container::Luks1 | Container::Luks2) => "crypto_LUKS",
            Self::Container(Container::Verity) => "DM_verity_hash",
            Self::Container(Container::Lvm2) => "LVM2_member",
        })
    }
}

/// The identity in a superblock.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Superblock {
    /// The format.
    pub format: Format,
    /// Its UUID as blkid prints it; empty when the format or this superblock has none.
    pub uuid: String,
    /// Its label; empty when the format or this superblock has none.
    pub label: String,
}

impl Superblock {
    fn of(system: FileSystem, uuid: String, label: String) -> Self {
        Self { format: Format::FileSystem(system), uuid, label }
    }

    fn container(container: Container, uuid: String, label: String) -> Self {
        Self { format: Format::Container(container), uuid, label }
    }
}

/// Looks at the first bytes of a device, [`LENGTH`] of them or fewer when it is smaller.
///
/// Containers come before what they could contain: the magic of LUKS or verity at the beginning wins over a file system
/// that an earlier use left further behind. The secondary header of a LUKS2 volume counts when there is nothing else: the primary
/// was destroyed, or what came after it has no superblock that is known here.
pub fn probe(start: &[u8]) -> Option<Superblock> {
    [luks, verity, squashfs, xfs, erofs, ext, btrfs, lvm, swap, vfat, luks_secondary]
        .iter()
        .find_map(|look| look(start))
}

fn luks(start: &[u8]) -> Option<Superblock> {
    magic(start, 0, b"LUKS\xba\xbe")?;
    let uuid = text(start, 168, 40);
    match start.get(6..8)? {
        [0, 1] => Some(Superblock::container(Container::Luks1, uuid, String::new())),
        [0, 2] => Some(Superblock::container(Container::Luks2, uuid, text(start, 24, 48))),
        _ => None,
    }
}

/// The secondary header lies behind the primary, whose length is one of nine; the first three are within [`LENGTH`].
fn luks_secondary(start: &[u8]) -> Option<Superblock> {
    [16 << 10, 32 << 10, 64 << 10].into_iter().find_map(|at: usize| {
        magic(start, at, b"SKUL\xba\xbe\0\x02")?;
        magic(start, at + 256, &(at as u64).to_be_bytes())?;
        let uuid = text(start, at + 168, 40);
        Some(Superblock::container(Container::Luks2, uuid, text(start, at + 24, 48)))
    })
}

/// The label of a physical volume is in one of the first four sectors (LVM 2, lib/format_text/layout.h).
fn lvm(start: &[u8]) -> Option<Superblock> {
    (0..4).map(|sector| sector * 512).find_map(|at| {
        magic(start, at, b"LABELONE")?;
        magic(start, at + 24, b"LVM2 001")?;
        // 32 characters in groups, as LVM prints them.
        let id = text(start, at + 32, 32);
        let mut uuid = String::new();
        for (number, character) in id.chars().enumerate() {
            if matches!(number, 6 | 10 | 14 | 18 | 22 | 26) {
                uuid.push('-');
            }
            uuid.push(character);
        }
        Some(Superblock::container(Container::Lvm2, uuid, String::new()))
    })
}

fn verity(start: &[u8]) -> Option<Superblock> {
    magic(start, 0, b"verity\0\0")?;
    (u32_at(start, 8)? == 1).then_some(())?;
    Some(Superblock::container(Container::Verity, uuid_at(start, 16)?, String::new()))
}

fn squashfs(start: &[u8]) -> Option<Superblock> {
    FileSystem::Squashfs.magic(start)?;
    // The major version; 3 and older had another layout and another magic order.
    (u16_at(start, 28)? == 4).then_some(())?;
    Some(Superblock::of(FileSystem::Squashfs, String::new(), String::new()))
}

fn xfs(start: &[u8]) -> Option<Superblock> {
    FileSystem::Xfs.magic(start)?;
    Some(Superblock::of(FileSystem::Xfs, uuid_at(start, 32)?, text(start, 108, 12)))
}

fn erofs(start: &[u8]) -> Option<Superblock> {
    let at = FileSystem::Erofs.magic(start)?;
    Some(Superblock::of(FileSystem::Erofs, uuid_at(start, at + 48)?, text(start, at + 64, 16)))
}

fn ext(start: &[u8]) -> Option<Superblock> {
    const AT: usize = 1024;
    const HAS_JOURNAL: u32 = 0x4;
    /// Without any feature beyond these it is an ext3: sparse_super, large_file, btree_dir; filetype, recover, meta_bg.
    const EXT3_RO_COMPAT: u32 = 0x7;
    const EXT3_INCOMPAT: u32 = 0x16;
    /// A device that holds only the journal of another file system.
    const JOURNAL_DEVICE: u32 = 0x8;
    FileSystem::Ext4.magic(start)?;
    let (compat, incompat, ro_compat) =
        (u32_at(start, AT + 92)?, u32_at(start, AT + 96)?, u32_at(start, AT + 100)?);
    (incompat & JOURNAL_DEVICE == 0).then_some(())?;
    let system = if ro_compat & !EXT3_RO_COMPAT != 0 || incompat & !EXT3_INCOMPAT != 0 {
        FileSystem::Ext4
    } else if compat & HAS_JOURNAL != 0 {
        FileSystem::Ext3
    } else {
        FileSystem::Ext2
    };
    Some(Superblock::of(system, uuid_at(start, AT + 104)?, text(start, AT + 120, 16)))
}

/// The length of a device's beginning that [`ext4_size`] looks at.
pub const EXT4_LENGTH: usize = 2048;

/// The size of a file system by its superblock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ext4Size {
    /// Blocks.
    pub blocks: u64,
    /// Bytes in each: a power of two from 1024 to 65536.
    pub block: u32,
}

/// The size of an ext4 by its superblock; None when there is no ext4, or one that no kernel mounts.
pub fn ext4_size(start: &[u8]) -> Option<Ext4Size> {
    const AT: usize = 1024;
    /// Block numbers have 64 bits.
    const LARGE: u32 = 0x80;
    (ext(start)?.format == Format::FileSystem(FileSystem::Ext4)).then_some(())?;
    let low = u32_at(start, AT + 4)?;
    let high = if u32_at(start, AT + 96)? & LARGE != 0 { u32_at(start, AT + 0x150)? } else { 0 };
    let block = u32_at(start, AT + 24).filter(|log| *log <= 6).map(|log| 1024 << log)?;
    Some(Ext4Size { blocks: (u64::from(high) << 32) | u64::from(low), block })
}

fn btrfs(start: &[u8]) -> Option<Superblock> {
    const AT: usize = 64 << 10;
    FileSystem::Btrfs.magic(start)?;
    Some(Superblock::of(FileSystem::Btrfs, uuid_at(start, AT + 32)?, text(start, AT + 299, 256)))
}

fn swap(start: &[u8]) -> Option<Superblock> {
    FileSystem::Swap.magic(start)?;
    Some(Superblock::of(FileSystem::Swap, uuid_at(start, 1036)?, text(start, 1052, 16)))
}

fn vfat(start: &[u8]) -> Option<Superblock> {
    magic(start, 510, &[0x55, 0xaa])?;
    // The serial number and the label come before the name of the format.
    let at = FileSystem::Vfat.magic(start)?.checked_sub(15)?;
    let serial = u32_at(start, at)?;
    let label = text(start, at + 4, 11);
    let label = match label.trim_end() {
        "NO NAME" => "",
        label => label,
    };
    let uuid = format!("{:04X}-{:04X}", serial >> 16, serial & 0xffff);
    Some(Superblock::of(FileSystem::Vfat, uuid, label.into()))
}

fn magic(start: &[u8], at: usize, expected: &[u8]) -> Option<()> {
    start.get(at..)?.starts_with(expected).then_some(())
}

fn u16_at(start: &[u8], at: usize) -> Option<u16> {
    start.get(at..)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
}

fn u32_at(start: &[u8], at: usize) -> Option<u32> {
    start.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

/// A UUID in text order; the nil UUID means none.
fn uuid_at(start: &[u8], at: usize) -> Option<String> {
    let uuid = Uuid::from_bytes(*start.get(at..)?.first_chunk()?);
    Some(if uuid.is_nil() { String::new() } else { uuid.to_string() })
}

/// A text of at most `length` bytes, ended by a zero byte; invalid UTF-8 is replaced.
fn text(start: &[u8], at: usize, length: usize) -> String {
    let field = start.get(at..).unwrap_or_default();
    let field = field.get(..length).unwrap_or(field);
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(field.get(..end).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{mkfs::ext4, units::Bytes, writes::Write};
    use proptest::prelude::*;

    #[test]
    fn nothing_is_found_in_nothing() {
        assert_eq!(probe(&[]), None);
        assert_eq!(probe(&[0; LENGTH]), None);
        assert_eq!(probe(b"LUKS\xba\xbe\0\x03"), None);
    }

    #[test]
    fn an_ext4_says_how_large_it_is() {
        let uuid = Uuid::from_u128(1);
        for (size, block_size, expected) in [
            (8 << 20, ext4::BlockSize::B4096, Ext4Size { blocks: 2048, block: 4096 }),
            (8 << 20, ext4::BlockSize::B1024, Ext4Size { blocks: 8192, block: 1024 }),
            (8 << 40, ext4::BlockSize::B4096, Ext4Size { blocks: 1 << 31, block: 4096 }),
        ] {
            let (size, journal) = (Bytes(size), ext4::Journal::Zeroed);
            let params = ext4::Params { size, uuid, label: "", hash_seed: uuid, now: 0, block_size, journal };
            let mut start = [0; EXT4_LENGTH];
            for write in ext4::plan(&params).unwrap().0 {
                if let Write::Data { offset, data } = write
                    && let Some(place) = start.get_mut(offset.0 as usize..)
                {
                    place.iter_mut().zip(&data).for_each(|(to, from)| *to = *from);
                }
            }
            assert_eq!(ext4_size(&start), Some(expected));
            start[1024 + 24] = 7;
            assert_eq!(ext4_size(&start), None);
        }
        assert_eq!(ext4_size(&[0; EXT4_LENGTH]), None);
    }

    proptest! {
        /// Each magic in turn over arbitrary bytes, cut anywhere.
        #[test]
        fn probing_is_total(
            noise in proptest::collection::vec(any::<u8>(), 0..2048),
            length in 0..LENGTH,
            magic in 0_usize..12,
        ) {
            let all: [(usize, &[u8]); 12] = [
                (0, b"LUKS\xba\xbe\0\x02"), (0, b"verity\0\0\x01\0\0\0"), (0, b"hsqs"), (0, b"XFSB"),
                (1024, &[0xe2, 0xe1, 0xf5, 0xe0]), (1080, &[0x53, 0xef]), ((64 << 10) + 64, b"_BHRfS_M"),
                (4086, b"SWAPSPACE2"), (510, &[0x55, 0xaa]), (0, b""), (512, b"LABELONE"),
                (0x4000, b"SKUL\xba\xbe\0\x02"),
            ];
            let mut image = noise;
            image.resize(LENGTH, 0);
            let (at, bytes) = all[magic];
            image[at..at + bytes.len()].copy_from_slice(bytes);
            probe(&image[..length]);
            ext4_size(&image[..length]);
        }
    }
}
