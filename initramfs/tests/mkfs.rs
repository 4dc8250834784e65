//! `hermetic mkfs`: its file systems are valid, and a refusal comes before the first write.

mod common;

use std::{fs, process::Command};

use common::{Scratch, skip, succeed, tool};

/// Runs `hermetic mkfs` and returns its success and its output.
fn mkfs(words: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_hermetic")).arg("mkfs").args(words).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// The output of a tool that succeeds.
fn said(command: &mut Command) -> String {
    String::from_utf8_lossy(&succeed(command).stdout).into_owned()
}

#[test]
fn what_is_made_has_the_label_the_uuid_and_the_size_that_were_asked_for() {
    let Some(scratch) = Scratch::new("mkfs") else { return };
    const UUID: &str = "5c2d8f4e-11aa-4bbb-8ccc-0123456789ab";
    for (format, size, bytes, expected) in [
        ("ext4", "48M", 48 << 20, ["LABEL=made", &format!("UUID={UUID}"), "TYPE=ext4"]),
        ("vfat", "33M", 33 << 20, ["LABEL=MADE", "UUID=5C2D-8F4E", "TYPE=vfat"]),
        ("swap", "1M", 1 << 20, ["LABEL=made", &format!("UUID={UUID}"), "TYPE=swap"]),
        ("btrfs", "256M", 256 << 20, ["LABEL=made", &format!("UUID={UUID}"), "TYPE=btrfs"]),
    ] {
        let file = scratch.host(format);
        let path = file.to_str().unwrap();
        let (made, told) = mkfs(&[format, path, "--label", "made", "--uuid", UUID, "--size", size]);
        assert!(made, "{told}");
        assert_eq!(fs::metadata(&file).unwrap().len(), bytes);
        let inside = scratch.inside(format);
        let found = said(tool("blkid").unwrap().args(["-p", "-o", "export", &inside]));
        for line in expected {
            assert!(found.lines().any(|found| found == line), "{line} is not in\n{found}");
        }
        // Again over itself: only with the option for it.
        let before = fs::read(&file).unwrap();
        let (made, told) = mkfs(&[format, path]);
        assert!(
            !made && told.ends_with(&format!("holds {format} already; --force writes over it\n")),
            "{told}"
        );
        assert!(fs::read(&file).unwrap() == before);
        assert!(mkfs(&[format, path, "--force"]).0);
    }
    succeed(tool("e2fsck").unwrap().args(["-f", "-n", &scratch.inside("ext4")]));
    succeed(tool("fsck.vfat").unwrap().args(["-n", &scratch.inside("vfat")]));
}

#[test]
fn what_cannot_be_made_is_refused_and_nothing_is_written() {
    let scratch = Scratch::here("mkfs-refused");
    let (new, old) = (scratch.host("new"), scratch.host("old"));
    fs::write(&old, vec![0xa5; 1 << 20]).unwrap();
    let (new, old) = (new.to_str().unwrap(), old.to_str().unwrap());
    for (words, expected) in [
        (vec!["xfs", old], "error: `xfs` is not made here; choose one of ext4, ".to_owned()),
        (vec!["ext4", old], "error: ext4: 1 MiB is too small, at least 8 MiB are needed; ".to_owned()),
        (vec!["ext4", new], format!("error: {new} is not there; make it with --size\n")),
        (vec!["vfat", new, "--size", "1K"], "error: vfat: 1 KiB is too small, at least 64 KiB".to_owned()),
        (vec!["vfat", old, "--sector-size", "520"], "error: vfat: sectors of 520 bytes are not ".to_owned()),
        (vec!["swap", old, "--root", "/etc"], "error: swap holds no files; leave --root out\n".to_owned()),
        (
            vec!["btrfs", new, "--size", "255M"],
            "error: btrfs: 255 MiB is too small, at least 256 MiB are needed; ".to_owned(),
        ),
        (
            vec!["btrfs", new, "--size", "1G", "--subvol", "var"],
            "error: btrfs: \"var\" is no path of a subvolume; write it from the top".to_owned(),
        ),
        (
            vec!["btrfs", new, "--size", "1G", "--subvol", "/var:rw"],
            "error: `rw` is no flag of a subvolume; say :ro, :nodatacow, or nothing\n".to_owned(),
        ),
        (
            vec!["btrfs", new, "--size", "1G", "--subvol", "/var", "--default-subvol", "/srv"],
            "error: btrfs: the default subvolume \"/srv\" is none of the subvolumes; add it".to_owned(),
        ),
        (
            vec!["btrfs", old, "--size", "1G", "--subvol", "/a/b", "--subvol", "/a//b:ro"],
            "error: btrfs: subvolume \"/a//b\" is asked for twice; remove one of them\n".to_owned(),
        ),
        (
            vec!["ext4", old, "--metadata", "single"],
            "error: ext4 knows no --metadata; leave it out or make a btrfs\n".to_owned(),
        ),
        (
            vec!["vfat", old, "--subvol", "/var"],
            "error: vfat knows no --subvol; leave it out or make a btrfs\n".to_owned(),
        ),
        (vec!["ext4", "/dev/null"], "error: /dev/null is neither a file nor a block device".to_owned()),
        (
            vec!["vfat", new, "--size", "8M", "--root", "/nowhere"],
            "error: cannot open directory /nowhere: No such file or directory".to_owned(),
        ),
    ] {
        let (made, told) = mkfs(&words);
        assert!(!made && told.starts_with(&expected) && told.lines().count() == 1, "{words:?}: {told}");
    }
    // An error of the command line has several lines: the fault, and the valid words.
    for (words, expected) in [
        (["--metadata", "raid1"], "the profile of metadata is dup or single: there is one device"),
        (["--csum", "xxhash"], "unexpected argument '--csum' found"),
    ] {
        let (made, told) = mkfs(&[&["btrfs", new, "--size", "1G"], &words[..]].concat());
        assert!(!made && told.contains(expected) && told.contains("try '--help'"), "{words:?}: {told}");
    }
    assert!(!scratch.host("new").exists());
    assert!(fs::read(old).unwrap() == vec![0xa5; 1 << 20]);
}

#[test]
fn a_btrfs_has_what_was_asked_for() {
    let Some(scratch) = Scratch::new("mkfs-btrfs") else { return };
    let (file, inside) = (scratch.host("btrfs"), scratch.inside("btrfs"));
    let words = ["--size", "300M", "--metadata", "single", "--subvol", "/var", "--subvol", "/srv/x:ro"];
    let target = ["btrfs", file.to_str().unwrap(), "--default-subvol", "/var"];
    let (made, told) = mkfs(&[&target[..], &words[..]].concat());
    assert!(made, "{told}");
    let proc = |words: &[&str]| {
        let script =
            r#"mount -t proc proc "$HERMETIC_TOOLS/proc" && exec chroot "$HERMETIC_TOOLS" btrfs "$@""#;
        let mut btrfs = Command::new("unshare");
        btrfs.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C");
        said(btrfs.args(["--mount", "sh", "-c", script, "sh"]).args(words).arg(&inside))
    };
    assert!(proc(&["check", "--readonly", "--check-data-csum"]).contains("no error found"));
    let dump = proc(&["inspect-internal", "dump-tree", "-t", "root"]);
    for expected in ["name var", "name x", "flags 0x1(RDONLY)", "location key (256 ROOT_ITEM 0)"] {
        assert!(dump.contains(expected), "{expected} is not in\n{dump}");
    }
    let chunks = proc(&["inspect-internal", "dump-tree", "-t", "chunk"]);
    assert!(chunks.contains("type METADATA|single") && !chunks.contains("DUP"), "{chunks}");
}

#[test]
fn a_tree_goes_in() {
    let Some(scratch) = Scratch::new("mkfs-root") else { return };
    let tree = scratch.host("tree");
    fs::create_dir_all(tree.join("etc")).unwrap();
    fs::write(tree.join("etc/motd"), "hello\n").unwrap();
    std::os::unix::fs::symlink("motd", tree.join("etc/link")).unwrap();
    let root = tree.to_str().unwrap();
    let (made, told) =
        mkfs(&["ext4", scratch.host("ext4").to_str().unwrap(), "--size", "32M", "--root", root]);
    if !made && told.contains("filling it needs root and loop devices") {
        return skip(&format!("loop devices ({told})"));
    }
    assert!(made, "{told}");
    let inside = scratch.inside("ext4");
    let content = said(tool("debugfs").unwrap().args(["-R", "cat /etc/motd", &inside]));
    assert_eq!(content, "hello\n");
    succeed(tool("e2fsck").unwrap().args(["-f", "-n", &inside]));
}

/// Paths begin at the top, with any default, and a read-only subvolume is filled before.
#[test]
fn a_tree_goes_into_the_subvolumes_of_a_btrfs() {
    let Some(scratch) = Scratch::new("mkfs-btrfs-root") else { return };
    let (tree, file, at) = (scratch.host("tree"), scratch.host("btrfs"), scratch.host("at"));
    fs::create_dir_all(tree.join("srv/x")).unwrap();
    fs::create_dir(&at).unwrap();
    fs::write(tree.join("srv/x/motd"), "hello\n").unwrap();
    let words = ["--subvol", "/srv/x:ro", "--default-subvol", "/srv/x", "--size", "256M", "--root"];
    let target = [&["btrfs", file.to_str().unwrap()], &words[..], &[tree.to_str().unwrap()]].concat();
    let (made, told) = mkfs(&target);
    if !made && told.contains("filling it needs root and loop devices") {
        return skip(&format!("loop devices, a kernel with btrfs ({told})"));
    }
    assert!(made, "{told}");
    let script = r#"
        mount -t btrfs -o loop,subvolid=5 "$0" "$1"; cat "$1/srv/x/motd"; touch "$1/new"
        touch "$1/srv/x/new" && exit 1
        umount "$1"; mount -t btrfs -o loop,ro "$0" "$1"; cat "$1/motd""#;
    let mut mount = Command::new("unshare");
    mount.args(["--mount", "sh", "-ec", script]).arg(&file).arg(&at);
    assert_eq!(said(&mut mount), "hello\nhello\n");
}
