//! File systems of any size.

use hermetic_init::{
    disk::probe::{self, Format, probe},
    file_system::FileSystem,
    mkfs::{
        Params as Common,
        btrfs::{self, Choices, Profile, Subvolume, SubvolumeFlags},
        ext4::{BlockSize, Journal, Params, plan},
    },
    units::Bytes,
    writes::Write,
};
use uuid::Uuid;

use crate::input::Input;

/// Size, block size, time, UUIDs, label.
pub fn ext4(data: &[u8]) {
    let mut input = Input::new(data);
    let options = input.byte();
    let block_size = if options & 1 == 0 { BlockSize::B4096 } else { BlockSize::B1024 };
    // Small ones often, large ones sometimes: up to 2^45 bytes, beyond what is possible.
    let size = input.long() >> (19 + options / 2 % 32);
    let (now, uuid) = (input.long(), Uuid::from_u128(u128::from(input.long())));
    let label = input.text();
    let journal = if options & 0x40 == 0 { Journal::Zeroed } else { Journal::Fresh([options; 16]) };
    let hash_seed = Uuid::from_u128(5);
    let params = Params { size: Bytes(size), uuid, label: &label, hash_seed, now, block_size, journal };
    let plan = match plan(&params) {
        Ok(plan) => plan,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let mut start = vec![0; probe::LENGTH];
    let mut written: Vec<(u64, u64)> = Vec::new();
    // The first write wipes the superblocks of other formats at the end; all that follow are apart from each other.
    for (index, write) in plan.0.iter().enumerate() {
        let (offset, length) = match write {
            Write::Data { offset, data } => {
                if let Some(place) = start.get_mut(offset.0 as usize..) {
                    place.iter_mut().zip(data).for_each(|(to, from)| *to = *from);
                }
                (offset.0, data.len() as u64)
            }
            Write::Zero { offset, length } => (offset.0, length.0),
            Write::Barrier => continue,
        };
        assert!(
            length > 0 && offset.checked_add(length).is_some_and(|end| end <= size),
            "write {index} leaves the device"
        );
        if index > 0 {
            written.push((offset, offset + length));
        }
    }
    assert!(written.windows(2).all(|pair| pair[0].1 <= pair[1].0), "writes overlap or go back");
    let found = probe(&start).expect("no superblock");
    assert_eq!(found.format, Format::FileSystem(FileSystem::Ext4));
    assert!(label.starts_with(&found.label) || label.contains('\0'));
}

pub(crate) fn ext4_seeds() -> Vec<Vec<u8>> {
    let seed = |options: u8, size: u64| {
        let shift = 19 + u32::from(options) / 2 % 32;
        let now = 1_700_000_000u64.to_le_bytes();
        [&[options][..], &(size << shift).to_le_bytes(), &now, &[7; 8], "a label with ä too long".as_bytes()]
            .concat()
    };
    vec![
        seed(0, 1 << 40),
        seed(60, 8 << 20),
        seed(61, 2 << 20),
        seed(40, (1 << 30) + 4096 * 33),
        seed(41, 300 << 20),
        seed(30, 129 << 30),
        seed(21, 9 << 30),
    ]
}

/// btrfs: options, size, time, UUID, then the label and the paths of subvolumes, one a line; a blank first makes one
/// read-only, the first is the default when an option says so.
pub fn btrfs(data: &[u8]) {
    let mut input = Input::new(data);
    let options = input.byte();
    let size = input.long() >> (options / 4 % 36);
    let (now, uuid) = (input.long(), Uuid::from_u128(u128::from(input.long())));
    let text = input.text();
    let mut lines = text.lines();
    let label = lines.next().unwrap_or_default();
    let subvolumes: Vec<Subvolume> = lines
                .map(|line| {
            let path = line.trim_start_matches(' ');
            let flags = SubvolumeFlags { read_only: path.len() < line.len(), no_cow: line.starts_with("  ") };
            Subvolume { path, flags }
        })
        .collect();
    let choices = Choices {
        metadata: if options & 1 == 0 { Profile::Dup } else { Profile::Single },
        subvolumes: &subvolumes,
        default_subvolume: subvolumes.first().filter(|_| options & 2 != 0).map(|first| first.path),
    };
    let seed = Uuid::from_u128(5);
    let params = btrfs::Params { size: Bytes(size), uuid, label, seed, now, choices };
    let plan = match btrfs::plan(&params) {
        Ok(plan) => plan,
        Err(error) => return crate::one_line(&error),
    };
    let mut start = vec![0xff; probe::LENGTH];
    let mut written: Vec<(u64, u64)> = Vec::new();
    for (index, write) in plan.0.iter().enumerate() {
        let (offset, data) = match write {
            Write::Data { offset, data } => (offset.0, data.to_vec()),
            Write::Zero { offset, length } => (offset.0, vec![0; length.0 as usize]),
            Write::Barrier => continue,
        };
        let end = offset.checked_add(data.len() as u64).expect("a write has an end");
        assert!(end <= size, "write {index} leaves the device");
        if let Some(place) = start.get_mut(offset as usize..) {
            place.iter_mut().zip(&data).for_each(|(to, from)| *to = *from);
        }
        // The first two wipe the ends of the device; all that follow are apart from each other.
        if index > 1 {
            assert!(written.iter().all(|&(from, to)| end <= from || to <= offset), "write {index} overlaps");
            written.push((offset, end));
        }
    }
    let found = probe(&start).expect("no superblock");
    assert_eq!(found.format, Format::FileSystem(FileSystem::Btrfs));
    assert!(label.starts_with(&found.label) || label.contains('\0'));
}

pub(crate) fn btrfs_seeds() -> Vec<Vec<u8>> {
    let seed = |options: u8, size: u64, text: &str| {
        let now = 1_700_000_000u64.to_le_bytes();
        let size = size << (options / 4 % 36);
        [&[options][..], &size.to_le_bytes(), &now, &[7; 8], text.as_bytes()].concat()
    };
    vec![
        seed(0, 256 << 20, "root"),
        seed(1, 300 << 20, "root\n/var\n /usr/local"),
        seed(2, 1 << 40, "\n/a/b/c\n/a/b\n/a/./d"),
        seed(3, 8 << 40, "a label with ä\n/var"),
        seed(4, (60 << 30) + 12345, "x\n/../y\nz\n/a\n/a"),
    ]
}

/// FAT: sector, size, time, serial number, label.
pub fn vfat(data: &[u8]) {
    by_name(FileSystem::Vfat, data);
}

/// Swap space: size of a page, size, UUID, label.
pub fn swap(data: &[u8]) {
    by_name(FileSystem::Swap, data);
}

/// Takes the parameters that all share: no write leaves the device or overlaps a later one, the last step is a barrier,
/// and the result is recognised.
fn by_name(system: FileSystem, data: &[u8]) {
    let mut input = Input::new(data);
    let options = input.byte();
    let size = input.long() >> (options / 4 % 44);
    let (now, uuid) = (input.long(), Uuid::from_u128(u128::from(input.long()) << 64 | 1));
    let label = input.text();
    let unit = 512u32 << (options & 3);
    let params = Common {
        size: Bytes(size),
        sector_size: unit,
        page_size: [4096, 16384, 65536, 4096][usize::from(options & 3)],
        uuid,
        label: &label,
        random: [5; 16],
        is_unique: size & 1 == 0,
        now,
    };
    let plan = match system.plan(&params) {
        Ok(plan) => plan,
        Err(error) => return crate::one_line(&error),
    };
    assert_eq!(plan.0.last(), Some(&Write::Barrier), "a plan ends with a barrier");
    let mut start = vec![0xff; probe::LENGTH];
    for (index, write) in plan.0.iter().enumerate() {
        let (offset, length) = match write {
            Write::Data { offset, data } => (offset.0, data.len() as u64),
            Write::Zero { offset, length } => (offset.0, length.0),
            Write::Barrier => continue,
        };
        let end = offset.checked_add(length).expect("a write has an end");
        assert!(length > 0 && end <= size, "write {index} leaves the device");
        let Some(place) = start.get_mut(offset as usize..) else { continue };
        match write {
            Write::Data { data, .. } => place.iter_mut().zip(data).for_each(|(to, from)| *to = *from),
            _ => place.iter_mut().take(length as usize).for_each(|to| *to = 0),
        }
    }
    let found = probe(&start).expect("no superblock");
    assert_eq!(found.format.to_string(), system.name());
}

pub(crate) fn vfat_seeds() -> Vec<Vec<u8>> {
    let sizes = [34 << 20, 64 << 20, 100 << 20, 512 << 20, (8 << 30) + 12345, 2 << 40];
    let sectors = [0, 3, 0, 3, 0, 3];
    sizes.iter().zip(sectors).map(|(&size, sector)| common_seed(sector, size, "Efi System ä")).collect()
}

pub(crate) fn swap_seeds() -> Vec<Vec<u8>> {
    let sizes = [40 << 10, 1 << 20, (300 << 20) + 77, 16 << 40];
    sizes.iter().map(|&size| common_seed(0, size, "swap space with a label too long")).collect()
}

fn common_seed(options: u8, size: u64, label: &str) -> Vec<u8> {
    let now = 1_700_000_000u64.to_le_bytes();
    [&[options][..], &size.to_le_bytes(), &now, &[7; 8], label.as_bytes()].concat()
}
