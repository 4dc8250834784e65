//! Our plans against systemd-repart 262: the same definitions, the same disk, the same seed, the same table.

mod common;

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    os::{
        fd::AsFd,
        unix::fs::{FileExt, PermissionsExt},
    },
    process::{Command, Stdio},
};

use common::Scratch;
use hermetic_init::{
    disk::{
        gpt::{Geometry, Gpt},
        probe,
    },
    fragments::Facts,
    repart::{Definitions, Encrypt, Plan, Reading, RepartError, Search, plan},
};
use serde_json::Value;
use uuid::Uuid;

const MIB: u64 = 1 << 20;

/// systemd-repart re-opens its files through /proc, which the tool root does not have: it gets its own one.
fn repart(scratch: &Scratch) -> Command {
    let mut command = scratch.tool_with_proc("systemd-repart");
    command.args(["--offline=yes", "--empty=refuse", "--json=short"]);
    command
}

/// A small generator: the cases are the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// A disk with foreign partitions, some of them beginning and ending off the grain, in some order of numbers.
fn partition(random: &mut Random, scratch: &Scratch, block: u32) {
    let size = 48 + random.below(300);
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(scratch.host("disk")).unwrap();
    file.set_len(size * MIB).unwrap();
    let blocks = size * MIB / u64::from(block);
    let mut script = String::from("label: gpt\n");
    let first = match random.below(3) {
        0 => 34.max(2048 * 512 / u64::from(block)),
        1 => 34,
        _ => 35 + random.below(30),
    };
    script += &format!("first-lba: {first}\n");
    let unit = if random.below(2) == 0 { MIB / u64::from(block) } else { 1 };
    let (mut at, mut rows) = (first, Vec::new());
    for _ in 0..random.below(5) {
        let gap = random.below(90) * MIB / u64::from(block) / random.pick(&[1, 1, 2, 8]);
        let start = (at + gap).next_multiple_of(unit);
        let length = (1 + random.below(20 * MIB / u64::from(block))).next_multiple_of(unit);
        if start + length + 2 * 34 * 512 >= blocks {
            break;
        }
        rows.push((start, length));
        at = start + length;
    }
    let mut number = 0;
    while !rows.is_empty() {
        let (start, length) = rows.remove(random.below(rows.len() as u64) as usize);
        number += 1 + random.below(2) * random.below(3);
        let kind = random.pick(&[
            "0FC63DAF-8483-4772-8E79-3D69D8477DE4",
            "8484680C-9521-48C6-9C11-B0720656F69E",
            "12345678-1234-1234-1234-123456789ABC",
        ]);
        let name = random.pick(&["", "usr", "root-x86-64", "data"]);
        script += &format!("{number} : start={start}, size={length}, type={kind}, name=\"{name}\"\n");
    }
    let mut child = scratch
        .tool("sfdisk")
        .args(["--quiet", &format!("--sector-size={block}"), &scratch.inside("disk")])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{script}");
    if random.below(4) == 0 {
        file.set_len((size + random.below(200)) * MIB + random.below(8) * 4096).unwrap();
    }
}

/// One or two definitions below the scratch directory's `usr/lib/repart.d`.
fn define(random: &mut Random, scratch: &Scratch, encrypt: bool) {
    let directory = scratch.host("usr/lib/repart.d");
    let _fresh = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).unwrap();
    for index in 0..random.pick(&[1, 1, 1, 2, 3]) {
        let mut text = String::from("[Partition]\nType=root\nFormat=ext4\n");
        let min = random.below(120) * MIB + random.below(3) * 1000;
        if random.below(3) == 0 {
            text += &format!("SizeMinBytes={min}\n");
        }
        if random.below(3) == 0 {
            text += &format!("SizeMaxBytes={}\n", min + random.below(100) * MIB + random.below(9000));
        }
        if random.below(3) == 0 {
            text += &format!("Weight={}\n", random.pick(&[0, 1, 333, 1000, 5000, 1_000_000]));
        }
        if random.below(4) == 0 {
            text += &format!("Label={}\n", random.pick(&["root", "mein Wurzelwerk", "100%%"]));
        }
        if encrypt {
            text += random.pick(&["Encrypt=key-file\n", "Encrypt=yes\n"]);
        }
        std::fs::write(directory.join(format!("{index}0-root.conf")), text).unwrap();
    }
}

