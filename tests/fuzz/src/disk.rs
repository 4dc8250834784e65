//! Untrusted disks: partition table, superblocks, labels.

use std::cmp::Ordering;

use crc::{CRC_32_ISO_HDLC, Crc};
use hermetic_init::{
    disk::{
        filter::Filter,
        gpt::{Geometry, Gpt, NewPartition},
        label_version::{compare, names_a_slot},
        partition::Partition,
        probe::{self, probe},
        slot::{Choice, select_root, select_usr},
        transaction::{RESET, Step, Transaction},
        types::{self, Role},
    },
    units::Lba,
    verity::RootHash,
    writes::{Write, Writes},
};
use uuid::Uuid;

use crate::{
    input::{Input, text},
    medium::Medium,
};

const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
/// The largest disk here, in blocks: more than any input describes.
const BLOCKS: u64 = 1 << 16;

/// A whole disk: block size and options, size, then its content. One option corrects the checksums, without which a
/// fuzzer would never come behind them.
pub fn gpt(data: &[u8]) {
    let (disk, geometry) = disk_of(data);
    let table = match Gpt::read(&disk, geometry) {
        Ok(table) => table,
        Err(error) => return crate::one_line(&error),
    };
    sound(&table);
    let hash = "5a".repeat(32).parse::<RootHash>().unwrap();
    for choice in [Choice::Newest, Choice::Version("1"), Choice::RootHash(&hash)] {
        if let Err(error) = select_usr(table.partitions(), choice, Filter::ALL) {
            crate::one_line(&error);
        }
    }
    if let Some(root) = select_root(table.partitions(), Filter::ALL) {
        assert!(table.partitions().contains(root));
    }
    for plan in [table.repair(), table.commit()].into_iter().flatten() {
        let after = carry_out(&disk, &table, &table, &plan);
        assert_eq!(after.repair(), Ok(Writes::new()), "a repaired table needs no repair");
        assert!(after.primary_is_current() && after.backup_is_current());
    }
    if table.repair().is_err() {
        return;
    }
    give_up(&disk, &table);
    // A caller that adds a partition repairs first.
    let Some(area) = table.free_areas(4096).first().copied() else { return };
    let block = u64::from(geometry.block_size);
    let mut grown = table.clone();
    let new = NewPartition {
        type_guid: types::native(Role::Root),
        guid: Uuid::from_u128(0x1234_5678),
        first: Lba(area.offset.0 / block),
        last: Lba((area.offset.0 + area.length.0) / block - 1),
        attributes: types::GROW_FILE_SYSTEM,
        label: "root".into(),
    };
    let Ok(number) = grown.add(None, new) else { return };
    sound(&grown);
    assert!(table.partition(number).is_none() && grown.partition(number).is_some());
    let mut repaired = disk.clone();
    table.repair().unwrap().0.iter().for_each(|write| repaired.write(write));
    carry_out(&repaired, &table, &grown, &grown.commit().unwrap());
}

/// A factory reset of every second partition: at every moment the others are there, and after the last one none of the
/// reset ones.
fn give_up(disk: &Medium, table: &Gpt) {
    let numbers: Vec<_> = table.partitions().iter().step_by(2).map(|partition| partition.number).collect();
    let Transaction { steps, after } =
        Transaction::reset(table, &numbers).expect("a table that can be repaired");
    let stays = |partition: &&Partition| !numbers.contains(&partition.number);
    let staying: Vec<&Partition> = table.partitions().iter().filter(stays).collect();
    assert_eq!(after.partitions().iter().collect::<Vec<_>>(), staying);
    let mut disk = disk.clone();
    for step in &steps {
        let plan = match step {
            Step::Table(plan) => plan,
            Step::Erase(number) => {
                let marked = Gpt::read(&disk, table.geometry()).unwrap();
                assert_eq!(marked.partition(*number).unwrap().label, RESET, "erased before it was marked");
                continue;
            }
            Step::Forget(_) => panic!("a reset forgets the table"),
            Step::Fill(_) => panic!("a reset makes a partition"),
        };
        for write in &plan.0 {
            disk.write(write);
            let between = Gpt::read(&disk, table.geometry()).expect("no table at a moment of the reset");
            assert_eq!(between.partitions().iter().filter(stays).collect::<Vec<_>>(), staying);
        }
    }
    if !steps.is_empty() {
        let end = Gpt::read(&disk, table.geometry()).unwrap();
        assert_eq!(end.partitions(), after.partitions());
        assert_eq!(end.repair(), Ok(Writes::new()), "a table that was written needs no repair");
    }
}

