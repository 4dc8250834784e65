//! Our partition tables against sfdisk and against the power switch.

mod common;

use std::{fs::OpenOptions, io::Write as _, path::Path, process::Stdio};

use common::{Scratch, power::Power, tool};
use hermetic_init::{
    disk::{
        gpt::{Copy, Geometry, Gpt, GptError, NewPartition},
        label::Label,
        types,
    },
    units::{Lba, PartitionNumber},
    writes::{Write, Writes},
};
use serde_json::Value;
use uuid::Uuid;

const MIB: u64 = 1 << 20;

/// An empty file of `size` bytes.
fn image(path: &Path, size: u64) {
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(path).unwrap();
    file.set_len(size).unwrap();
}

/// Runs sfdisk with a script. A sector size of 4096 is an argument, which sfdisk has too.
fn sfdisk(scratch: &Scratch, name: &str, block: u32, script: &str) {
    let mut child = tool("sfdisk")
        .unwrap()
        .args(["--quiet", &format!("--sector-size={block}"), &scratch.inside(name)])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

fn sfdisk_says(scratch: &Scratch, name: &str, block: u32, what: &str) -> String {
    let output = tool("sfdisk")
        .unwrap()
        .args([what, &format!("--sector-size={block}"), &scratch.inside(name)])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

fn table(scratch: &Scratch, name: &str, block: u32) -> Value {
    let text = sfdisk_says(scratch, name, block, "--json");
    serde_json::from_str::<Value>(&text).unwrap()["partitiontable"].clone()
}

fn read(path: &Path, block: u32) -> Result<Gpt, GptError> {
    let file = OpenOptions::new().read(true).open(path).unwrap();
    let blocks = file.metadata().unwrap().len() / u64::from(block);
    Gpt::read(&file, Geometry { block_size: block, blocks })
}

fn apply(path: &Path, plan: &Writes) {
    plan.apply(&OpenOptions::new().write(true).open(path).unwrap()).unwrap();
}

/// Number, first block, blocks, type, GUID, label.
type Row = (u32, u64, u64, String, String, String);

/// Everything that sfdisk says of the partitions, as we read it.
fn ours(gpt: &Gpt) -> Vec<Row> {
    let row = |p: &hermetic_init::disk::partition::Partition| {
        let upper = |guid: Uuid| guid.to_string().to_uppercase();
        (p.number.0, p.first.0, p.blocks(), upper(p.type_guid), upper(p.guid), p.label.clone())
    };
    gpt.partitions().iter().map(row).collect()
}

fn theirs(table: &Value) -> Vec<Row> {
    let row = |p: &Value| {
        let text = |key: &str| p[key].as_str().unwrap_or_default().to_owned();
        let node = text("node");
        let digits = node.rfind(|c: char| !c.is_ascii_digit()).unwrap() + 1;
        let number = node[digits..].parse().unwrap();
        (
            number,
            p["start"].as_u64().unwrap(),
            p["size"].as_u64().unwrap(),
            text("type"),
            text("uuid"),
            text("name"),
        )
    };
    table["partitions"].as_array().map(|rows| rows.iter().map(row).collect()).unwrap_or_default()
}

/// A disk with partitions 1, 3 and 7, a gap between them, an unknown type, attributes and a name that is not ASCII.
const SCRIPT: &str = "label: gpt\n\
    label-id: 11111111-2222-4333-8444-555555555555\n\
    1 : start=1MiB, size=2MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name=\"esp\"\n\
    3 : start=4MiB, size=1MiB, type=12345678-1234-1234-1234-123456789ABC, name=\"ünïcode 𝄞\", attrs=\"RequiredPartition GUID:59,63\"\n\
    7 : start=8MiB, size=3MiB, type=usr\n";

fn script() -> String {
    SCRIPT.replace("type=usr", "type=8484680C-9521-48C6-9C11-B0720656F69E")
}

fn new_root(first: u64, last: u64) -> NewPartition {
    NewPartition {
        type_guid: types::native(types::Role::Root),
        guid: Uuid::from_u128(0x5eed_0000_0000_4000_8000_0000_0000_0001),
        first: Lba(first),
        last: Lba(last),
        attributes: types::GROW_FILE_SYSTEM,
        label: "root-x86-64".into(),
    }
}

#[test]
fn tables_of_sfdisk_are_read_as_it_lists_them_and_ours_verify() {
    let Some(scratch) = Scratch::new() else { return };
    for block in [512, 4096] {
        let path = scratch.host("disk");
        image(&path, 32 * MIB);
        sfdisk(&scratch, "disk", block, &script());
        let mut gpt = read(&path, block).unwrap();
        let listed = table(&scratch, "disk", block);
        assert_eq!(ours(&gpt), theirs(&listed));
        assert_eq!(gpt.layout().first_usable.0, listed["firstlba"].as_u64().unwrap());
        assert_eq!(gpt.layout().last_usable.0, listed["lastlba"].as_u64().unwrap());
        assert_eq!(gpt.disk_guid().to_string(), "11111111-2222-4333-8444-555555555555");
        assert_eq!(gpt.partitions()[1].attributes, 1 | 1 << 59 | 1 << 63);
        assert!(gpt.backup_is_current() && gpt.primary_is_current());
        assert_eq!(gpt.source(), Copy::Primary);
        assert_eq!(gpt.repair().unwrap(), Writes::new());

        let before = theirs(&listed);
        let per_mib = MIB / u64::from(block);
        let number = gpt.add(None, new_root(12 * per_mib, 30 * per_mib - 1)).unwrap();
        assert_eq!(number, PartitionNumber(2));
        apply(&path, &gpt.commit().unwrap());
        let after = table(&scratch, "disk", block);
        let verdict = sfdisk_says(&scratch, "disk", block, "--verify");
        assert!(verdict.contains("No errors detected"), "{verdict}");
        let again = read(&path, block).unwrap();
        assert!(again.backup_is_current() && again.primary_is_current());
        assert_eq!(theirs(&after), ours(&again));
        let mut expected = before;
        expected.insert(
            1,
            (
                2,
                12 * per_mib,
                18 * per_mib,
                types::native(types::Role::Root).to_string().to_uppercase(),
                "5EED0000-0000-4000-8000-000000000001".into(),
                "root-x86-64".into(),
            ),
        );
        assert_eq!(theirs(&after), expected);
        let root = &after["partitions"][1];
        assert_eq!(root["attrs"], "GUID:59");
    }
}

#[test]
fn a_grown_disk_gets_its_backup_at_the_end_as_sfdisk_moves_it() {
    let Some(scratch) = Scratch::new() else { return };
    for block in [512, 4096] {
        let (path, other) = (scratch.host("disk"), scratch.host("other"));
        image(&path, 32 * MIB);
        sfdisk(&scratch, "disk", block, &script());
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(100 * MIB).unwrap();
        std::fs::copy(&path, &other).unwrap();
        let gpt = read(&path, block).unwrap();
        assert!(!gpt.backup_is_current() && !gpt.primary_is_current());
        assert!(gpt.free_areas(4096).iter().any(|area| area.length.0 > 80 * MIB));
        let plan = gpt.repair().unwrap();
        replay(&path, &plan, block, &[ours(&gpt)]);
        apply(&path, &plan);
        let moved = tool("sfdisk")
            .unwrap()
            .args(["--relocate", "gpt-bak-std", &format!("--sector-size={block}"), &scratch.inside("other")])
            .output()
            .unwrap();
        assert!(moved.status.success(), "{moved:?}");
        let mut relocated = table(&scratch, "other", block);
        let mut repaired = table(&scratch, "disk", block);
        for table in [&mut relocated, &mut repaired] {
            for row in table["partitions"].as_array_mut().unwrap() {
                row["node"] = row["node"].as_str().unwrap().replace("other", "disk").into();
            }
            table["device"] = "".into();
        }
        assert_eq!(repaired, relocated);
        let verdict = sfdisk_says(&scratch, "disk", block, "--verify");
        assert!(verdict.contains("No errors detected"), "{verdict}");
        assert_eq!(read(&path, block).unwrap().repair().unwrap(), Writes::new());
    }
}

#[test]
fn a_destroyed_primary_is_rebuilt_from_the_backup() {
    let Some(scratch) = Scratch::new() else { return };
    for block in [512_u32, 4096] {
        let path = scratch.host("disk");
        image(&path, 32 * MIB);
        sfdisk(&scratch, "disk", block, &script());
        let whole = std::fs::read(&path).unwrap();
        let before = table(&scratch, "disk", block);
        // The header alone, the entries alone, everything including the protective MBR.
        for (from, to) in [(block, 2 * block), (2 * block, 3 * block), (0, 6 * block.max(4096))] {
            let mut broken = whole.clone();
            broken[from as usize..to as usize].fill(0x55);
            if from == 0 {
                broken[..to as usize].fill(0);
            }
            std::fs::write(&path, &broken).unwrap();
            let gpt = read(&path, block).unwrap();
            assert_eq!(gpt.source(), Copy::Backup);
            assert!(gpt.backup_is_current() && !gpt.primary_is_current());
            assert_eq!(ours(&gpt), theirs(&before));
            replay(&path, &gpt.repair().unwrap(), block, &[theirs(&before)]);
            // Added without a repair before: still never without a valid table.
            let mut changed = gpt.clone();
            changed
                .add(None, new_root(12 * MIB / u64::from(block), 20 * MIB / u64::from(block) - 1))
                .unwrap();
            replay(&path, &changed.commit().unwrap(), block, &[ours(&gpt), ours(&changed)]);
            apply(&path, &gpt.repair().unwrap());
            assert!(std::fs::read(&path).unwrap() == whole, "repaired byte for byte");
        }
        // The backup likewise.
        let mut broken = whole.clone();
        let end = broken.len();
        broken[end - 20 * 512..].fill(0);
        std::fs::write(&path, &broken).unwrap();
        let gpt = read(&path, block).unwrap();
        assert!(!gpt.backup_is_current());
        replay(&path, &gpt.repair().unwrap(), block, &[theirs(&before)]);
        apply(&path, &gpt.repair().unwrap());
        assert!(std::fs::read(&path).unwrap() == whole);
    }
}

/// Replays a plan up to every point where the power may fail. After each, the disk has one of the `allowed` tables.
fn replay(path: &Path, plan: &Writes, block: u32, allowed: &[Vec<Row>]) {
    let start = std::fs::read(path).unwrap();
    let geometry = Geometry { block_size: block, blocks: start.len() as u64 / u64::from(block) };
    let mut power = Power::everywhere(start);
    power.carry_out(plan, 0, &mut |image, when| {
        let gpt = Gpt::read(image, geometry).unwrap_or_else(|error| panic!("{when}: {error}"));
        assert!(allowed.contains(&ours(&gpt)), "{when}: {:?}", ours(&gpt));
    });
    eprintln!("{} states of the disk", power.states);
}

#[test]
fn the_power_may_fail_at_every_sector_of_a_commit() {
    let Some(scratch) = Scratch::new() else { return };
    for (block, grown) in [(512, false), (4096, false), (512, true), (4096, true)] {
        let path = scratch.host("disk");
        image(&path, 24 * MIB);
        sfdisk(&scratch, "disk", block, &script());
        if grown {
            OpenOptions::new().write(true).open(&path).unwrap().set_len(30 * MIB).unwrap();
        }
        let old = read(&path, block).unwrap();
        let mut new = old.clone();
        let per_mib = MIB / u64::from(block);
        new.add(None, new_root(12 * per_mib, 20 * per_mib - 1)).unwrap();
        replay(&path, &new.commit().unwrap(), block, &[ours(&old), ours(&new)]);
    }
}

#[test]
fn what_is_no_usable_gpt_is_refused_by_name() {
    let Some(scratch) = Scratch::new() else { return };
    let path = scratch.host("disk");
    image(&path, 8 * MIB);
    assert_eq!(read(&path, 512).unwrap_err(), GptError::None);
    sfdisk(&scratch, "disk", 512, "label: dos\nstart=1MiB, size=1MiB\n");
    assert_eq!(read(&path, 512).unwrap_err(), GptError::Foreign(Label::Mbr));
    sfdisk(&scratch, "disk", 512, "label: gpt\nstart=1MiB, size=1MiB\n");
    assert_eq!(read(&path, 4096).unwrap_err(), GptError::Foreign(Label::Gpt { sector_size: 512 }));
    // Smaller than its table says.
    OpenOptions::new().write(true).open(&path).unwrap().set_len(4 * MIB).unwrap();
    assert!(matches!(read(&path, 512).unwrap_err(), GptError::Damaged { .. }));

    image(&path, 8 * MIB);
    sfdisk(&scratch, "disk", 512, "label: gpt\nstart=1MiB, size=1MiB\n");
    let mut gpt = read(&path, 512).unwrap();
    let taken = PartitionNumber(1);
    assert_eq!(gpt.add(Some(taken), new_root(8192, 9000)), Err(GptError::Taken { number: taken }));
    for number in [0, 129, u32::MAX] {
        let number = PartitionNumber(number);
        assert_eq!(gpt.add(Some(number), new_root(8192, 9000)), Err(GptError::Taken { number }));
    }
    assert!(matches!(gpt.add(None, new_root(4095, 9000)), Err(GptError::Overlap { .. })));
    assert!(matches!(gpt.add(None, new_root(9000, 8999)), Err(GptError::Range { .. })));
    assert!(matches!(gpt.add(None, new_root(9000, 16383)), Err(GptError::Range { .. })));
    assert!(matches!(gpt.add(None, new_root(0, 1)), Err(GptError::Range { .. })));
    let long = NewPartition { label: "𝄞".repeat(19), ..new_root(8192, 9000) };
    assert!(matches!(gpt.add(None, long), Err(GptError::Label(_))));
    let own = gpt.partitions()[0].guid;
    assert_eq!(gpt.add(None, NewPartition { guid: own, ..new_root(8192, 9000) }), Err(GptError::Guid(own)));
}

/// Flips bits and writes noise into both copies: with any result, nothing panics, and an accepted table is sound.
#[test]
fn damaged_tables_are_refused_or_sound() {
    let Some(scratch) = Scratch::new() else { return };
    let path = scratch.host("disk");
    image(&path, 3 * MIB);
    sfdisk(&scratch, "disk", 512, "label: gpt\nstart=1MiB, size=512KiB\nsize=512KiB\n");
    let whole = std::fs::read(&path).unwrap();
    let geometry = Geometry { block_size: 512, blocks: whole.len() as u64 / 512 };
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
    let mut random = 88_172_645_463_325_252_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..2000 {
        let mut image = whole.clone();
        // Fields of the header and of the first entries, with both checksums corrected, so that the checks behind them
        // are reached.
        let values = [0, 1, 2, 33, 34, 2048, 3071, 3072, 6110, 6143, u64::MAX, next(), next() & 0xffff];
        let (header, entries) = (512, 1024);
        for _ in 0..=next() % 2 {
            let value = values[next() as usize % values.len()].to_le_bytes();
            let at = match next() % 2 {
                0 => header + 24 + (next() as usize % 8) * 8,
                _ => entries + 32 + (next() as usize % 3) * 128 + (next() as usize % 2) * 8,
            };
            let width = if at == header + 80 { 4 } else { 8 };
            image[at..at + width].copy_from_slice(&value[..width]);
        }
        let entries_crc = crc.checksum(&image[entries..entries + 128 * 128]).to_le_bytes();
        image[header + 88..header + 92].copy_from_slice(&entries_crc);
        image[header + 16..header + 20].fill(0);
        let header_crc = crc.checksum(&image[header..header + 92]).to_le_bytes();
        image[header + 16..header + 20].copy_from_slice(&header_crc);
        match Gpt::read(&image[..], geometry) {
            Err(_) => refused += 1,
            Ok(gpt) => {
                accepted += 1;
                let layout = gpt.layout();
                for partition in gpt.partitions() {
                    assert!(partition.first >= layout.first_usable && partition.last <= layout.last_usable);
                    assert!(partition.first <= partition.last);
                }
                if let Ok(plan) = gpt.repair() {
                    let mut repaired = image.clone();
                    for write in &plan.0 {
                        if let Write::Data { offset, data } = write {
                            repaired[offset.0 as usize..offset.0 as usize + data.len()].copy_from_slice(data);
                        }
                    }
                    let again = Gpt::read(&repaired[..], geometry).unwrap();
                    assert_eq!(ours(&again), ours(&gpt));
                    assert_eq!(again.repair().unwrap(), Writes::new());
                }
            }
        }
    }
    eprintln!("{accepted} accepted, {refused} refused");
    assert!(accepted > 100 && refused > 100);
}

/// Header and entries of a copy, and where the entries are.
fn raw(image: &[u8], block: usize, backup: bool) -> (Vec<u8>, Vec<u8>, usize) {
    let at = if backup { image.len() - block } else { block };
    let word = |place: usize| u64::from_le_bytes(image[at + place..at + place + 8].try_into().unwrap());
    let (entries, shape) = (word(72) as usize * block, word(80));
    let length = (shape as u32 as usize) * (shape >> 32) as usize;
    (image[at..at + 92].to_vec(), image[entries..entries + length].to_vec(), entries)
}

/// Puts other entries into a copy, which may be of another size, with right checksums.
fn put_entries(image: &mut [u8], block: usize, backup: bool, entries: &[u8], size: u32) {
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
    let at = if backup { image.len() - block } else { block };
    let (_, _, place) = raw(image, block, backup);
    image[place..place + entries.len()].copy_from_slice(entries);
    let header = &mut image[at..at + 92];
    header[80..84].copy_from_slice(&(entries.len() as u32 / size).to_le_bytes());
    header[84..88].copy_from_slice(&size.to_le_bytes());
    header[88..92].copy_from_slice(&crc.checksum(entries).to_le_bytes());
    header[16..20].fill(0);
    let checksum = crc.checksum(header).to_le_bytes();
    header[16..20].copy_from_slice(&checksum);
}

#[test]
fn what_a_change_does_not_name_survives_byte_for_byte() {
    let Some(scratch) = Scratch::new() else { return };
    let path = scratch.host("disk");
    for (block, length) in [(512_u32, 128_usize), (512, 7), (512, 200), (4096, 8), (4096, 128)] {
        image(&path, 32 * MIB);
        sfdisk(
            &scratch,
            "disk",
            block,
            &script().replace("label: gpt", &format!("label: gpt\ntable-length: {length}")),
        );
        let mut start = std::fs::read(&path).unwrap();
        let size = block as usize;
        // A name that is invalid UTF-16, and bytes behind the end of another one; attribute bits that are not defined.
        for backup in [false, true] {
            let (_, mut entries, _) = raw(&start, size, backup);
            assert_eq!(entries.len(), length * 128);
            entries[2 * 128 + 56..3 * 128].fill(0xd8);
            entries[100..128].fill(0xa5);
            entries[2 * 128 + 50] = 0x5a;
            put_entries(&mut start, size, backup, &entries, 128);
        }
        std::fs::write(&path, &start).unwrap();
        let per_mib = MIB / u64::from(block);
        let [one, three, seven] = [1, 3, 7].map(PartitionNumber);
        let mut gpt = read(&path, block).unwrap();
        assert!(gpt.primary_is_current() && gpt.backup_is_current());
        gpt.grow(seven, Lba(12 * per_mib - 1)).unwrap();
        gpt.rename(one, "_reset").unwrap();
        gpt.add(None, new_root(16 * per_mib, 20 * per_mib - 1)).unwrap();
        let mut expected = raw(&start, size, false).1;
        expected[6 * 128 + 40..6 * 128 + 48].copy_from_slice(&(12 * per_mib - 1).to_le_bytes());
        expected[56..128].fill(0);
        for (to, unit) in expected[56..].chunks_exact_mut(2).zip("_reset".encode_utf16()) {
            to.copy_from_slice(&unit.to_le_bytes());
        }
        let check = |gpt: &Gpt, expected: &mut Vec<u8>| {
            apply(&path, &gpt.commit().unwrap());
            let now = std::fs::read(&path).unwrap();
            // The new partition's entry is compared with sfdisk elsewhere.
            let (_, primary, _) = raw(&now, size, false);
            expected[128..256].copy_from_slice(&primary[128..256]);
            assert!(primary == *expected && raw(&now, size, true).1 == *expected, "{block} {length}");
            assert_eq!(
                ours(&read(&path, block).unwrap()).len(),
                theirs(&table(&scratch, "disk", block)).len()
            );
            let verdict = sfdisk_says(&scratch, "disk", block, "--verify");
            assert!(verdict.contains("No errors detected"), "{verdict}");
        };
        check(&gpt, &mut expected);
        gpt.remove(one).unwrap();
        gpt.remove(PartitionNumber(2)).unwrap();
        expected[..256].fill(0);
        check(&gpt, &mut expected);
        // Nothing that cannot be done changes anything.
        assert_eq!(gpt.remove(one), Err(GptError::Missing { number: one }));
        assert_eq!(gpt.rename(one, "x"), Err(GptError::Missing { number: one }));
        assert_eq!(gpt.grow(one, Lba(1)), Err(GptError::Missing { number: one }));
        assert!(matches!(gpt.rename(three, &"x".repeat(37)), Err(GptError::Label(_))));
        assert!(matches!(gpt.grow(seven, Lba(11 * per_mib)), Err(GptError::Range { .. })), "shrinks");
        assert!(matches!(gpt.grow(three, Lba(9 * per_mib)), Err(GptError::Overlap { .. })));
        assert!(matches!(gpt.grow(seven, Lba(u64::MAX)), Err(GptError::Range { .. })));
        check(&gpt, &mut expected);
    }
}

#[test]
fn a_full_table_takes_no_more() {
    let Some(scratch) = Scratch::new() else { return };
    let path = scratch.host("disk");
    for count in [4_usize, 128] {
        image(&path, 8 * MIB);
        let rows: String =
            (0..count).map(|index| format!("start={}, size=64\n", 2048 + index * 64)).collect();
        sfdisk(&scratch, "disk", 512, &format!("label: gpt\ntable-length: {count}\n{rows}"));
        let mut gpt = read(&path, 512).unwrap();
        assert_eq!(ours(&gpt), theirs(&table(&scratch, "disk", 512)));
        let before = gpt.clone();
        let new = new_root(14000, 15000);
        assert_eq!(gpt.add(None, new.clone()), Err(GptError::Full { entries: count as u32 }));
        assert_eq!(gpt.partitions(), before.partitions());
        // One partition goes, and its entry is the free one.
        gpt.remove(PartitionNumber(count as u32 - 1)).unwrap();
        assert_eq!(gpt.add(None, new), Ok(PartitionNumber(count as u32 - 1)));
        apply(&path, &gpt.commit().unwrap());
        assert_eq!(ours(&gpt), theirs(&table(&scratch, "disk", 512)));
    }
}

/// sfdisk makes and reads entries of 128 bytes alone; the specification has larger ones, whose rest is reserved.
#[test]
fn larger_entries_keep_their_reserved_bytes() {
    let Some(scratch) = Scratch::new() else { return };
    let path = scratch.host("disk");
    for size in [256_usize, 512, 4096] {
        image(&path, 32 * MIB);
        sfdisk(&scratch, "disk", 512, &script().replace("label: gpt", "label: gpt\ntable-length: 128"));
        let mut start = std::fs::read(&path).unwrap();
        let rows = ours(&read(&path, 512).unwrap());
        // As many as fit where 128 entries of 128 bytes were; with the largest the partition with number 7 is lost.
        let count = 128 * 128 / size;
        for backup in [false, true] {
            let (_, entries, _) = raw(&start, 512, backup);
            let mut larger = Vec::new();
            for entry in entries.chunks(128).take(count) {
                larger.extend_from_slice(entry);
                larger.resize(larger.len() + size - 128, 0xee);
            }
            put_entries(&mut start, 512, backup, &larger, size as u32);
        }
        std::fs::write(&path, &start).unwrap();
        let mut gpt = read(&path, 512).unwrap();
        assert!(gpt.primary_is_current() && gpt.backup_is_current());
        assert_eq!(ours(&gpt)[..2], rows[..2]);
        let number = gpt.add(None, new_root(24576, 32767)).unwrap();
        assert_eq!(number, PartitionNumber(2));
        gpt.rename(PartitionNumber(3), "_reset").unwrap();
        apply(&path, &gpt.commit().unwrap());
        let (_, after, _) = raw(&std::fs::read(&path).unwrap(), 512, true);
        for (index, (old, new)) in raw(&start, 512, true).1.chunks(size).zip(after.chunks(size)).enumerate() {
            match index {
                1 => assert!(new[128..].iter().all(|byte| *byte == 0), "a new entry is new in all its bytes"),
                _ => assert!(old[128..] == new[128..] && old[..56] == new[..56], "entry {index}"),
            }
        }
        assert_eq!(ours(&read(&path, 512).unwrap()), ours(&gpt));
    }
}