fn ours(scratch: &Scratch, block: u32, seed: Uuid) -> (Gpt, Result<Plan, RepartError>) {
    let root = File::open(scratch.host("")).unwrap();
    let facts = Facts::default();
    let definitions = Definitions::read(root.as_fd(), &Search::standard(), Reading::new(&facts)).unwrap();
    assert_eq!(definitions.warnings, []);
    let disk = File::open(scratch.host("disk")).unwrap();
    let blocks = disk.metadata().unwrap().len() / u64::from(block);
    let gpt = Gpt::read(&disk, Geometry { block_size: block, blocks }).unwrap();
    let plan = plan(&definitions.list, &gpt.layout(), seed);
    (gpt, plan)
}

fn table(scratch: &Scratch, name: &str, block: u32) -> Value {
    let mut sfdisk = scratch.tool("sfdisk");
    let output =
        sfdisk.args(["--json", &format!("--sector-size={block}"), &scratch.inside(name)]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap().replace(&scratch.inside(name), "DISK");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn tables_are_those_of_systemd_repart() {
    let Some(scratch) = Scratch::of_sid() else { return };
    let mut random = Random(0x00c0_ffee_1234_5678);
    let (mut equal, mut refused, mut encrypted) = (0, 0, 0);
    std::fs::write(scratch.host("key"), [7; 64]).unwrap();
    std::fs::set_permissions(scratch.host("key"), std::fs::Permissions::from_mode(0o600)).unwrap();
    for case in 0..160 {
        let block = random.pick(&[512, 512, 4096]);
        let encrypt = case % 4 == 3;
        partition(&mut random, &scratch, block);
        define(&mut random, &scratch, encrypt);
        let seed = Uuid::from_u128(u128::from(random.next()) << 64 | u128::from(random.next()) | 1);
        let (mut gpt, plan) = ours(&scratch, block, seed);
        if encrypt {
            // Without writing, systemd-repart does not see the space of a disk that grew.
            let file = OpenOptions::new().write(true).open(scratch.host("disk")).unwrap();
            gpt.repair().unwrap().apply(&file).unwrap();
        }
        // Sparse, or most of the time would go into copying zeroes.
        let copied = Command::new("cp")
            .args([
                "--sparse=always".as_ref(),
                scratch.host("disk").as_os_str(),
                scratch.host("theirs").as_os_str(),
            ])
            .status();
        assert!(copied.unwrap().success());

        let mut theirs = repart(&scratch);
        theirs.args([
            format!("--dry-run={}", if encrypt { "yes" } else { "no" }),
            format!("--seed={seed}"),
            format!("--sector-size={block}"),
            format!("--definitions={}", scratch.inside("usr/lib/repart.d")),
            format!("--key-file={}", scratch.inside("key")),
            scratch.inside("theirs"),
        ]);
        let output = theirs.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let context = format!("case {case}, {block}: {said}");
        let plan = match plan {
            Err(error) => {
                assert!(matches!(error, RepartError::NoSpace { .. }), "{error}: {context}");
                assert!(!output.status.success() && said.contains("fit"), "{error}: {context}");
                refused += 1;
                continue;
            }
            Ok(plan) => plan,
        };
        assert!(output.status.success(), "{plan:?} {context}");
        assert_eq!(plan.adopted, []);
        if encrypt {
            let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
            let listed = listed.as_array().unwrap().iter().filter(|row| row["activity"] == "create");
            let mut listed: Vec<_> = listed
                .map(|row| {
                    let number = |key: &str| row[key].as_u64().unwrap();
                    let text = |key: &str| row[key].as_str().unwrap().to_owned();
                    (number("offset"), number("raw_size"), text("uuid"), text("label"))
                })
                .collect();
            let mut planned: Vec<_> = plan
                .new
                .iter()
                .map(|new| (new.offset.0, new.length.0, new.guid.to_string(), new.label.clone()))
                .collect();
            // Ours are in the order of the definitions, theirs in that of the table.
            for places in [&mut planned, &mut listed] {
                places.sort_unstable();
            }
            assert_eq!(planned, listed, "{context}");
            encrypted += 1;
            continue;
        }
        for new in &plan.new {
            gpt.add(Some(new.number), new.entry()).unwrap();
        }
        let file = OpenOptions::new().write(true).open(scratch.host("disk")).unwrap();
        gpt.commit().unwrap().apply(&file).unwrap();
        assert_eq!(table(&scratch, "disk", block), table(&scratch, "theirs", block), "{context}");
        let verified = scratch
            .tool("sfdisk")
            .args(["--verify", &format!("--sector-size={block}"), &scratch.inside("disk")])
            .output()
            .unwrap();
        let verdict = String::from_utf8_lossy(&verified.stdout);
        assert!(verified.status.success() && verdict.contains("No errors detected"), "{verified:?}");
        assert_eq!(String::from_utf8_lossy(&verified.stderr), "", "{context}");

        // Their file systems have the UUIDs that we would give ours.
        let made = File::open(scratch.host("theirs")).unwrap();
        for new in &plan.new {
            let mut start = vec![0; probe::LENGTH];
            made.read_exact_at(&mut start, new.offset.0).unwrap();
            assert_eq!(probe::probe(&start).unwrap().uuid, new.fs_uuid.to_string());
        }
        // Partitions of theirs are adopted. When the order on the disk is not that of the definitions, a definition may
        // match a partition that is smaller than it allows: systemd-repart refuses that as well.
        std::fs::rename(scratch.host("theirs"), scratch.host("disk")).unwrap();
        let (_, again) = ours(&scratch, block, seed);
        let again = match again {
            Ok(again) => again,
            Err(error) => {
                let mut theirs = repart(&scratch);
                theirs.args([
                    "--dry-run=yes".into(),
                    format!("--seed={seed}"),
                    format!("--sector-size={block}"),
                    format!("--definitions={}", scratch.inside("usr/lib/repart.d")),
                    scratch.inside("disk"),
                ]);
                let output = theirs.output().unwrap();
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(!output.status.success() && said.contains("fit"), "{error}: {context}: {said}");
                equal += 1;
                continue;
            }
        };
        assert_eq!(again.new, []);
        assert_eq!(again.adopted.len(), plan.new.len());
        equal += 1;
    }
    eprintln!("{equal} equal tables, {encrypted} equal plans with encryption, {refused} equal refusals");
    assert!(equal >= 60 && refused >= 10 && encrypted >= 20);
}

#[test]
fn an_encrypted_partition_has_the_uuid_that_we_plan() {
    let Some(scratch) = Scratch::of_sid() else { return };
    let mut random = Random(5);
    partition(&mut random, &scratch, 512);
    OpenOptions::new().write(true).open(scratch.host("disk")).unwrap().set_len(600 * MIB).unwrap();
    std::fs::create_dir_all(scratch.host("usr/lib/repart.d")).unwrap();
    std::fs::write(
        scratch.host("usr/lib/repart.d/50-root.conf"),
        "[Partition]\nType=root\nEncrypt=key-file\nSizeMaxBytes=64M\n",
    )
    .unwrap();
    std::fs::write(scratch.host("key"), [7; 64]).unwrap();
    std::fs::set_permissions(scratch.host("key"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let seed = Uuid::from_u128(0xabcd);
    let (_, plan) = ours(&scratch, 512, seed);
    let new = plan.unwrap().new.remove(0);
    assert_eq!(new.definition.encrypt, Encrypt::KeyFile);
    let output = repart(&scratch)
        .args([
            "--dry-run=no".into(),
            format!("--seed={seed}"),
            format!("--definitions={}", scratch.inside("usr/lib/repart.d")),
            format!("--key-file={}", scratch.inside("key")),
            scratch.inside("disk"),
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut start = vec![0; probe::LENGTH];
    File::open(scratch.host("disk")).unwrap().read_exact_at(&mut start, new.offset.0).unwrap();
    let found = probe::probe(&start).unwrap();
    assert_eq!(found.format, probe::Format::LUKS2);
    assert_eq!(found.uuid, new.luks_uuid.to_string());
    assert_eq!(found.label, new.volume_label());
}
