//! The power switch against everything that a boot changes on a disk: the first boot, growing, factory reset, repair.
//!
//! The steps are those that the boot carries out ([`Transaction`]), the plans those that it applies. After every prefix of
//! the writes, with every sector torn, and with arbitrary subsets of what stood between two barriers, the next boot decides
//! "start over" or "complete", never for something half-made; and no byte outside of free space and the tables changes.

mod common;

use std::{fs::OpenOptions, io::Write as _, ops::Range, process::Stdio};

use aes::{
    Aes256,
    cipher::{Array, KeyInit as _, consts::U16},
};
use common::{Scratch, power::Power, tool};
use hermetic_init::{
    disk::{
        gpt::{Geometry, Gpt, NewPartition},
        partition::Partition,
        probe::{self, Format, probe},
        transaction::{Change, RESET, Step, Transaction},
        types::{self, Role},
    },
    file_system::FileSystem as Kind,
    luks::{self, Budget, FormatParams, Header, NewKdf},
    mkfs::{btrfs, ext4},
    secret::Secret,
    units::{Bytes, Lba, PartitionNumber},
    writes::{Write, Writes},
};
use uuid::Uuid;
use xts_mode::{Xts128, get_tweak_default};

const MIB: u64 = 1 << 20;
/// 32 bytes: PBKDF2 with 1000 iterations, as a key file of full entropy gets.
const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";

/// A file system that the first boot can make. A new one needs a line in [`FILE_SYSTEMS`].
struct FileSystem {
    /// The format that the next boot must find.
    format: Format,
    /// Its plan for a device of that size, written with sectors of 4096 bytes.
    plan: fn(Bytes, Uuid) -> Writes,
    /// The least size that is tried, in bytes.
    least: u64,
}

const FILE_SYSTEMS: &[FileSystem] = &[
    FileSystem { format: Format::FileSystem(Kind::Ext4), plan: plan_ext4, least: 40 * MIB },
    FileSystem { format: Format::FileSystem(Kind::Btrfs), plan: plan_btrfs, least: 256 * MIB },
];

fn plan_btrfs(size: Bytes, uuid: Uuid) -> Writes {
    let subvolumes = [btrfs::Subvolume { path: "/var", flags: btrfs::SubvolumeFlags::default() }];
    let choices = btrfs::Choices { subvolumes: &subvolumes, ..btrfs::Choices::default() };
    let seed = Uuid::from_u128(0x5eed);
    btrfs::plan(&btrfs::Params { size, uuid, label: "root", seed, now: 1_700_000_000, choices }).unwrap()
}

fn plan_ext4(size: Bytes, uuid: Uuid) -> Writes {
    let hash_seed = Uuid::from_u128(0x5eed);
    let (block_size, journal) = (ext4::BlockSize::B4096, ext4::Journal::Fresh([0x5e; 16]));
    let now = 1_700_000_000;
    ext4::plan(&ext4::Params { size, uuid, label: "root", hash_seed, now, block_size, journal }).unwrap()
}

/// A partition that the first boot makes.
struct Wanted<'a> {
    number: PartitionNumber,
    role: Role,
    start: u64,
    length: u64,
    system: &'a FileSystem,
    encrypted: bool,
}

