//! `v`, `q` and `Q` on a btrfs: subvolumes where the root is one itself, directories elsewhere, with either tool. Takes root, a loop
//! device and a kernel with btrfs.

use std::{fs::File, process::Command};

use crate::common::Scratch;

/// `$1` is the image and `$2` the same as the tools see it, `$3` the directory to mount it at as they see it, `$4` our program,
/// `$5` the lines.
const SCRIPT: &str = r#"
set -eu
image=$1 inside=$3 program=$4 lines=$5
mount -t proc proc "$HERMETIC_TOOLS/proc"
chroot "$HERMETIC_TOOLS" mkfs.btrfs -q "$2"
at=$HERMETIC_TOOLS$inside
mount -t btrfs -o loop "$image" "$at"
for side in ours theirs; do
    chroot "$HERMETIC_TOOLS" btrfs -q subvolume create "$inside/$side"
    mkdir -p "$at/$side/there" "$at/$side/directory"
done
for below in "" /directory; do
    chroot "$HERMETIC_TOOLS" systemd-tmpfiles --create --root="$inside/theirs$below" - <"$lines"
    "$program" tmpfiles --create --root="$at/ours$below" - <"$lines"
done
for side in ours theirs; do
    echo "= $side"
    (cd "$at/$side" && find . -type d -printf '%p %m %U:%G %i\n' | sort | awk '$4 != 256 { $4 = "directory" } 1')
done
chroot "$HERMETIC_TOOLS" btrfs -q subvolume create "$inside/quotas"
chroot "$HERMETIC_TOOLS" btrfs quota enable "$inside"
"$program" tmpfiles --create --root="$at/quotas" - <"$lines" 2>"$at/said"
echo "= quotas"
grep quota "$at/said"
umount "$at"
"#;

const LINES: &str =
    "v /v 0750\nq /q 1777 7 8\nQ /Q\nv /new/below 0700\nd /plain\nv /there 0711\nv /v/nested\nD /v/d\n";

#[test]
fn subvolumes_are_made_where_the_tool_makes_them() {
    let known = std::fs::read_to_string("/proc/filesystems").unwrap();
    if !known.split_whitespace().any(|name| name == "btrfs") {
        assert!(std::env::var_os("HERMETIC_NO_SKIP").is_none_or(|no| no != "1"), "this kernel has no btrfs");
        return eprintln!("SKIPPED: this kernel has no btrfs");
    }
    let Some(scratch) = Scratch::new("subvolumes") else { return };
    File::create(scratch.host("image")).unwrap().set_len(256 << 20).unwrap();
    std::fs::create_dir(scratch.host("mounted")).unwrap();
    std::fs::write(scratch.host("lines"), LINES).unwrap();

    let mut script = Command::new("unshare");
    script
        .args(["--mount", "sh", "-c", SCRIPT, "sh"])
        .arg(scratch.host("image"))
        .arg(scratch.inside("image"));
    script.arg(scratch.inside("mounted")).arg(env!("CARGO_BIN_EXE_hermetic")).arg(scratch.host("lines"));
    let output = script.env("LC_ALL", "C").output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    let (out, quotas) = out.split_once("= quotas\n").unwrap();
    // Only the two lines that ask for quota groups, and only where quotas are on.
    let words = |path: &str| {
        format!("Couldn't adjust quota for subvolume \"{path}\" (quota groups are not supported).\n")
    };
    assert_eq!(quotas, words("/q") + &words("/Q"));
    assert!(!err.contains("quota"), "{err}");
    let (ours, theirs) = out.split_once("= theirs\n").unwrap();
    let ours = ours.strip_prefix("= ours\n").unwrap();
    assert_eq!(ours, theirs, "{err}");
    for line in ["./v 750 0:0 256", "./q 1777 7:8 256", "./Q 755 0:0 256", "./new/below 700 0:0 256"] {
        assert!(ours.lines().any(|there| there == line), "{line}: {ours}");
    }
    for line in ["./there 711 0:0 directory", "./directory/v 750 0:0 directory", "./plain 755 0:0 directory"]
    {
        assert!(ours.lines().any(|there| there == line), "{line}: {ours}");
    }
}
