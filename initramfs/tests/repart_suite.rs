//! systemd 262's own test of systemd-repart (TEST-58-REPART.sh of its package of tests), function by function, with hermetic
//! under the name of the original. It runs in sid's tool root, in a mount namespace with the devices of this machine. Functions
//! that mount or attach loop devices run in a machine (tests/vm/src/cases/repart_suite.rs).
//!
//! | left out | because |
//! |---|---|
//! | verity, verity_explicit_block_size, verity_hash_size_from_data_size, verity_encrypt, free_area_calculation | Verity=data and hash are refused: an image builder's |
//! | minimize | Minimize= is refused: an image builder's |
//! | compression, btrfs_compression | Format=squashfs and erofs are refused; words of mkfs.btrfs are asked for |
//! | basic, part 6; fstab_crypttab_in_repart | files on an encrypted partition of an image are refused |
//! | cow | skips itself where the file system knows no such flag |
//! | luks2_integrity | Integrity=inline is refused |
//! | luks2_keyhash | opens the volume: device-mapper |
//! | block_device_replace | BlockDeviceReplace= is refused |
//! | copy_blocks, sector, exclude_files, make_symlinks, btrfs, vfat_reproducibility | mount, loop devices, vfat in the kernel |
//! | varlink_* | there is no Varlink service |

mod common;

use std::{
    env, fs,
    path::Path,
    process::{Command, Output},
};

use common::{Scratch, skip};

/// Runs one function of the suite. The words are the directory with everything, the call, and `--offline=`.
const SCRIPT: &str = r#"
cd "$1"
{ sed '/^OFFLINE="yes"$/,$d' TEST-58-REPART.sh; echo "OFFLINE=$3"; echo "$2"; } > run.sh
export PATH="$1/stand-ins:$PATH"
bash ./run.sh
"#;

/// A machine, not a container: with loop devices, and without udev, whose nodes the kernel makes as well.
const STAND_INS: [(&str, &str); 2] = [
    ("systemd-detect-virt", "#!/bin/sh\nexit 1\n"),
    (
        "udevadm",
        "#!/bin/sh\n[ \"$1\" = wait ] || exit 0\nfor node; do\n    case $node in /dev/*)\n        n=0\n        while [ ! -e \"$node\" ]; do n=$((n + 1)); [ $n -lt 100 ] || exit 1; sleep 0.1; done ;;\n    esac\ndone\n",
    ),
];

fn suite(scratch: &Scratch) {
    let units = Path::new(&env::var_os("HERMETIC_SID_SYSTEMD_TESTS").unwrap()).join("testdata/units");
    for name in ["test-control.sh", "util.sh"] {
        fs::copy(units.join(name), scratch.host(name)).unwrap();
    }
    let text = fs::read_to_string(units.join("TEST-58-REPART.sh")).unwrap();
    // Part 6 of "basic" wants files on an encrypted partition of an image, which is refused here; parts 1 to 5 end before.
    let part = "    echo \"*** 6. Testing Format=/Encrypt=/CopyFiles= ***\"\n";
    assert!(text.contains(part));
    let text = text.replace(part, "    return 0\n");
    fs::write(scratch.host("TEST-58-REPART.sh"), text).unwrap();
    let stand_ins = scratch.host("stand-ins");
    fs::create_dir_all(&stand_ins).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_hermetic"), stand_ins.join("systemd-repart")).unwrap();
    for (name, text) in STAND_INS {
        let path = stand_ins.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
}

fn call(scratch: &Scratch, call: &str, offline: &str) -> Output {
    let binds = "for place in run var/tmp; do mount -t tmpfs tmpfs \"$0/$place\" || exit 1; done; \
        mount -t proc proc \"$0/proc\" && mount --rbind /dev \"$0/dev\" && mount --rbind /sys \"$0/sys\" && \
        exec chroot \"$0\" sh -c \"$@\"";
    Command::new("unshare")
        .args(["--mount", "--propagation=private", "sh", "-c", binds])
        .arg(scratch.root())
        .args([SCRIPT, "sh"])
        .args([&scratch.inside(""), call, offline])
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .output()
        .unwrap()
}

/// The functions that pass.
const PASSES: [&str; 25] = [
    "testcase_basic",
    "testcase_copy_from_grain_padding",
    "testcase_copy_from_respects_new_grain",
    "testcase_copy_from_no_padding_at_beginning_and_end",
    "testcase_size_auto_with_grain_size",
    "testcase_size_auto_foreign_partitions",
    "testcase_dropin",
    "testcase_multiple_definitions",
    "testcase_unaligned_partition",
    "testcase_output_order",
    "testcase_issue_21817",
    "testcase_issue_24553",
    "testcase_zero_uuid",
    "testcase_dropped_partitions",
    "testcase_urandom",
    "testcase_list_devices",
    "testcase_random_seed",
    "testcase_fallback_partitions",
    "testcase_get_size",
    "testcase_ext_reproducibility",
    "testcase_generate_fstab_dry_run",
    "testcase_encrypted_volume_empty_name",
    "testcase_insert_into_gap",
    "testcase_distribute_leftover_space",
    "testcase_partition_number_gap",
];

#[test]
fn functions_of_the_suite_pass() {
    let Some(scratch) = Scratch::of_sid("suite58") else { return };
    if env::var_os("HERMETIC_SID_SYSTEMD_TESTS").is_none() {
        return skip("HERMETIC_SID_SYSTEMD_TESTS");
    }
    suite(&scratch);
    let mut failed = Vec::new();
    for function in PASSES {
        let output = call(&scratch, function, "yes");
        if !output.status.success() {
            let lines = String::from_utf8_lossy(&output.stderr).into_owned();
            let last: Vec<_> = lines.lines().rev().take(25).collect();
            failed.push(format!("{function}:\n{}", last.into_iter().rev().collect::<Vec<_>>().join("\n")));
        }
    }
    eprintln!("{} of {} functions passed", PASSES.len() - failed.len(), PASSES.len());
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    // The stage is real: with a program that does nothing the same function fails.
    fs::write(scratch.host("stand-ins/systemd-repart"), "#!/bin/sh\nexit 0\n").unwrap();
    assert!(!call(&scratch, "testcase_zero_uuid", "yes").status.success());
}