impl Wanted<'_> {
    fn guid(&self) -> Uuid {
        Uuid::from_u128(0x5eed_0000_0000_4000_8000_0000_0000_0000 + u128::from(self.number.0))
    }

    fn bytes(&self) -> Range<usize> {
        self.start as usize..(self.start + self.length) as usize
    }

    fn entry(&self, block: u64) -> NewPartition {
        NewPartition {
            type_guid: types::native(self.role),
            guid: self.guid(),
            first: Lba(self.start / block),
            last: Lba((self.start + self.length) / block - 1),
            attributes: types::GROW_FILE_SYSTEM,
            label: "made".into(),
        }
    }

    /// Everything that is written into the partition, in plans that each end on the medium.
    fn content(&self) -> Vec<Writes> {
        if !self.encrypted {
            return vec![(self.system.plan)(Bytes(self.length), self.guid())];
        }
        let mut state = 1u64;
        let passphrase = Secret::new(KEY.to_vec());
        let (header, key) = luks::format(FormatParams {
            uuid: self.guid(),
            label: "root",
            subsystem: "",
            sector_size: 4096,
            allow_discards: false,
            passphrase: &passphrase,
            kdf: NewKdf::for_key_file(KEY.len()),
            // Numbers that differ; nothing here depends on them being unpredictable.
            random: &mut |buffer| {
                for byte in buffer {
                    state =
                        state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    *byte = (state >> 33) as u8;
                }
            },
            device_size: Bytes(self.length),
        })
        .unwrap();
        let data = Bytes(self.length - luks::DATA_OFFSET.0);
        vec![header, through_dm_crypt(&(self.system.plan)(data, self.guid()), key.key.expose())]
    }

    /// Checks that the next boot finds a whole file system here, unlocking it if need be.
    fn whole(&self, image: &[u8]) -> Result<(), String> {
        let device = &image[self.bytes()];
        let mut start = device[..probe::LENGTH].to_vec();
        let outside = probe(&start).ok_or("nothing that we know")?;
        if self.encrypted {
            let header = Header::read(device).map_err(|error| error.to_string())?;
            let key = header
                .unlock(device, &Secret::new(KEY.to_vec()), &mut Budget::with_memory(0))
                .map_err(|error| error.to_string())?;
            start = device[luks::DATA_OFFSET.0 as usize..][..probe::LENGTH].to_vec();
            xts(key.key.expose()).decrypt_area(&mut start, 4096, 0, tweak);
        }
        let inside = probe(&start).ok_or("no file system")?;
        if outside.uuid != self.guid().to_string() || inside.uuid != self.guid().to_string() {
            return Err(format!("another one: {outside:?} {inside:?}"));
        }
        (inside.format == self.system.format).then_some(()).ok_or(format!("{inside:?}"))
    }
}

fn xts(key: &[u8]) -> Xts128<Aes256> {
    Xts128::new(Aes256::new_from_slice(&key[..32]).unwrap(), Aes256::new_from_slice(&key[32..]).unwrap())
}

/// dm-crypt counts initialisation vectors in sectors of 512 bytes, with any size of its sectors.
fn tweak(block: u128) -> Array<u8, U16> {
    get_tweak_default(block * 8)
}

/// The writes of dm-crypt for the writes to the mapped device.
fn through_dm_crypt(plan: &Writes, key: &[u8]) -> Writes {
    let xts = xts(key);
    let mut out = Writes::new();
    for write in &plan.0 {
        let (offset, mut data) = match write {
            Write::Data { offset, data } => (offset.0, data.to_vec()),
            Write::Zero { offset, length } => (offset.0, vec![0; length.0 as usize]),
            Write::Barrier => {
                out.barrier();
                continue;
            }
        };
        assert!(offset % 4096 == 0 && data.len() % 4096 == 0, "{} bytes at {offset}", data.len());
        xts.encrypt_area(&mut data, 4096, u128::from(offset / 4096), tweak);
        out.data(Bytes(luks::DATA_OFFSET.0 + offset), data);
    }
    out
}

/// The state that the next boot finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Decision {
    /// The old table: everything is made once more.
    StartOver,
    /// The new one, and everything in it is whole.
    Complete,
}

/// A disk as sfdisk makes it: /usr in partition 3, a foreign one before it, room around them.
struct Fixture {
    image: Vec<u8>,
    geometry: Geometry,
}

/// In what state the table is found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Table {
    Good,
    /// The image was written to a larger disk.
    Grown,
    NoPrimary,
    NoBackup,
    /// It is valid, and has a root where the primary has free space.
    OtherBackup,
}

const SIZE: u64 = 160 * MIB;

impl Fixture {
    fn new(scratch: &Scratch, block: u32, state: Table) -> Self {
        Self::of_size(scratch, block, state, SIZE)
    }