/// The disk that an input describes.
fn disk_of(data: &[u8]) -> (Medium, Geometry) {
    let mut input = Input::new(data);
    let options = input.byte();
    let block_size = 512u32 << (options & 3);
    let blocks = u64::from(input.short()).min(BLOCKS);
    let geometry = Geometry { block_size, blocks };
    let size = blocks * u64::from(block_size);
    let mut content = input.rest().to_vec();
    content.truncate(size as usize);
    if options & 4 == 0 {
        correct(&mut content, block_size as usize, 1);
        correct(&mut content, block_size as usize, blocks.saturating_sub(1));
    }
    (Medium::new(content, size), geometry)
}

/// Puts the right checksums into the header at `lba`, if there is something like one.
fn correct(content: &mut [u8], block: usize, lba: u64) {
    let at = lba as usize * block;
    let word = |content: &[u8], place: usize| {
        content
            .get(at + place..)
            .and_then(|rest| rest.first_chunk())
            .map_or(0, |bytes| u32::from_le_bytes(*bytes)) as usize
    };
    let start = word(content, 72).saturating_mul(block);
    let length = word(content, 80).saturating_mul(word(content, 84));
    // Beyond the content the disk is zeroes.
    let mut entries = content.get(start..).unwrap_or_default().to_vec();
    entries.resize(length.min(1 << 20), 0);
    let checksum = CRC.checksum(&entries).to_le_bytes();
    let size = word(content, 12);
    let Some(header) = content.get_mut(at..).and_then(|rest| rest.get_mut(..size)) else { return };
    if header.len() < 92 {
        return;
    }
    header[88..92].copy_from_slice(&checksum);
    header[16..20].fill(0);
    let checksum = CRC.checksum(header).to_le_bytes();
    header[16..20].copy_from_slice(&checksum);
}

/// Partitions and gaps lie in the usable range and apart from each other.
fn sound(table: &Gpt) {
    let layout = table.layout();
    let block = u64::from(layout.block_size);
    let mut taken: Vec<(u64, u64)> = layout
        .partitions
        .iter()
        .map(|partition| (partition.first.0 * block, (partition.last.0 + 1) * block))
        .collect();
    for area in layout.free_areas(4096) {
        assert!(area.offset.0 % 4096 == 0 && area.length.0 % 4096 == 0 && area.length.0 > 0);
        taken.push((area.offset.0, area.offset.0 + area.length.0));
    }
    taken.sort_unstable();
    for pair in taken.windows(2) {
        assert!(pair[0].1 <= pair[1].0, "{pair:?} overlap");
    }
    for (start, end) in taken {
        assert!(
            start < end
                && start >= layout.first_usable.0 * block
                && end <= (layout.last_usable.0 + 1) * block
        );
    }
    let mut numbers: Vec<u32> = layout.partitions.iter().map(|partition| partition.number.0).collect();
    numbers.dedup();
    assert!(numbers.is_sorted() && numbers.len() == layout.partitions.len());
    assert!(numbers.iter().all(|number| (1..=layout.entries).contains(number)));
}

