//! `SOURCE_DATE_EPOCH`: two runs of `hermetic repart` and `hermetic mkfs` give the same bytes, and what repart makes on the way of
//! copies has that time, as systemd-repart 257 gives it. Files are copied by the kernel, which takes root and loop devices.

mod common;

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
    time::Duration,
};

use common::{Scratch, succeed};

/// The time of what is made, and an earlier one, of what is copied: mke2fs takes later times back to the epoch.
const EPOCH: u64 = 1_700_000_000;
const OLD: u64 = 1_600_000_000;

const SEED: &str = "--seed=0a1b2c3d000040008000123456789abc";

fn hermetic(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hermetic"));
    command.args(words).env("SOURCE_DATE_EPOCH", EPOCH.to_string());
    command
}

/// systemd-repart in the tool root, with a /proc and a place for its copies.
fn systemd_repart(epoch: &str, words: &[&str]) -> Command {
    let script =
        r#"mount -t proc proc "$0/proc" && mount -t tmpfs tmpfs "$0/var/tmp" && exec chroot "$0" "$@""#;
    let root = std::env::var("HERMETIC_TOOLS").unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, &root, "systemd-repart"]).args(words);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("SOURCE_DATE_EPOCH", epoch);
    command
}

/// The clock goes on by as much as any of the formats can tell: FAT counts pairs of seconds.
fn later() {
    thread::sleep(Duration::from_millis(2100));
}

/// The words that make an image of the definitions in a directory.
fn words<'a>(definitions: &'a str, size: &'a str, image: &'a str) -> Vec<&'a str> {
    vec![definitions, SEED, "--empty=create", size, "--dry-run=no", "--pretty=no", "--offline=yes", image]
}

/// A directory with one definition; its word for the command line, here and in the tool root.
fn define(scratch: &Scratch, name: &str, text: &str) -> (String, String) {
    fs::create_dir(scratch.host(name)).unwrap();
    fs::write(scratch.host(name).join("10.conf"), format!("[Partition]\n{text}")).unwrap();
    let word = |path: &str| format!("--definitions={path}");
    (word(scratch.host(name).to_str().unwrap()), word(&scratch.inside(name)))
}

