//! Our probing of superblocks against blkid; our order of versions against systemd's.

mod common;

use std::{
    cmp::Ordering,
    fs::{File, OpenOptions},
    os::{fd::AsFd as _, unix::fs::FileExt},
    path::Path,
    process::Command,
};

use common::{Scratch, tool};
use hermetic_init::{
    disk::{label_version, probe},
    fragments::systemd,
};

const MIB: u64 = 1 << 20;

#[test]
fn the_version_of_a_usr_is_what_its_systemd_says() {
    let scratches = [Scratch::new(), Scratch::of_sid()];
    for scratch in scratches.into_iter().flatten() {
        let said = scratch.tool("systemd-repart").arg("--version").output().unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        let version = said.strip_prefix("systemd ").unwrap().split(' ').next().unwrap().parse().ok();
        let usr = File::open(scratch.usr()).unwrap();
        assert_eq!(systemd::version(usr.as_fd()), version, "{said}");
    }
}

/// An empty file of `size` bytes.
fn image(path: &Path, size: u64) {
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(path).unwrap();
    file.set_len(size).unwrap();
}

#[test]
fn versions_are_ordered_as_systemd_orders_them() {
    let Some(_) = Scratch::new() else { return };
    let mut random = 0x1234_5678_9abc_def1_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let alphabet: Vec<char> = "0019aB~-^._+ü".chars().collect();
    let mut word = || (0..next() % 8).map(|_| alphabet[next() as usize % alphabet.len()]).collect::<String>();
    let mut pairs: Vec<(String, String)> = (0..400).map(|_| (word(), word())).collect();
    // Equal beginnings make the interesting ends.
    pairs.extend((0..200).map(|_| {
        let (common, a, b) = (word(), word(), word());
        (format!("{common}{a}"), format!("{common}{b}"))
    }));
    for (a, b) in [("os_1.10", "os_1.9"), ("os_2~rc1", "os_2"), ("os_2^1", "os_2-1"), ("os_1", "os_1_verity")]
    {
        pairs.push((a.into(), b.into()));
    }
    let mut compared = 0;
    for (a, b) in &pairs {
        // An operand that begins with a dash would be an option.
        let output =
            tool("systemd-analyze").unwrap().args(["compare-versions", "--", a, b]).output().unwrap();
        let expected = match output.status.code() {
            Some(0) => Ordering::Equal,
            Some(11) => Ordering::Greater,
            Some(12) => Ordering::Less,
            other => panic!("{a:?} {b:?}: {other:?} {output:?}"),
        };
        assert_eq!(label_version::compare(a, b), expected, "{a:?} {b:?}");
        compared += 1;
    }
    eprintln!("{compared} pairs");
}

#[test]
fn superblocks_are_recognised_as_blkid_recognises_them() {
    let Some(scratch) = Scratch::new() else { return };
    std::fs::create_dir(scratch.host("tree")).unwrap();
    std::fs::write(scratch.host("tree/file"), "content").unwrap();
    std::fs::write(scratch.host("key"), "secret").unwrap();
    let (disk, tree, key) = (scratch.inside("disk"), scratch.inside("tree"), scratch.inside("key"));
    let luks = ["luksFormat", "--batch-mode", "--pbkdf=pbkdf2", "--pbkdf-force-iterations=1000"];
    let makers: Vec<(&str, Vec<&str>, u64)> = vec![
        ("mkfs.ext2", vec!["-q", "-L", "an ext2", &disk], 16),
        ("mkfs.ext3", vec!["-q", "-L", "an ext3", &disk], 16),
        ("mkfs.ext4", vec!["-q", "-L", "sixteen letters!", &disk], 16),
        ("mkfs.btrfs", vec!["-q", "-L", "a btrfs", &disk], 128),
        ("mkfs.erofs", vec!["--quiet", "-L", "an erofs", &disk, &tree], 0),
        ("mkfs.vfat", vec!["-F", "32", "-n", "FAT 32", &disk], 64),
        ("mkfs.vfat", vec!["-F", "16", &disk], 16),
        ("mkfs.vfat", vec!["-F", "12", "-n", "TWELVE", &disk], 4),
        ("mksquashfs", vec![&tree, &disk, "-quiet", "-no-progress", "-noappend"], 0),
        ("mkswap", vec!["-q", "-L", "a swap", &disk], 16),
        ("cryptsetup", [&luks[..], &["--type=luks1", &disk, &key]].concat(), 16),
        ("cryptsetup", [&luks[..], &["--type=luks2", "--label=a luks2", &disk, &key]].concat(), 32),
        ("veritysetup", vec!["format", &key, &disk], 1),
    ];
    let root = std::env::var("HERMETIC_TOOLS").unwrap();
    let mut recognised = 0;
    for (maker, arguments, size) in makers {
        if maker == "veritysetup" {
            image(&scratch.host("key"), MIB);
        }
        let _fresh = std::fs::remove_file(scratch.host("disk"));
        if size > 0 {
            image(&scratch.host("disk"), size * MIB);
        }
        let mut command = tool(maker).unwrap();
        if maker == "mkfs.btrfs" {
            // It asks /proc whether its device is mounted.
            command = Command::new("unshare");
            command.args([
                "--mount",
                "sh",
                "-c",
                "mount -t proc proc \"$0/proc\" && exec chroot \"$0\" mkfs.btrfs \"$@\"",
                &root,
            ]);
        }
        let made = command.args(&arguments).output().unwrap();
        assert!(made.status.success(), "{maker}: {}", String::from_utf8_lossy(&made.stderr));
        let output = tool("blkid").unwrap().args(["-p", "-o", "export", &disk]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let field = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.unwrap_or_default().replace("\\ ", " ").replace("\\!", "!")
        };
        let file = OpenOptions::new().read(true).open(scratch.host("disk")).unwrap();
        let mut start = vec![0; probe::LENGTH.min(file.metadata().unwrap().len() as usize)];
        file.read_exact_at(&mut start, 0).unwrap();
        let found = probe::probe(&start).unwrap_or_else(|| panic!("{maker}: {text}"));
        assert_eq!(found.format.to_string(), field("TYPE"), "{maker}");
        assert_eq!(found.uuid, field("UUID"), "{maker}");
        assert_eq!(found.label, field("LABEL"), "{maker}");
        assert_eq!(
            found.format == probe::Format::LUKS2,
            field("TYPE") == "crypto_LUKS" && field("VERSION") == "2"
        );
        recognised += 1;
    }
    eprintln!("{recognised} superblocks");
}