/// Carries `plan` out write by write: no write touches a partition, and after each one the disk has the old table or
/// the new one. Returns the table in the end.
fn carry_out(disk: &Medium, old: &Gpt, new: &Gpt, plan: &Writes) -> Gpt {
    let geometry = old.geometry();
    let same = |a: &[Partition], b: &[Partition]| a == b;
    let mut disk = disk.clone();
    for write in &plan.0 {
        if let Write::Data { offset, data } = write {
            let end = offset.0 + data.len() as u64;
            for partition in new.partitions() {
                let start = partition.offset(geometry.block_size).0;
                let behind = start + partition.length(geometry.block_size).0;
                assert!(end <= start || offset.0 >= behind, "a write into partition {}", partition.number);
            }
        }
        disk.write(write);
        let between = Gpt::read(&disk, geometry).expect("no table at a moment of the plan");
        let known = [old, new].iter().any(|table| same(table.partitions(), between.partitions()));
        assert!(known, "another table at a moment of the plan");
    }
    let after = Gpt::read(&disk, geometry).expect("no table after the plan");
    assert!(same(after.partitions(), new.partitions()) && after.disk_guid() == old.disk_guid());
    after
}

pub(crate) fn gpt_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    // Options, blocks, and how many blocks the table thinks there are.
    for (options, blocks, believed) in [(0u8, 64u64, 64u64), (3, 40, 40), (0, 128, 64), (0, 64, 64)] {
        let block = 512usize << (options & 3);
        let mut disk = vec![0; block * believed as usize];
        let mut entries = vec![0; 512];
        let ranges = [
            (types::native(Role::Usr), 8u64, 15u64, "os_1"),
            (types::native(Role::UsrVerity), 20, 23, "os_1_verity"),
        ];
        for (entry, (kind, first, last, label)) in entries.chunks_exact_mut(128).zip(ranges) {
            entry[..16].copy_from_slice(&kind.to_bytes_le());
            entry[16..32].fill(first as u8);
            entry[32..40].copy_from_slice(&first.to_le_bytes());
            entry[40..48].copy_from_slice(&last.to_le_bytes());
            for (unit, to) in label.encode_utf16().zip(entry[56..].chunks_exact_mut(2)) {
                to.copy_from_slice(&unit.to_le_bytes());
            }
        }
        for (lba, alternate, at) in [(1, believed - 1, 2), (believed - 1, 1, believed - 2)] {
            let mut header = vec![0; 92];
            header[..8].copy_from_slice(b"EFI PART");
            header[8..12].copy_from_slice(&[0, 0, 1, 0]);
            header[12..16].copy_from_slice(&92u32.to_le_bytes());
            for (place, value) in [(24, lba), (32, alternate), (40, 3), (48, believed - 3), (72, at)] {
                header[place..place + 8].copy_from_slice(&u64::to_le_bytes(value));
            }
            header[56..72].fill(0x77);
            header[80..84].copy_from_slice(&4u32.to_le_bytes());
            header[84..88].copy_from_slice(&128u32.to_le_bytes());
            disk[lba as usize * block..][..92].copy_from_slice(&header);
            disk[at as usize * block..][..512].copy_from_slice(&entries);
        }
        if seeds.len() == 3 {
            // Only the backup is left.
            disk[block..2 * block].fill(0);
        }
        seeds.push([&[options][..], &(blocks as u16).to_le_bytes(), &disk].concat());
    }
    seeds
}

/// The beginning of a device: content that stands somewhere in zeroes.
pub fn superblock(data: &[u8]) {
    let mut input = Input::new(data);
    let (at, content) = (usize::from(input.short()) * 16 % probe::LENGTH, input.rest());
    let mut start = vec![0; probe::LENGTH];
    let length = content.len().min(start.len() - at);
    start[at..at + length].copy_from_slice(&content[..length]);
    for start in [&start[..], content] {
        if let Some(found) = probe(start) {
            // A label of at most 256 bytes, each of which may have become a replacement character of three.
            assert!(found.uuid.len() <= 3 * 40 && found.label.len() <= 3 * 256);
            assert!(!found.label.contains('\0'));
            assert!(!found.format.to_string().is_empty());
        }
    }
}

