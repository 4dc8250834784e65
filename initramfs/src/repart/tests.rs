//! The power switch against everything that `hermetic repart` writes: each write is recorded as it is made, and no byte changes
//! by another way. After every prefix, with every sector torn, and with arbitrary subsets of what stood between two barriers, the
//! disk has its old table, or the new one and all that belongs to it; where a table is made instead of another, it may have none
//! that can be read.

#[path = "../../../tests/common/power.rs"]
mod power;

use std::{cell::RefCell, fs, ops::Range, path::PathBuf};

use hermetic_init::{
    disk::{
        gpt::{Geometry, NewPartition},
        partition::Partition,
        types,
    },
    fragments::Facts,
    repart::Source as Text,
    units::{Bytes, PartitionNumber},
    writes::{Write, Writes},
};
use power::Power;
use uuid::Uuid;

use super::{medium::Output, *};

const MIB: u64 = 1 << 20;
const SIZE: u64 = 128 * MIB;
const SEED: Uuid = Uuid::from_u128(0x5eed);

/// Writes down what is written.
struct Recorder<'a> {
    medium: Medium<'a>,
    writes: RefCell<Writes>,
}

impl Output for Recorder<'_> {
    fn put(&self, at: u64, data: &[u8]) -> std::io::Result<()> {
        self.writes.borrow_mut().data(Bytes(at), data.to_vec());
        self.medium.put(at, data)
    }

    fn zero(&self, at: u64, length: u64) -> std::io::Result<()> {
        self.writes.borrow_mut().zero(Bytes(at), Bytes(length));
        self.medium.zero(at, length)
    }

    fn discard(&self, at: u64, length: u64) -> std::io::Result<bool> {
        let reads_zero = self.medium.discard(at, length)?;
        if reads_zero {
            self.writes.borrow_mut().zero(Bytes(at), Bytes(length));
        }
        Ok(reads_zero)
    }

    fn barrier(&self) -> std::io::Result<()> {
        self.writes.borrow_mut().barrier();
        self.medium.barrier()
    }
}

/// A disk of a machine that was used: a swap partition at 1 MiB with room behind it, noise in what is free.
fn used(backup: bool) -> Vec<u8> {
    let geometry = Geometry { block_size: 512, blocks: SIZE / 512 };
    let mut power = Power::everywhere(vec![0; SIZE as usize]);
    power.noise(MIB as usize..(SIZE - MIB) as usize);
    let mut gpt = Gpt::create(geometry, Uuid::from_u128(9)).unwrap();
    let entry = NewPartition {
        type_guid: types::SWAP,
        guid: Uuid::from_u128(7),
        first: Lba(2048),
        last: Lba(4095),
        attributes: 0,
        label: "old".into(),
    };
    gpt.add(Some(PartitionNumber(1)), entry).unwrap();
    for write in gpt.commit().unwrap().0 {
        if let Write::Data { offset, data } = write {
            power.image[offset.0 as usize..][..data.len()].copy_from_slice(&data);
        }
    }
    if !backup {
        power.image[(SIZE - 512) as usize..].fill(0x55);
    }
    power.image
}

/// A scratch file with this content.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, content: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("hermetic-power-{}-{name}", std::process::id()));
        fs::write(&path, content).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_file(&self.0).unwrap();
    }
}

fn definitions(texts: &[&str]) -> Vec<Definition> {
    let files: Vec<_> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| Text {
            name: format!("{index}.conf"),
            text: format!("[Partition]\nAddValidateFS=no\n{text}"),
            ..Text::default()
        })
        .collect();
    Definitions::parse(&files, Reading::new(&Facts::default())).unwrap().list
}

/// The content of a disk.
#[derive(PartialEq, Eq, Debug)]
enum Found {
    Old,
    No,
    New,
}

