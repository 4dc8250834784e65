//! systemd 257's own test of systemd-repart (test/units/TEST-58-REPART.sh), function by function, with hermetic under
//! the name of the original, in a machine with Debian's kernel: loop devices have nodes for their partitions there,
//! which not every builder's kernel gives them.
//!
//! | left out | because |
//! |---|---|
//! | verity, verity_explicit_block_size, verity_hash_size_from_data_size | Verity=data and hash are refused: an image builder's |
//! | minimize | Minimize= is refused: an image builder's |
//! | compression | Format=squashfs and erofs are refused: an image builder's |
//! | dropin, multiple_definitions, copy_blocks, fallback_partitions | 262 shows the space behind the last partition, and an ESP has 260 MiB: that script has them so |
//! | basic, part 6 | files on an encrypted partition of an image are refused |
//!
//! free_area_calculation is about where the partitions are put when it runs a second time, and makes their content with
//! Minimize=best of a squashfs and Verity=hash, which are an image builder's as well: here mksquashfs and veritysetup
//! make it, and CopyBlocks= brings it in. When a function examines an image with systemd-dissect, losetup and mount
//! take its place.

use super::{Context, lasting, script, small};
use crate::command;
use crate::disk::Disk;
use crate::image::Image;
use crate::initramfs::Initramfs;
use crate::machine::Exit;
use anyhow::{Result, ensure};
use std::fs;

/// The functions that must pass.
const FUNCTIONS: [&str; 16] = [
    "testcase_basic",
    "testcase_unaligned_partition",
    "testcase_issue_21817",
    "testcase_issue_24553",
    "testcase_zero_uuid",
    "testcase_exclude_files",
    "testcase_free_area_calculation",
    "testcase_make_symlinks",
    "testcase_dropped_partitions",
    "testcase_urandom",
    "testcase_list_devices",
    "testcase_random_seed",
    "test_sector 512",
    "test_sector 1024",
    "test_sector 2048",
    "test_sector 4096",
];

