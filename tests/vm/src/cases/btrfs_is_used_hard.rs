//! Debian's kernel and btrfs-progs on a btrfs of `hermetic mkfs`, in a machine: filled until nothing is left, scrubbed,
//! every chunk of it moved by a balance, snapshotted, unmounted. The read-only subvolume is read-only, the full file
//! system reports that it is full, the scrub finds no error, and neither does `btrfs check` afterwards.

use super::{Context, TEST_INIT, lasting};
use crate::command;
use crate::disk::Disk;
use crate::image::Image;
use crate::initramfs::Initramfs;
use crate::machine::Exit;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::fs;
use std::process::Command;

/// The script that runs in the machine. It prints its commands, and ends with the first one that fails.
const SCRIPT: &str = r#"
set -eux
modprobe btrfs
mkdir -p /run/btrfs
cd /run
mount -t btrfs /dev/vdb btrfs
! touch btrfs/readonly/x
mkdir btrfs/files
! head -c 1G /dev/zero >btrfs/var/fill
sync
test "$(stat --file-system --format=%a btrfs)" -lt 512
btrfs scrub start -B btrfs
rm btrfs/var/fill
head -c 10M /dev/urandom | split -b 100000 - btrfs/files/
btrfs balance start --full-balance btrfs
btrfs subvolume snapshot -r btrfs/var btrfs/var-snapshot
btrfs subvolume snapshot btrfs btrfs/all-snapshot
btrfs scrub start -B btrfs
btrfs subvolume list btrfs
umount btrfs
"#;

/// Its path below /usr.
const PLACE: &str = "lib/hermetic-test/btrfs.sh";

/// The appliance lacks btrfs-progs, and of its libraries this one.
const TOOLS: [&str; 2] = ["bin/btrfs", "lib/x86_64-linux-gnu/liblzo2.so.2"];

pub fn run(context: &Context<'_>) -> Result<()> {
    let image = context.file("btrfs.img");
    let mut mkfs = Command::new(&context.products.hermetic);
    mkfs.args(["mkfs", "btrfs", "--size", "257M", "--subvol", "/var", "--subvol", "/readonly:ro"]);
    command::run(mkfs.arg(&image))?;

    let recipe = TOOLS.iter().try_fold(context.recipe()?, |recipe, path| {
        let content = fs::read(context.bench.own_tools.file("usr").join(path));
        Ok::<_, anyhow::Error>(recipe.file(path, content.with_context(|| format!("no {path}"))?, 0o755))
    })?;
    let usr = context.usr(&recipe.file(PLACE, SCRIPT, 0o644))?;
    let disk = context.disk("disk.raw", &Image::new(context.partitions(&usr)?))?;
    let machine = lasting::bare(context, &usr).initramfs(&context.initramfs(&Initramfs::new("virtio"))?);
    let machine = machine.disk(Disk::new(&disk)).disk(Disk::new(&image));
    let run = format!("hermetic.init={TEST_INIT} root=tmpfs hermetic.test.run=/usr/bin/sh+/usr/{PLACE}");
    let outcome = context.run(&machine.cmdline(&run))?;
    let state = outcome.expect(&Exit::PowerOff)?.state()?;
    let run = state.pointer("/runs/0").context("nothing was run")?;
    let text = |field: &str| run.get(field).and_then(Value::as_str).unwrap_or_default();
    let (out, err) = (text("stdout"), text("stderr"));
    ensure!(run.get("status").and_then(Value::as_i64) == Some(0), "the script failed: {run}");
    ensure!(err.contains("Read-only file system"), "a read-only subvolume was written:\n{err}");
    ensure!(err.contains("No space left on device"), "nothing was filled:\n{err}");
    ensure!(out.matches("no errors found").count() == 2, "a scrub found errors:\n{out}");
    let moved = out.lines().find_map(|line| line.strip_prefix("Done, had to relocate "));
    let moved = moved.and_then(|counts| counts.trim_end_matches(" chunks").split_once(" out of "));
    ensure!(moved.is_some_and(|(moved, all)| moved == all && all != "0"), "not every chunk moved:\n{out}");
    for path in ["var", "readonly", "var-snapshot", "all-snapshot"] {
        let there = out.lines().any(|line| line.ends_with(&format!(" path {path}")));
        ensure!(there, "no subvolume {path}:\n{out}");
    }

    let mut btrfs = context.bench.tools.tool("btrfs")?;
    btrfs.args(["check", "--readonly", "--check-data-csum"]).arg(&image);
    let said = command::output(&mut btrfs).context("btrfs finds fault with it")?;
    ensure!(said.contains("no error found"), "btrfs check said:\n{said}");
    Ok(())
}