    fn of_size(scratch: &Scratch, block: u32, state: Table, size: u64) -> Self {
        let path = scratch.host("disk");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        file.set_len(if state == Table::Grown { size - 40 * MIB } else { size }).unwrap();
        let mut child = tool("sfdisk")
            .unwrap()
            .args(["--quiet", &format!("--sector-size={block}"), &scratch.inside("disk")])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let script = "label: gpt\n\
            1 : start=1MiB, size=1MiB, type=12345678-1234-1234-1234-123456789ABC, name=\"ünïcode\"\n\
            3 : start=2MiB, size=3MiB, type=8484680C-9521-48C6-9C11-B0720656F69E, name=\"os_1\"\n";
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
        file.set_len(size).unwrap();
        let mut image = std::fs::read(&path).unwrap();
        match state {
            Table::NoPrimary => image[block as usize..2 * block as usize].fill(0x55),
            Table::NoBackup => image[size as usize - block as usize..].fill(0x55),
            Table::OtherBackup => other_backup(&mut image, block),
            Table::Good | Table::Grown => {}
        }
        // The free space was used before: an old root, which must never be taken for the new one.
        let mut old = Power::everywhere(image);
        old.noise(8 * MIB as usize..100 * MIB as usize);
        for write in plan_ext4(Bytes(60 * MIB), Uuid::from_u128(0x01d)).0 {
            match write {
                Write::Data { offset, data } => {
                    old.image[8 * MIB as usize + offset.0 as usize..][..data.len()].copy_from_slice(&data)
                }
                Write::Zero { offset, length } => {
                    old.image[8 * MIB as usize + offset.0 as usize..][..length.0 as usize].fill(0)
                }
                Write::Barrier => {}
            }
        }
        Self { image: old.image, geometry: Geometry { block_size: block, blocks: size / u64::from(block) } }
    }

    fn gpt(&self) -> Gpt {
        Gpt::read(&self.image[..], self.geometry).unwrap()
    }

    /// Both tables with the protective MBR, as bytes.
    fn tables(&self) -> Vec<Range<usize>> {
        let (layout, block) = (self.gpt().layout(), self.geometry.block_size as usize);
        vec![
            0..layout.first_usable.0 as usize * block,
            (layout.last_usable.0 as usize + 1) * block..self.image.len(),
        ]
    }
}

/// Writes a backup that knows a root of which the primary knows nothing.
fn other_backup(image: &mut [u8], block: u32) {
    let geometry = Geometry { block_size: block, blocks: image.len() as u64 / u64::from(block) };
    let mut gpt = Gpt::read(&image[..], geometry).unwrap();
    gpt.add(None, root(&FILE_SYSTEMS[0], false).entry(u64::from(block))).unwrap();
    for write in gpt.commit().unwrap().0 {
        if let Write::Data { offset, data } = write
            && offset.0 > image.len() as u64 / 2
        {
            image[offset.0 as usize..][..data.len()].copy_from_slice(&data);
        }
    }
}

/// The rows of a table.
fn rows(image: &[u8], geometry: Geometry, when: &str) -> Vec<Partition> {
    Gpt::read(image, geometry).unwrap_or_else(|error| panic!("{when}: {error}")).partitions().to_vec()
}