/// A change of the disk. It returns the ranges of the new partitions.
type Change = fn(&Work<'_>, &Table, Vec<Definition>) -> Vec<Range<usize>>;

/// Has `work` change the disk, and cuts the power at every write. Returns what was found, in order, without repetitions.
fn cut(
    name: &str,
    before: Vec<u8>,
    choices: Choices,
    may_lack: bool,
    change: Change,
    texts: &[&str],
) -> Vec<Found> {
    let scratch = Scratch::new(name, &before);
    let choices =
        Choices { node: Some(scratch.0.clone()), dry_run: false, seed: args::Seed::Fixed(SEED), ..choices };
    let disk = Disk::open(&scratch.0, &choices).unwrap();
    let table = load(&disk, &choices, SEED).unwrap();
    let log = Log::from_environment();
    let recorder = Recorder { medium: Medium::new(&disk, choices.discard), writes: RefCell::default() };
    let keys = Keys::same(hermetic_init::secret::Secret::new(vec![7; 64]));
    let sources = Sources::new();
    let work = Work {
        disk: &disk,
        output: &recorder,
        choices: &choices,
        sources: &sources,
        keys: &keys,
        clock: Clock::of_machine(),
        log,
    };
    let made = change(&work, &table, definitions(texts));
    let after = fs::read(&scratch.0).unwrap();

    let geometry = disk.geometry();
    let rows = |image: &[u8]| match Gpt::read(image, geometry) {
        Ok(gpt) => Some(gpt.partitions().to_vec()),
        // Half of a table is no table.
        Err(GptError::None | GptError::Foreign(_) | GptError::Damaged { .. }) => None,
        Err(error) => panic!("{name}: {error}"),
    };
    let (old, new): (Option<Vec<Partition>>, _) = (rows(&before), rows(&after));
    assert_ne!(old, new, "{name}");
    let mut found = Vec::new();
    let mut power = Power::everywhere(before);
    power.carry_out(&recorder.writes.into_inner(), 0, &mut |image, when| {
        let now = match rows(image) {
            now if now == new => {
                for range in &made {
                    assert!(
                        image[range.clone()] == after[range.clone()],
                        "{name}: {when}: {range:?} is half-made"
                    );
                }
                Found::New
            }
            now if now == old => Found::Old,
            None if may_lack => Found::No,
            now => panic!("{name}: {when}: {now:?}"),
        };
        if found.last() != Some(&now) {
            found.push(now);
        }
    });
    assert!(power.image == after, "{name}: something was written by another way");
    found
}

/// Plans as `hermetic repart` does, carries that out, and returns where the new partitions are.
fn repartition(work: &Work<'_>, table: &Table, definitions: Vec<Definition>) -> Vec<Range<usize>> {
    let mut plan = repart::plan(&definitions, &table.gpt.layout(), SEED).unwrap();
    plan.table = table.created;
    work.carry_out(&plan, &table.gpt).unwrap();
    let range = |new: &repart::NewPartition| new.offset.0 as usize..(new.offset.0 + new.length.0) as usize;
    plan.new.iter().map(range).collect()
}

/// Carries out a factory reset.
fn reset(work: &Work<'_>, table: &Table, _: Vec<Definition>) -> Vec<Range<usize>> {
    work.remove(&table.gpt, &[PartitionNumber(1)]).unwrap();
    Vec::new()
}

const NEW: [&str; 3] = [
    "Type=swap\nSizeMinBytes=2M\nSizeMaxBytes=2M\n",
    "Type=root\nFormat=ext4\nSizeMinBytes=32M\nSizeMaxBytes=32M\n",
    "Type=home\nFormat=swap\nEncrypt=key-file\nSizeMinBytes=33M\nSizeMaxBytes=33M\n",
];

#[test]
fn new_partitions_appear_at_once_and_whole() {
    use Found::{New, No, Old};
    let choices = |empty, discard| Choices { empty, discard, ..Choices::reading("disk".as_ref()) };
    for (name, backup, empty, discard) in [
        ("good", true, Empty::Refuse, false),
        ("holes", true, Empty::Refuse, true),
        ("no-backup", false, Empty::Refuse, false),
    ] {
        let found = cut(name, used(backup), choices(empty, discard), false, repartition, &NEW);
        assert!(found.starts_with(&[Old, New]) && found.ends_with(&[New]), "{name}: {found:?}");
    }
    let found = cut("force", used(true), choices(Empty::Force, false), true, repartition, &NEW);
    assert!(found.starts_with(&[Old, No, New]) || found.starts_with(&[Old, No, Old]), "{found:?}");
    assert_eq!(found.last(), Some(&New), "{found:?}");
    let blank = vec![0; SIZE as usize];
    let found = cut("allow", blank, choices(Empty::Allow, false), true, repartition, &NEW);
    assert_eq!(found.last(), Some(&New), "{found:?}");
}

#[test]
fn a_partition_that_goes_is_there_or_is_gone() {
    for (name, backup) in [("reset", true), ("reset-no-backup", false)] {
        let choices = Choices::reading("disk".as_ref());
        let found = cut(name, used(backup), choices, false, reset, &[]);
        assert!(found.starts_with(&[Found::Old]) && found.ends_with(&[Found::New]), "{name}: {found:?}");
    }
}
