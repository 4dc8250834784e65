//! A btrfs root on a disk that became larger, in its partition and in a LUKS2 volume: the next boot lengthens the
//! partition and, without systemd-growfs in /usr, has the kernel grow the mounted file system by as much. The file of
//! the first boot is still there, `btrfs check` finds no fault, and the subvolumes are those of the definition: the
//! read-only one is read-only, the default one has the system in it.

use super::{Context, lasting, small};
use crate::command;
use crate::disk::Disk;
use crate::image::Image;
use crate::initramfs::Initramfs;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

const MIB: u64 = 1 << 20;

/// A disk with room for the smallest btrfs behind /usr, and its growth.
const DISK: u64 = 448 * MIB;
const MORE: u64 = 192 * MIB;

/// In the partition itself.
pub fn plain(context: &Context<'_>) -> Result<()> {
    grows(context, "off", "Subvolumes=/var /srv/fixed:ro\n")
}

/// In a LUKS2 volume, which becomes larger with its partition; the system stands in a subvolume.
pub fn encrypted(context: &Context<'_>) -> Result<()> {
    grows(context, "key-file", "Subvolumes=/system /system/var /srv/fixed:ro\nDefaultSubvolume=/system\n")
}

fn grows(context: &Context<'_>, encrypt: &str, subvolumes: &str) -> Result<()> {
    let text = format!("[Partition]\nType=root\nLabel=root\nFormat=btrfs\nEncrypt={encrypt}\n{subvolumes}");
    // The bit of the partition tells systemd to grow its file system; without systemd-growfs it is left to
    // hermetic-init.
    let recipe = small::recipe(context, &text)?.without("lib/systemd/systemd-growfs");
    let usr = context.usr(&recipe)?;
    let disk = context.disk("disk.raw", &Image { size: DISK, ..Image::new(context.partitions(&usr)?) })?;
    let machine = lasting::machine(context, Initramfs::new("virtio").module("btrfs"), &usr)?;
    let machine = machine.disk(Disk::new(&disk));

    let first = lasting::boots_first(context, &machine)?;
    let made = lasting::root_on(context, &disk, 512)?;
    OpenOptions::new().write(true).open(&disk)?.set_len(DISK + MORE)?;
    let second = lasting::boots_again(context, &machine, &first)?;
    let longer = lasting::root_on(context, &disk, 512)?;
    ensure!(
        longer.length == made.length + MORE && longer.start == made.start,
        "{made:?} has become {longer:?}"
    );
    let (before, after) = (size(&first)?, size(&second)?);
    ensure!(after == before + MORE, "the file system had {before} bytes and has {after}");
    check(context, &disk, &longer, encrypt != "off")?;
    context.say(format!("{} MiB have become {}", before / MIB, after / MIB));
    Ok(())
}

/// Bytes of the root's file system, by statfs(2).
fn size(state: &Value) -> Result<u64> {
    state.pointer("/root/size").and_then(Value::as_u64).context("the state has no size of the root")
}

/// `btrfs check` on the root, which cryptsetup decrypts in place before.
fn check(context: &Context<'_>, disk: &Path, root: &lasting::Root, encrypted: bool) -> Result<()> {
    let tools = &context.bench.tools;
    let image = context.file("root.img");
    let mut source = File::open(disk)?;
    source.seek(SeekFrom::Start(root.start))?;
    std::io::copy(&mut source.take(root.length), &mut File::create(&image)?)?;
    if encrypted {
        let key = context.file("root.key");
        std::fs::write(&key, small::KEY)?;
        let mut cryptsetup = tools.tool("cryptsetup")?;
        cryptsetup.args([
            "reencrypt",
            "--decrypt",
            "--force-offline-reencrypt",
            "--batch-mode",
            "--key-file",
        ]);
        command::run(cryptsetup.arg(&key).arg("--header").arg(context.file("header")).arg(&image))?;
    }
    let btrfs = |words: &[&str]| command::output(tools.tool("btrfs")?.args(words).arg(&image));
    let said = btrfs(&["check", "--readonly", "--check-data-csum"]).context("btrfs finds fault with root")?;
    ensure!(said.contains("no error found"), "btrfs does not say that root is sound: {said}");
    let roots = btrfs(&["inspect-internal", "dump-tree", "-t", "root"])?;
    // Subvolumes are numbered from 256, 5 is the top.
    let (count, default) = if encrypted { (3, "(256 ROOT_ITEM") } else { (2, "(FS_TREE ROOT_ITEM") };
    ensure!(roots.matches("ROOT_BACKREF").count() == count, "not {count} subvolumes:\n{roots}");
    ensure!(roots.matches("(RDONLY)").count() == 1, "not one subvolume is read-only:\n{roots}");
    ensure!(roots.contains(&format!("location key {default}")), "the default is not {default}:\n{roots}");
    Ok(())
}