/// A first boot: all wanted partitions appear at once, each of them whole.
fn first_boot(fixture: Fixture, wanted: &[Wanted<'_>]) -> usize {
    let (geometry, old) = (fixture.geometry, fixture.gpt());
    let block = u64::from(geometry.block_size);
    let entries: Vec<_> = wanted.iter().map(|wanted| (wanted.number, wanted.entry(block))).collect();
    let transaction = Transaction::make(&old, &entries, &[]).unwrap();
    let (before, after) = (old.partitions().to_vec(), transaction.after.partitions().to_vec());
    let decide = |image: &[u8], when: &str| {
        let found = rows(image, geometry, when);
        if found == before {
            return Decision::StartOver;
        }
        assert_eq!(found, after, "{when}");
        for wanted in wanted {
            wanted.whole(image).unwrap_or_else(|why| panic!("{when}: partition {} is {why}", wanted.number));
        }
        Decision::Complete
    };
    let mut writable = fixture.tables();
    writable.extend(wanted.iter().map(Wanted::bytes));
    let mut power = Power::new(fixture.image, writable);
    let mut reached = Vec::new();
    let commit = transaction.steps.len() - 1;
    for (index, step) in transaction.steps.iter().enumerate() {
        match step {
            Step::Table(plan) => power.carry_out(plan, 0, &mut |image, when| {
                let decision = decide(image, &format!("table of step {index}, {when}"));
                assert!(
                    index == commit || decision == Decision::StartOver,
                    "step {index}, {when}: {decision:?}"
                );
                reached.push(decision);
            }),
            Step::Fill(number) => {
                let new = wanted.iter().find(|wanted| wanted.number == *number).unwrap();
                let mut over = |image: &[u8], when: &str| {
                    assert_eq!(decide(image, when), Decision::StartOver, "content of {number}, {when}");
                };
                for plan in new.content() {
                    power.carry_out(&plan, new.start as usize, &mut over);
                }
                // Population is one opaque step: until its barrier the range may hold anything.
                let whole = power.image[new.bytes()].to_vec();
                power.noise(new.bytes());
                over(&power.image, "while it is populated");
                // Neither copy of the table names the range: a primary that is lost now makes nothing of it.
                let header = geometry.block_size as usize..2 * geometry.block_size as usize;
                let primary = power.image[header.clone()].to_vec();
                power.image[header.clone()].fill(0x55);
                over(&power.image, "while it is populated, with the primary lost");
                power.image[header].copy_from_slice(&primary);
                power.image[new.bytes()].copy_from_slice(&whole);
            }
            Step::Erase(_) | Step::Forget(_) => panic!("a first boot destroys: {step:?}"),
        }
    }
    // A complete state, once reached, stays: a drive that lost the last writes is not a later state.
    assert_eq!((reached.first(), reached.last()), (Some(&Decision::StartOver), Some(&Decision::Complete)));
    assert_eq!(decide(&power.image, "in the end"), Decision::Complete);
    let end = Gpt::read(&power.image[..], geometry).unwrap();
    assert_eq!(end.repair().unwrap(), Writes::new(), "the tables are in line in the end");
    power.states
}

fn root(system: &FileSystem, encrypted: bool) -> Wanted<'_> {
    // As large as what LUKS2 and the smallest file systems need.
    let (start, length) = (8 * MIB, system.least + if encrypted { 24 } else { 0 } * MIB);
    Wanted { number: PartitionNumber(2), role: Role::Root, start, length, system, encrypted }
}

#[test]
fn a_first_boot_starts_over_or_is_complete() {
    let Some(scratch) = Scratch::new() else { return };
    let mut states = 0;
    for system in FILE_SYSTEMS {
        for (block, table, encrypted) in [
            (512, Table::Good, true),
            (512, Table::Grown, false),
            (4096, Table::NoPrimary, false),
            (4096, Table::NoBackup, true),
            (512, Table::OtherBackup, false),
        ] {
            let size = SIZE - FILE_SYSTEMS[0].least + system.least;
            let fixture = Fixture::of_size(&scratch, block, table, size);
            states += first_boot(fixture, &[root(system, encrypted)]);
        }
    }
    eprintln!("{states} states of the disk");
}

#[test]
fn several_partitions_appear_together() {
    let Some(scratch) = Scratch::new() else { return };
    // The kind of the file system makes no difference here, and the first is the smallest.
    let system = &FILE_SYSTEMS[0];
    let second =
        Wanted { number: PartitionNumber(4), start: 80 * MIB, length: 40 * MIB, ..root(system, false) };
    let states = first_boot(Fixture::new(&scratch, 512, Table::Grown), &[root(system, true), second]);
    eprintln!("{states} states of the disk");
}

