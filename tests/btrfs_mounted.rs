//! A kernel's btrfs driver on a file system of ours: filled, scrubbed, balanced, snapshotted, grown, and checked again.
//! Takes root, a loop device and a kernel with btrfs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::{fs::File, process::Command};

use common::{Scratch, tool, with_proc};
use hermetic_init::{
    mkfs::btrfs::{self, Choices, Params, Subvolume},
    units::Bytes,
};
use uuid::Uuid;

/// `$1` is the image, `$2` the directory to mount it at as the tools see it, `$3` the size to which it grows.
const SCRIPT: &str = r#"
set -eux
image=$1 inside=$2
mount -t proc proc "$HERMETIC_TOOLS/proc"
mount --bind /dev "$HERMETIC_TOOLS/dev"
at=$HERMETIC_TOOLS$inside
in_tools() { chroot "$HERMETIC_TOOLS" "$@"; }

mount -t btrfs -o loop "$image" "$at"
! touch "$at/readonly/x"
mkdir "$at/files"
! head -c 1G /dev/urandom >"$at/var/fill"
sync
test "$(stat --file-system --format=%a "$at")" -lt 512
in_tools btrfs scrub start -B "$inside"
rm "$at/var/fill"
for n in $(seq 1 100); do head -c 100000 /dev/urandom >"$at/files/$n"; done
in_tools btrfs balance start --full-balance "$inside"
in_tools btrfs subvolume snapshot -r "$inside/var" "$inside/var-snapshot"
in_tools btrfs subvolume snapshot "$inside" "$inside/all-snapshot"
umount "$at"

truncate --size "$3" "$image"
mount -t btrfs -o loop "$image" "$at"
in_tools btrfs filesystem resize max "$inside"
in_tools btrfs scrub start -B "$inside"
in_tools btrfs subvolume list -o "$inside"
umount "$at"
"#;

#[test]
fn a_kernel_fills_scrubs_balances_snapshots_and_grows_it() {
    let Some(scratch) = Scratch::new() else { return };
    let known = std::fs::read_to_string("/proc/filesystems").unwrap();
    if !known.split_whitespace().any(|name| name == "btrfs") {
        assert!(std::env::var_os("HERMETIC_NO_SKIP").is_none_or(|no| no != "1"), "this kernel has no btrfs");
        return eprintln!("SKIPPED: this kernel has no btrfs");
    }
    let subvolumes =
        [Subvolume { path: "/var", read_only: false }, Subvolume { path: "/readonly", read_only: true }];
    let params = Params {
        size: Bytes(256 * Bytes::MIB + 4096),
        uuid: Uuid::from_u128(0xb7f5_0000_0000_4000_8000 << 48 | u128::from(std::process::id())),
        label: "root",
        seed: Uuid::from_u128(7),
        now: 1_767_225_600,
        choices: Choices { subvolumes: &subvolumes, ..Choices::default() },
    };
    let image = scratch.host("image");
    let file = File::options().read(true).write(true).create_new(true).open(&image).unwrap();
    file.set_len(params.size.0).unwrap();
    btrfs::plan(&params).unwrap().apply(&file).unwrap();
    drop(file);
    std::fs::create_dir(scratch.host("mounted")).unwrap();

    let mut script = Command::new("unshare");
    script.args(["--mount", "sh", "-c", SCRIPT, "sh"]).arg(&image).arg(scratch.inside("mounted")).arg("320M");
    let output = script.env("LC_ALL", "C").output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    assert_eq!(out.matches("no errors found").count(), 2, "{out}{err}");
    assert!(err.contains("No space left on device") && err.contains("Read-only file system"), "{err}");
    let relocated = out.lines().find_map(|line| line.strip_prefix("Done, had to relocate "));
    let (moved, all) = relocated.unwrap().trim_end_matches(" chunks").split_once(" out of ").unwrap();
    assert!(moved == all && all != "0", "{out}");
    for path in ["var", "readonly", "var-snapshot", "all-snapshot"] {
        assert!(out.lines().any(|line| line.ends_with(&format!(" path {path}"))), "{path}: {out}");
    }

    let mut check = with_proc(&tool("btrfs").unwrap());
    check.args(["check", "--readonly", "--check-data-csum"]).arg(scratch.inside("image"));
    let output = check.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("no error found"), "{output:?}");
}
