//! systemd 257's own test of systemd-repart (test/units/TEST-58-REPART.sh), function by function, with hermetic under the
//! name of the original, in a machine with Debian's kernel: loop devices have nodes for their partitions there, which not
//! every builder's kernel gives them.
//!
//! | left out | because |
//! |---|---|
//! | verity, verity_explicit_block_size, verity_hash_size_from_data_size | Verity=data and hash are refused: an image builder's |
//! | free_area_calculation | a squashfs with Minimize=best, and its tree by Verity=hash with Minimize=best |
//! | minimize | Minimize= is refused: an image builder's |
//! | compression | Format=squashfs and erofs are refused: an image builder's |
//! | make_symlinks | looks at the image with systemd-dissect |
//! | basic, part 6 | files on an encrypted partition of an image are refused |

use super::{Context, lasting, script, small};
use crate::command;
use crate::disk::Disk;
use crate::image::Image;
use crate::initramfs::Initramfs;
use crate::machine::Exit;
use anyhow::{Result, ensure};
use std::fs;

/// What must pass.
const FUNCTIONS: [&str; 18] = [
    "testcase_basic",
    "testcase_dropin",
    "testcase_multiple_definitions",
    "testcase_copy_blocks",
    "testcase_unaligned_partition",
    "testcase_issue_21817",
    "testcase_issue_24553",
    "testcase_zero_uuid",
    "testcase_exclude_files",
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
if call testcase_zero_uuid; then echo 'failed: nothing is tested'; fi";

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
    // Part 6 of "basic" wants files on an encrypted partition of an image, which is refused; parts 1 to 5 end before.
    let part = "    echo \"*** 6. Testing Format=/Encrypt=/CopyFiles= ***\"\n";
    let (head, calls) = text.split_once("\nOFFLINE=\"yes\"\n").unwrap_or_default();
    ensure!(head.contains(part) && calls.contains("test_sector 4096"), "TEST-58-REPART.sh is another one");
    fs::write(tree.join("head.sh"), format!("{}\n", head.replace(part, "    return 0\n")))?;
    fs::write(tree.join("functions"), FUNCTIONS.map(|function| format!("{function}\n")).concat())?;
    fs::copy(&context.products.hermetic, stand_ins.join("systemd-repart"))?;
    fs::write(stand_ins.join("udevadm"), UDEVADM)?;
    fs::set_permissions(stand_ins.join("udevadm"), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let mut mkfs = context.bench.tools.tool("mkfs.ext4")?;
    command::run(mkfs.args(["-q", "-F", "-d"]).arg(&tree).arg(&image).arg("64M"))?;
    Ok(Disk::new(&image))
}