#[test]
fn a_partition_that_grows_has_its_old_or_its_new_length() {
    let Some(scratch) = Scratch::new() else { return };
    for (block, table) in
        [(512, Table::Good), (4096, Table::Grown), (512, Table::NoPrimary), (512, Table::NoBackup)]
    {
        let fixture = Fixture::new(&scratch, block, table);
        let (geometry, old) = (fixture.geometry, fixture.gpt());
        let last = Lba(7 * MIB / u64::from(block) - 1);
        let change = Change { number: PartitionNumber(3), last: Some(last), guid: None, label: None };
        let transaction = Transaction::make(&old, &[], &[change]).unwrap();
        let (before, after) = (old.partitions().to_vec(), transaction.after.partitions().to_vec());
        assert_eq!(after[1], Partition { last, ..before[1].clone() });
        let mut power = Power::new(fixture.image.clone(), fixture.tables());
        for step in &transaction.steps {
            let Step::Table(plan) = step else { panic!("{step:?}") };
            power.carry_out(plan, 0, &mut |image, when| {
                let found = rows(image, geometry, when);
                assert!(found == before || found == after, "{when}: {found:?}");
            });
        }
        assert_eq!(rows(&power.image, geometry, "in the end"), after);
        eprintln!("{} states of the disk", power.states);
    }
}

#[test]
fn a_repair_changes_no_partition() {
    let Some(scratch) = Scratch::new() else { return };
    for block in [512, 4096] {
        for table in [Table::Grown, Table::NoPrimary, Table::NoBackup] {
            let fixture = Fixture::new(&scratch, block, table);
            let (geometry, old) = (fixture.geometry, fixture.gpt());
            let plan = old.repair().unwrap();
            assert_ne!(plan, Writes::new());
            let mut power = Power::new(fixture.image.clone(), fixture.tables());
            power.carry_out(&plan, 0, &mut |image, when| {
                assert_eq!(rows(image, geometry, when), old.partitions(), "{when}");
            });
            let end = Gpt::read(&power.image[..], geometry).unwrap();
            assert_eq!(end.repair().unwrap(), Writes::new());
        }
    }
}

/// A machine that is in use: an encrypted root and a plain second partition, both of which a reset gives up.
fn in_use(scratch: &Scratch, block: u32, table: Table) -> (Fixture, Vec<PartitionNumber>) {
    let mut fixture = Fixture::new(scratch, block, Table::Good);
    let system = &FILE_SYSTEMS[0];
    let second =
        Wanted { number: PartitionNumber(4), start: 80 * MIB, length: 40 * MIB, ..root(system, false) };
    let wanted = [root(system, true), second];
    let entries: Vec<_> = wanted.iter().map(|w| (w.number, w.entry(u64::from(block)))).collect();
    let transaction = Transaction::make(&fixture.gpt(), &entries, &[]).unwrap();
    let mut power = Power::everywhere(fixture.image);
    for wanted in &wanted {
        wanted.content().iter().for_each(|plan| apply(&mut power.image, plan, wanted.start as usize));
    }
    for step in &transaction.steps {
        if let Step::Table(plan) = step {
            apply(&mut power.image, plan, 0);
        }
    }
    fixture.image = power.image;
    let block = block as usize;
    match table {
        Table::NoPrimary => fixture.image[block..2 * block].fill(0x55),
        Table::NoBackup => fixture.image[SIZE as usize - block..].fill(0x55),
        Table::Good | Table::Grown | Table::OtherBackup => {}
    }
    (fixture, wanted.iter().map(|wanted| wanted.number).collect())
}

fn apply(image: &mut [u8], plan: &Writes, base: usize) {
    for write in &plan.0 {
        match write {
            Write::Data { offset, data } => {
                image[base + offset.0 as usize..][..data.len()].copy_from_slice(data)
            }
            Write::Zero { offset, length } => image[base + offset.0 as usize..][..length.0 as usize].fill(0),
            Write::Barrier => {}
        }
    }
}

/// The work of a boot without any request: it finishes what was begun.
fn finish(image: &[u8], geometry: Geometry) -> Vec<u8> {
    let gpt = Gpt::read(image, geometry).unwrap();
    let begun: Vec<_> = gpt.partitions().iter().filter(|p| p.label == RESET).map(|p| p.number).collect();
    let mut image = image.to_vec();
    for step in Transaction::reset(&gpt, &begun).unwrap().steps {
        match step {
            Step::Table(plan) => apply(&mut image, &plan, 0),
            Step::Erase(number) => {
                let (at, length) = range(&gpt, number);
                let plan = luks::erase(&image[at..at + length], Bytes(length as u64));
                apply(&mut image, &plan, at);
            }
            Step::Fill(_) | Step::Forget(_) => panic!("a reset makes something"),
        }
    }
    image
}