/// The first difference of two files, as cmp(1) reports it.
fn difference(one: &Path, other: &Path) -> Option<String> {
    let output = Command::new("cmp").args([one, other]).output().unwrap();
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn two_runs_give_the_same_bytes() {
    let Some(scratch) = Scratch::new("epoch") else { return };
    let mut images: Vec<(String, [PathBuf; 2])> = Vec::new();
    let formats = [("esp", "vfat"), ("root", "ext4"), ("home", "btrfs"), ("swap", "swap"), ("srv", "ext4")];
    let defined = formats.map(|(kind, format)| {
        define(&scratch, &format!("{kind}-{format}"), &format!("Type={kind}\nFormat={format}\n"))
    });
    let file = |name: &str| scratch.host(name).to_str().unwrap().to_owned();
    for run in 0..2 {
        if run > 0 {
            later();
        }
        for ((kind, format), (here, inside)) in formats.iter().zip(&defined) {
            let name = format!("{kind}-{format}");
            succeed(hermetic(&["repart"]).args(words(
                here,
                "--size=300M",
                &file(&format!("{name}-ours-{run}")),
            )));
            // The premise: systemd-repart's own.
            if ["vfat", "swap"].contains(format) {
                let image = scratch.inside(&format!("{name}-theirs-{run}"));
                succeed(&mut systemd_repart(&EPOCH.to_string(), &words(inside, "--size=300M", &image)));
            }
        }
        for format in ["vfat", "ext4", "btrfs", "swap"] {
            let uuid = "--uuid=11111111-2222-4333-8444-555555555555";
            let mut words = vec!["mkfs", format, "--size=300M", uuid];
            if format == "btrfs" {
                words.extend(["--subvol", "/var", "--subvol", "/srv:ro"]);
            }
            succeed(hermetic(&words).arg(file(&format!("mkfs-{format}-{run}"))));
        }
    }
    for (kind, format) in formats {
        for side in ["ours", "theirs"] {
            let name = format!("{kind}-{format}-{side}");
            let pair = [0, 1].map(|run| scratch.host(&format!("{name}-{run}")));
            images.extend(pair[0].exists().then_some((name, pair)));
        }
    }
    for format in ["vfat", "ext4", "btrfs", "swap"] {
        images.push((
            format!("mkfs {format}"),
            [0, 1].map(|run| scratch.host(&format!("mkfs-{format}-{run}"))),
        ));
    }
    assert_eq!(images.len(), 11);
    let differ: Vec<_> = (images.iter())
        .filter_map(|(name, [one, other])| Some(format!("{name}: {}", difference(one, other)?)))
        .collect();
    assert!(differ.is_empty(), "{differ:#?}");
}

/// The times of a tree: seconds of the last change, by path.
fn times(top: &Path) -> Vec<(PathBuf, i64)> {
    let mut found = Vec::new();
    let mut left = vec![top.to_owned()];
    while let Some(path) = left.pop() {
        let metadata = path.symlink_metadata().unwrap();
        found.push((path.strip_prefix(top).unwrap().to_owned(), metadata.mtime()));
        if metadata.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    found.sort();
    found
}

/// The times in the first partition of an image.
fn times_in(image: &Path) -> Vec<(PathBuf, i64)> {
    let at = image.with_extension("mounted");
    fs::create_dir(&at).unwrap();
    let options = "loop,ro,noload,offset=1048576";
    succeed(Command::new("mount").args(["-o", options]).arg(image).arg(&at));
    let found = times(&at);
    succeed(Command::new("umount").arg(&at));
    found
}

/// Sets the times of a whole tree, from the leaves up.
fn age(path: &Path) {
    let at = format!("--date=@{OLD}");
    succeed(Command::new("find").arg(path).args(["-depth", "-exec", "touch", "-h", &at, "{}", "+"]));
}

#[test]
fn what_is_made_on_the_way_has_the_time_that_systemd_repart_gives_it() {
    let Some(scratch) = Scratch::new("epoch-copies") else { return };
    let source = scratch.host("source");
    fs::create_dir_all(source.join("sub/deep")).unwrap();
    fs::write(source.join("sub/deep/file"), "x").unwrap();
    fs::write(source.join("file"), "x").unwrap();
    age(&source);
    let tree = scratch.inside("source");
    let (here, inside) = define(
        &scratch,
        "definitions",
        "Type=linux-generic\nFormat=ext4\nCopyFiles=/sub:/a/b/c\nCopyFiles=/file:/one/file\n\
         CopyFiles=/sub/deep:/sub\nMakeDirectories=/made/here /sub/new\nMakeSymlinks=/made/link:here /top:made\n",
    );
    let theirs = scratch.inside("theirs");
    let mut all = words(&inside, "--size=64M", &theirs);
    let copy = format!("--copy-source={tree}");
    all.push(&copy);
    succeed(&mut systemd_repart(&EPOCH.to_string(), &all));
    let ours = scratch.host("ours");
    let copy = format!("--copy-source={}", source.display());
    succeed(hermetic(&["repart", &copy]).args(words(&here, "--size=64M", ours.to_str().unwrap())));

    let (ours, theirs) = (times_in(&ours), times_in(&scratch.host("theirs")));
    assert_eq!(ours, theirs);
    let of = |path: &str| ours.iter().find(|(found, _)| found == Path::new(path)).unwrap().1 as u64;
    for path in ["", "lost+found", "a", "a/b", "one", "made", "made/here", "made/link", "top", "sub/new"] {
        assert_eq!(of(path), EPOCH, "{path}");
    }
    assert_eq!([of("a/b/c"), of("a/b/c/deep/file"), of("one/file")], [OLD; 3]);
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// mkfs.fat, and with it systemd-repart, refuses a value that is no number; so do we, whichever the format, before anything is
/// written.
#[test]
fn a_value_that_is_no_time_is_refused() {
    let Some(scratch) = Scratch::new("epoch-refused") else { return };
    let (here, inside) = define(&scratch, "definitions", "Type=esp\nFormat=vfat\n");
    for value in ["", "abc", "-5", "+5", "17 ", "1.5", "0x10", "99999999999999999999"] {
        let image = scratch.inside("theirs");
        let theirs = systemd_repart(value, &words(&inside, "--size=64M", &image)).output().unwrap();
        assert_eq!(theirs.status.code(), Some(1), "{value:?}: {}", said(&theirs));
        let _one_that_was_made = fs::remove_file(scratch.host("theirs"));
        let image = scratch.host("ours");
        let path = image.to_str().unwrap();
        let mkfs = ["mkfs", "ext4", "--size=64M", path];
        for mut ours in [hermetic(&mkfs), {
            let mut repart = hermetic(&["repart"]);
            repart.args(words(&here, "--size=64M", path));
            repart
        }] {
            let output = ours.env("SOURCE_DATE_EPOCH", value).output().unwrap();
            assert_eq!(output.status.code(), Some(1), "{value:?}");
            let expected = format!("SOURCE_DATE_EPOCH is {value:?}, not a number of seconds");
            assert!(said(&output).contains(&expected), "{}", said(&output));
            assert!(!image.exists(), "{value:?}");
        }
    }
}
