//! `Format=btrfs` in `hermetic repart` against systemd-repart 257: the same definitions of subvolumes and files give the same
//! tree, the same subvolumes read-only, the same default, as a kernel with btrfs sees them. Takes root and loop devices.

mod common;

use std::{fs, process::Command};

use common::{Scratch, skip, succeed, tool};

/// Runs a script in the tool root, which is mounted, so that systemd may change mounts below it, and has the kernel's
/// directories. `facts IMAGE OFFSET` prints the facts, without random values and counters.
const FRAME: &str = r#"
set -e
mount --bind "$HERMETIC_TOOLS" "$HERMETIC_TOOLS"
cd "$HERMETIC_TOOLS"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount --bind /dev dev
mount -t tmpfs tmpfs var/tmp
exec env --ignore-environment PATH=/usr/sbin:/usr/bin LC_ALL=C chroot . sh -euc "$FACTS
cd $1
$2"
"#;

const FACTS: &str = r#"
facts() {
    mkdir -p at
    mount -t btrfs -o ro,loop,offset=$2,subvolid=5 $1 at
    blkid -p -O $2 -o export $1 | grep -E '^(TYPE|LABEL|UUID)='
    (cd at && find . -printf '%P %y %m %U:%G %l\n' && find . -type f -exec cksum {} +) | sort
    echo "default $(btrfs subvolume get-default at | sed 's/.* path //')"
    btrfs subvolume list at | sed 's/.* path //' | sort | while read -r path; do
        echo "subvolume $path $(btrfs property get at/$path ro)"
    done
    umount at
}
"#;

/// The output of the script; None without a kernel that has btrfs.
fn run(scratch: &Scratch, script: &str) -> Option<String> {
    // Only a loaded module is listed. Without such a module, or without modprobe, the list decides.
    let _loaded = Command::new("modprobe").arg("btrfs").output();
    let known = fs::read_to_string("/proc/filesystems").unwrap();
    if !known.split_whitespace().any(|name| name == "btrfs") {
        skip("a kernel with btrfs");
        return None;
    }
    fs::copy(env!("CARGO_BIN_EXE_hermetic"), scratch.host("hermetic")).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", FRAME, "sh", &scratch.inside(""), script]).env("FACTS", FACTS);
    Some(String::from_utf8(succeed(&mut command).stdout).unwrap())
}

/// A definition in a separate directory.
fn define(scratch: &Scratch, directory: &str, text: &str) {
    fs::create_dir_all(scratch.host(directory)).unwrap();
    let text = format!("[Partition]\nType=root\nFormat=btrfs\nSizeMinBytes=300M\nSizeMaxBytes=300M\n{text}");
    fs::write(scratch.host(directory).join("50-root.conf"), text).unwrap();
}

/// The words that make an image of a directory of definitions.
const WORDS: &str = "--empty=create --size=auto --dry-run=no --seed=750b6cd5c4ae4012a15e7be3c29e6a47";

/// The start of the partition in the image.
const OFFSET: u64 = 1 << 20;