fn range(gpt: &Gpt, number: PartitionNumber) -> (usize, usize) {
    let (partition, block) = (gpt.partition(number).unwrap(), gpt.geometry().block_size);
    (partition.offset(block).0 as usize, partition.length(block).0 as usize)
}

#[test]
fn a_factory_reset_has_not_begun_or_is_finished_by_the_next_boot() {
    let Some(scratch) = Scratch::new() else { return };
    for (block, table) in [(512, Table::Good), (4096, Table::NoPrimary), (512, Table::NoBackup)] {
        let (fixture, numbers) = in_use(&scratch, block, table);
        let (geometry, old) = (fixture.geometry, fixture.gpt());
        let encrypted = root(&FILE_SYSTEMS[0], true);
        let transaction = Transaction::reset(&old, &numbers).unwrap();
        let before = old.partitions().to_vec();
        let after = transaction.after.partitions().to_vec();
        assert_eq!(after.len() + 2, before.len());
        let mut writable = fixture.tables();
        writable.extend(numbers.iter().map(|number| {
            let (at, length) = range(&old, *number);
            at..at + length
        }));
        let mut power = Power::new(fixture.image, writable);
        let mut finished = 0;
        let mut check = |image: &[u8], when: &str| {
            let found = rows(image, geometry, when);
            if found == before {
                // Not begun: a root that is still named as one still opens.
                return encrypted.whole(image).unwrap_or_else(|why| panic!("{when}: the root is {why}"));
            }
            if found == after {
                assert!(encrypted.whole(image).is_err(), "{when}: the root was not erased");
                return;
            }
            let begun = found.iter().filter(|partition| partition.label == RESET).count();
            assert_eq!(begun, 2, "{when}: {found:?}");
            // Every way through the rest is the same; a few of them are walked to the end.
            finished += 1;
            if finished % 200 == 1 {
                let end = finish(image, geometry);
                assert_eq!(rows(&end, geometry, when), after, "{when}");
                assert!(encrypted.whole(&end).is_err(), "{when}: the root was not erased");
            }
        };
        for step in &transaction.steps {
            match step {
                Step::Table(plan) => power.carry_out(plan, 0, &mut check),
                Step::Erase(number) => {
                    let (at, length) = range(&old, *number);
                    let plan = luks::erase(&power.image[at..at + length], Bytes(length as u64));
                    power.carry_out(&plan, at, &mut check);
                    // The data that the drive returns after the discard that follows.
                    power.noise(at..at + length);
                    check(&power.image, "after the discard");
                }
                Step::Fill(_) | Step::Forget(_) => panic!("a reset makes something: {step:?}"),
            }
        }
        assert!(finished > 1000, "{finished}");
        assert_eq!(rows(&power.image, geometry, "in the end"), after);
        eprintln!("{} states of the disk, {finished} of them in the midst of it", power.states);
    }
}

/// The premise: a boot that did it in another order is caught.
#[test]
fn a_table_that_comes_before_the_content_is_caught() {
    let Some(scratch) = Scratch::new() else { return };
    let system = &FILE_SYSTEMS[0];
    let fixture = Fixture::new(&scratch, 512, Table::Good);
    let (geometry, old, new) = (fixture.geometry, fixture.gpt(), root(system, false));
    let Transaction { mut steps, after } =
        Transaction::make(&old, &[(new.number, new.entry(512))], &[]).unwrap();
    steps.reverse();
    let [Step::Table(commit), Step::Fill(_)] = &steps[..] else { panic!("{steps:?}") };
    let mut power = Power::everywhere(fixture.image);
    let mut half_made = 0;
    power.carry_out(commit, 0, &mut |image, when| {
        let committed = rows(image, geometry, when) == after.partitions();
        half_made += usize::from(committed && new.whole(image).is_err());
    });
    assert!(half_made > 10, "{half_made} of {} states", power.states);
}
