//! File systems of `hermetic mkfs` hold what the kernel writes into them: an ext4 is filled until nothing fits any
//! more, a FAT gets files, swap is taken. Afterwards e2fsck and fsck.vfat find no fault.

use super::{Context, lasting, script, small};
use crate::command;
use crate::disk::Disk;
use crate::image::Image;
use crate::initramfs::Initramfs;
use crate::machine::Exit;
use anyhow::{Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Directories and small files first, so that more than one group's inodes are used; then one file takes the rest, and
/// after it nothing fits any more.
const FILL: &str = "\
m=/run/m
mkdir -p $m
mount -t ext4 /dev/vdb $m
for d in 0 1 2 3 4 5 6 7; do cp -a /usr/lib/systemd/network $m/$d; done
! dd if=/dev/zero of=$m/rest bs=1M 2>/run/dd
grep -q 'No space left' /run/dd
df --output=pcent,avail $m
umount $m
mount -t vfat /dev/vdc $m
cp -r /usr/lib/systemd/network $m/network
cmp /usr/lib/systemd/network/99-default.link $m/network/99-default.link
umount $m
swapon /dev/vdd
cat /proc/swaps
swapoff /dev/vdd";

/// Format and size, in the order of the disks.
const MADE: [(&str, &str); 3] = [("ext4", "192M"), ("vfat", "64M"), ("swap", "32M")];

pub fn run(context: &Context<'_>) -> Result<()> {
    let usr = context.usr(&script::recipe(context)?)?;
    let disk = context.disk("disk.raw", &Image::new(context.partitions(&usr)?))?;
    // The root is not one of the file systems under test.
    let words = format!("root=tmpfs {}", script::word("vde"));
    let mut machine = lasting::machine(context, Initramfs::new("virtio"), &usr)?.disk(Disk::new(&disk));
    for (format, size) in MADE {
        let image = made(context, format);
        let mut mkfs = Command::new(&context.products.hermetic);
        mkfs.args(["mkfs", format, "--label", "made", "--size", size]).arg(&image);
        command::run(&mut mkfs)?;
        machine = machine.disk(Disk::new(&image));
    }
    let machine = machine.disk(script::disk(context, FILL)?).cmdline(&words);
    let state = context.run(&machine.deadline(2 * small::DEADLINE))?.expect(&Exit::PowerOff)?.state()?;
    let said = script::said(&state)?;
    // The rest, two in a hundred, is kept by the kernel for its own metadata.
    let full = said.lines().any(|line| line.split_whitespace().eq(["100%", "0"]));
    ensure!(full, "the ext4 is not full:\n{said}");
    ensure!(said.contains("/dev/vdd"), "the kernel uses no swap on /dev/vdd:\n{said}");
    faultless(context, &made(context, "ext4"))?;
    command::run(context.bench.tools.tool("fsck.vfat")?.arg("-n").arg(made(context, "vfat")))
}

fn made(context: &Context<'_>, format: &str) -> PathBuf {
    context.file(&format!("{format}.img"))
}

/// e2fsck finds nothing to say beyond its passes.
fn faultless(context: &Context<'_>, image: &Path) -> Result<()> {
    let said = command::output(context.bench.tools.tool("e2fsck")?.args(["-f", "-n"]).arg(image))?;
    let expected = |line: &str| line.starts_with("Pass ") || line.starts_with("made: ");
    let complaints: Vec<&str> = said.lines().filter(|line| !expected(line)).collect();
    ensure!(complaints.is_empty(), "e2fsck: {complaints:?}");
    Ok(())
}
