//! systemd 257's own test of systemd-repart (test/units/TEST-58-REPART.sh), function by function, with hermetic under
//! the name of the original. It runs in the tool root, in a mount namespace with the devices of this machine: the
//! functions that attach loop devices do so, and no other programs are called than those of the script. All of them and
//! testcase_exclude_files, which mounts the partitions of a loop device, run in a machine as well
//! (tests/vm/src/cases/repart_suite.rs); that file lists the functions that are left out, with the reasons.

mod common;

use std::{
    env, fs,
    path::Path,
    process::{Command, Output},
};

use common::{Scratch, skip};

/// Runs one function of the suite. The words are the directory with everything, the call, and `--offline=`.
const SCRIPT: &str = r#"
mount -t proc proc /proc && mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /var/tmp
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
    let units = Path::new(&env::var_os("HERMETIC_SYSTEMD_SOURCE").unwrap()).join("test/units");
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
    let root = env::var("HERMETIC_TOOLS").unwrap();
    let binds =
        "mount --rbind /dev \"$0/dev\" && mount --rbind /sys \"$0/sys\" && exec chroot \"$0\" sh -c \"$@\"";
    Command::new("unshare")
        .args(["--mount", "--propagation=private", "sh", "-c", binds, &root, SCRIPT, "sh"])
        .args([&scratch.inside(""), call, offline])
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .output()
        .unwrap()
}

/// The functions that pass, and the `--offline=` of each.
const PASSES: [&str; 17] = [
    "testcase_basic",
    "testcase_dropin",
    "testcase_multiple_definitions",
    "testcase_copy_blocks",
    "testcase_unaligned_partition",
    "testcase_issue_21817",
    "testcase_issue_24553",
    "testcase_zero_uuid",
    "testcase_dropped_partitions",
    "testcase_urandom",
    "testcase_list_devices",
    "testcase_random_seed",
    "testcase_fallback_partitions",
    "test_sector 512",
    "test_sector 1024",
    "test_sector 2048",
    "test_sector 4096",
];

#[test]
fn functions_of_the_suite_pass() {
    if env::var_os("HERMETIC_SYSTEMD_SOURCE").is_none() {
        return skip("HERMETIC_SYSTEMD_SOURCE");
    }
    let Some(scratch) = Scratch::new("suite58") else { return };
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