pub(crate) fn superblock_seeds() -> Vec<Vec<u8>> {
    let at = |place: usize, fields: &[(usize, &[u8])]| {
        let mut content = vec![0; 512];
        for (offset, bytes) in fields {
            content[*offset..*offset + bytes.len()].copy_from_slice(bytes);
        }
        [&((place / 16) as u16).to_le_bytes()[..], &content].concat()
    };
    vec![
        at(0, &[(0, b"LUKS\xba\xbe\0\x02"), (24, b"label"), (168, b"5a1a4b84-6d5e-4b47-9b5a-0d5a1f3a7b1c")]),
        at(0, &[(0, b"LUKS\xba\xbe\0\x01"), (168, b"5a1a4b84-6d5e-4b47-9b5a-0d5a1f3a7b1c")]),
        at(0, &[(0, b"verity\0\0\x01"), (16, &[7; 16])]),
        at(0, &[(0, b"hsqs"), (28, b"\x04\0")]),
        at(0, &[(0, b"XFSB"), (32, &[7; 16]), (108, b"data")]),
        at(1024, &[(0, &0xe0f5_e1e2u32.to_le_bytes()), (48, &[7; 16]), (64, b"usr")]),
        at(1024, &[(56, b"\x53\xef"), (92, b"\x04"), (96, b"\x40"), (104, &[7; 16]), (120, b"root")]),
        at(64 << 10, &[(0x20, &[7; 16]), (0x40, b"_BHRfS_M"), (0x12b, b"pool")]),
        at(4096 - 512, &[(502, b"SWAPSPACE2")]),
        at(
            0,
            &[
                (0, b"\xeb\x58\x90mkfs.fat"),
                (11, b"\0\x02\x01\x20\0\x02"),
                (54, b"FAT16   "),
                (510, b"\x55\xaa"),
            ],
        ),
        at(
            0,
            &[
                (0, b"\xeb\x58\x90mkfs.fat"),
                (11, b"\0\x02\x01\x20\0\x02"),
                (82, b"FAT32   "),
                (510, b"\x55\xaa"),
            ],
        ),
    ]
}

/// Three labels: their order is an order.
pub fn label(data: &[u8]) {
    let [a, b, c] = Input::new(data).parts().map(text);
    for (one, other) in [(&a, &b), (&b, &c), (&a, &c)] {
        assert_eq!(compare(one, one), Ordering::Equal);
        assert_eq!(compare(one, other), compare(other, one).reverse());
        names_a_slot(one);
    }
    if compare(&a, &b).is_lt() && compare(&b, &c).is_lt() {
        assert_eq!(compare(&a, &c), Ordering::Less, "the order is not transitive");
    }
}

pub(crate) fn label_seeds() -> Vec<Vec<u8>> {
    let triples: [[&str; 3]; 4] = [
        ["os_1.0~rc1", "os_1.0", "os_1.0-1"],
        ["122.1", "123~rc1-1", "123.a^patch"],
        ["_empty", "PRT#os_2", "os_0000000000000000000000002"],
        ["a.b-c", "a^b", "ä1"],
    ];
    triples.iter().map(|triple| crate::input::join(&triple.map(str::as_bytes))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_are_disks_with_two_partitions() {
        for seed in gpt_seeds() {
            let (disk, geometry) = disk_of(&seed);
            assert_eq!(Gpt::read(&disk, geometry).unwrap().partitions().len(), 2);
        }
    }

    #[test]
    fn every_format_has_a_seed() {
        for seed in superblock_seeds() {
            let at = usize::from(u16::from_le_bytes([seed[0], seed[1]])) * 16;
            let start = [&vec![0; at], &seed[2..]].concat();
            assert!(probe(&start).is_some(), "at {at}: {:x?}", &seed[2..34]);
        }
    }
}