#[test]
fn files_and_subvolumes_are_those_of_systemd_repart() {
    let Some(scratch) = Scratch::new("repart-btrfs") else { return };
    let tree = scratch.host("tree");
    fs::create_dir_all(tree.join("lib/dir")).unwrap();
    fs::write(tree.join("lib/dir/file"), "hello\n").unwrap();
    fs::write(tree.join("lib/big"), vec![7; 300_000]).unwrap();
    std::os::unix::fs::symlink("dir/file", tree.join("lib/link")).unwrap();
    define(
        &scratch,
        "defs",
        "Subvolumes=/var /srv/x:ro /home\nDefaultSubvolume=/var\nMakeDirectories=/var /home/a/b /srv/x/empty\n\
         CopyFiles=/lib:/var/lib\nCopyFiles=/lib/big:/srv/x/big\nCopyFiles=/lib/dir:/usr\nMakeSymlinks=/lib:usr/lib\n",
    );
    let script = format!(
        "words=\"{WORDS} --definitions=$PWD/defs --copy-source=$PWD/tree\"
         ./hermetic repart $words ours
         systemd-repart --offline=no $words theirs
         facts ours {OFFSET} >ours.facts
         facts theirs {OFFSET} >theirs.facts
         tail --bytes=+{} ours | head --bytes=300M >ours.part
         btrfs check --readonly --check-data-csum ours.part",
        OFFSET + 1
    );
    let Some(said) = run(&scratch, &script) else { return };
    assert!(said.contains("no error found"), "{said}");
    let facts =
        ["ours", "theirs"].map(|side| fs::read_to_string(scratch.host(&format!("{side}.facts"))).unwrap());
    assert_eq!(facts[0], facts[1]);
    for line in [
        "default var",
        "subvolume srv/x ro=true",
        "subvolume var ro=false",
        "var/lib/link l 777 0:0 dir/file",
    ] {
        assert!(facts[0].lines().any(|fact| fact == line), "{line} is not in\n{}", facts[0]);
    }
}

/// Without files 257 makes none of the subvolumes. `hermetic repart` makes the requested ones, also when nothing can be
/// mounted.
#[test]
fn subvolumes_are_made_without_files_and_in_an_encrypted_volume() {
    let Some(scratch) = Scratch::new("repart-btrfs-bare") else { return };
    let subvolumes = "Subvolumes=/var /srv/x:ro\nDefaultSubvolume=/srv/x\n";
    define(&scratch, "plain", subvolumes);
    define(&scratch, "locked", &format!("{subvolumes}Encrypt=key-file\n"));
    fs::write(scratch.host("key"), [7; 64]).unwrap();
    let script = format!(
        "./hermetic repart {WORDS} --definitions=$PWD/plain ours
         systemd-repart --offline=yes {WORDS} --definitions=$PWD/plain theirs
         ./hermetic repart {WORDS} --definitions=$PWD/locked --key-file=$PWD/key locked.raw
         tail --bytes=+{} locked.raw | head --bytes=300M >volume
         cryptsetup reencrypt --decrypt --force-offline-reencrypt --batch-mode --key-file key --header header volume
         facts ours {OFFSET} >ours.facts
         facts theirs {OFFSET} >theirs.facts
         facts volume 0 >locked.facts",
        OFFSET + 1
    );
    let Some(_) = run(&scratch, &script) else { return };
    let facts = |side: &str| fs::read_to_string(scratch.host(&format!("{side}.facts"))).unwrap();
    let made = |facts: &str| {
        let is_made = |line: &&str| line.starts_with("subvolume ") || line.starts_with("default ");
        facts.lines().filter(is_made).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(made(&facts("theirs")), ["default ID 5 (FS_TREE)"]);
    let ours = ["default srv/x", "subvolume srv/x ro=true", "subvolume var ro=false"];
    assert_eq!(made(&facts("ours")), ours);
    assert_eq!(made(&facts("locked")), ours);
    // The partition, its label and the file system's UUID are the same all the same.
    let head = |side: &str| facts(side).lines().take(3).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(head("ours"), head("theirs"));
    assert!(tool("systemd-repart").is_some());
}

#[test]
fn subvolumes_of_another_format_are_refused_before_the_first_write() {
    let Some(scratch) = Scratch::new("repart-btrfs-refused") else { return };
    define(&scratch, "defs", "Subvolumes=/var\n");
    let file = scratch.host("defs/50-root.conf");
    let text = fs::read_to_string(&file).unwrap().replace("btrfs", "ext4");
    fs::write(&file, text).unwrap();
    let mut hermetic = Command::new(env!("CARGO_BIN_EXE_hermetic"));
    hermetic.arg("repart").args(WORDS.split(' '));
    hermetic.arg(format!("--definitions={}", scratch.host("defs").display())).arg(scratch.host("disk"));
    let output = hermetic.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("50-root.conf:6: Subvolumes= without Format=btrfs; say Format=btrfs"), "{said}");
    assert!(!scratch.host("disk").exists());
}