/// Waits for the nodes that the kernel makes; nothing else of udev runs.
const UDEVADM: &str = "#!/bin/sh
[ \"$1\" = wait ] || exit 0
for node; do
    case $node in /dev/*)
        n=0
        while [ ! -e \"$node\" ]; do n=$((n + 1)); [ $n -lt 100 ] || exit 1; sleep 0.1; done ;;
    esac
done
";

/// Mounts the one partition of an image, and unmounts it.
const DISSECT: &str = "#!/bin/sh
set -e
if [ \"$1\" = -U ]; then
    loop=$(findmnt -n -o SOURCE \"$2\")
    umount \"$2\"
    exec losetup -d \"${loop%p1}\"
fi
loop=$(losetup -P -f --show \"$1\")
udevadm wait \"${loop}p1\"
mkdir -p \"$3\"
mount \"${loop}p1\" \"$3\"
";

/// The changes to the suite: its text, and the replacement.
const CHANGES: [(&str, &str); 5] = [
    // Part 6 of "basic" wants files on an encrypted partition of an image, which is refused; parts 1 to 5 end before.
    ("    echo \"*** 6. Testing Format=/Encrypt=/CopyFiles= ***\"\n", "    return 0\n"),
    (
        "    if ! command -v mksquashfs >/dev/null; then\n        echo \"Skipping free area",
        "    if false; then\n        echo \"Skipping free area",
    ),
    // Two empty answers are equal as well.
    (
        "    diff -u <(echo \"$output1\" | grep -E \"(offset|raw_size|raw_padding)\") \\\n            <(echo \"$output2\" | grep -E \"(offset|raw_size|raw_padding)\")\n",
        "    echo \"$output1\" | grep -q raw_size || return 1\n    diff -u <(echo \"$output1\" | grep -E \"(offset|raw_size|raw_padding)\") \\\n            <(echo \"$output2\" | grep -E \"(offset|raw_size|raw_padding)\")\n",
    ),
    (
        "Format         = squashfs\n\nMinimize       = best\n# Sufficient for testing\nCopyFiles      = /etc/:/\n\nVerityMatchKey = os\nVerity         = data\n",
        "CopyBlocks     = /run/suite/os\n",
    ),
    (
        "Minimize       = best\n\nVerityMatchKey = os\nVerity         = hash\n",
        "CopyBlocks     = /run/suite/os-verity\n",
    ),
];

/// Stands in for udev and takes the appliance's own definitions away. Says of each function whether it passed, with its last lines when it did not; in the end a program that does nothing
/// stands in, with which a function must fail.
const RUN: &str = "\
modprobe loop
ln -s /proc/self/fd /dev/fd
mkdir -p /run/suite /run/none /tmp /var/tmp
mount --bind /run/none /usr/lib/repart.d
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /var/tmp
mount -t ext4 /dev/vdb /run/suite
cd /run/suite
export PATH=/run/suite/stand-ins:$PATH
call() {
    { cat head.sh; echo OFFLINE=yes; echo \"$1\"; } >run.sh
    bash ./run.sh >/run/out 2>&1
}
while read -r function; do
    if call \"$function\"; then echo \"passed $function\"; else echo \"failed $function\"; tail -n 25 /run/out; fi
done <functions
printf '#!/bin/sh\\n' >stand-ins/systemd-repart
for function in testcase_zero_uuid testcase_free_area_calculation testcase_make_symlinks; do
    if call \"$function\"; then echo \"failed: nothing is tested by $function\"; fi
done";

pub fn run(context: &Context<'_>) -> Result<()> {
    let usr = context.usr(&script::recipe(context)?)?;
    let disk = context.disk("disk.raw", &Image::new(context.partitions(&usr)?))?;
    let machine = lasting::machine(context, Initramfs::new("virtio"), &usr)?
        .disk(Disk::new(&disk))
        .disk(suite(context)?)
        .disk(script::disk(context, RUN)?)
        .cmdline(&format!("root=tmpfs {}", script::word("vdc")));
    let machine = machine.memory(1024).deadline(4 * small::DEADLINE);
    let state = context.run(&machine)?.expect(&Exit::PowerOff)?.state()?;
    let said = script::said(&state)?;
    let passed = said.lines().filter(|line| line.starts_with("passed ")).count();
    ensure!(
        !said.contains("failed") && passed == FUNCTIONS.len(),
        "{passed} of {} passed:\n{said}",
        FUNCTIONS.len()
    );
    context.say(format!("{passed} functions passed"));
    Ok(())
}

/// A disk with the suite and the program.
fn suite(context: &Context<'_>) -> Result<Disk> {
    let (tree, image) = (context.file("suite"), context.file("suite.raw"));
    let units = context.bench.reference.systemd.join("test/units");
    let stand_ins = tree.join("stand-ins");
    fs::create_dir_all(&stand_ins)?;
    for name in ["test-control.sh", "util.sh"] {
        fs::copy(units.join(name), tree.join(name))?;
    }
    let text = fs::read_to_string(units.join("TEST-58-REPART.sh"))?;
    let (head, calls) = text.split_once("\nOFFLINE=\"yes\"\n").unwrap_or_default();
    ensure!(calls.contains("test_sector 4096"), "TEST-58-REPART.sh is another one");
    let mut head = format!("{head}\n");
    for (theirs, ours) in CHANGES {
        ensure!(head.matches(theirs).count() == 1, "TEST-58-REPART.sh has not once: {theirs}");
        head = head.replace(theirs, ours);
    }
    fs::write(tree.join("head.sh"), head)?;
    let (os, hashes) = (tree.join("os"), tree.join("os-verity"));
    let mut squash = context.bench.tools.tool("mksquashfs")?;
    command::run(squash.arg(&units).arg(&os).args(["-quiet", "-noappend", "-no-progress"]))?;
    let mut verity = context.bench.tools.tool("veritysetup")?;
    command::run(verity.arg("format").args([&os, &hashes]))?;
    fs::write(tree.join("functions"), FUNCTIONS.map(|function| format!("{function}\n")).concat())?;
    fs::copy(&context.products.hermetic, stand_ins.join("systemd-repart"))?;
    for (name, text) in [("udevadm", UDEVADM), ("systemd-dissect", DISSECT)] {
        fs::write(stand_ins.join(name), text)?;
        fs::set_permissions(stand_ins.join(name), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    }
    let mut mkfs = context.bench.tools.tool("mkfs.ext4")?;
    command::run(mkfs.args(["-q", "-F", "-d"]).arg(&tree).arg(&image).arg("64M"))?;
    Ok(Disk::new(&image))
}
