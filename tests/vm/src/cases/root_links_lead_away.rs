//! A stranger's root, read-only: one of the directories that mounts move onto at the hand-over is a link. Behind the link there is
//! a directory for as long as the initramfs is the root, and another one afterwards, with a systemd of the stranger's: by their
//! names the verified /usr goes to the one, and PID 1 comes from the other. Each is refused by name, on a plain root and on an
//! encrypted one.

use super::Context;
use super::small::{self, ENCRYPTED, KEY, PLAIN, Small};
use crate::command;
use crate::image::{Partition, types};
use crate::volume;
use anyhow::{Context as _, Result};
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

const UUID: &str = "7b2f4c1e-53a8-4d09-9e6b-0c8d1f2a3b4c";

/// Bytes of the root's partition, and of them those of a LUKS2 header.
const SIZE: u64 = 64 << 20;
const HEADER: u64 = 16 << 20;

const NAMES: [&str; 5] = ["usr", "run", "dev", "proc", "sys"];

/// One link of a plain root and one of an encrypted one.
pub fn few(context: &Context<'_>) -> Result<()> {
    plain(context, "usr")?;
    encrypted(context, "usr")?;
    plain(context, "run")
}

/// Every link of both.
pub fn all(context: &Context<'_>) -> Result<()> {
    for name in NAMES {
        plain(context, name).with_context(|| format!("/{name} of a plain root"))?;
        encrypted(context, name).with_context(|| format!("/{name} of an encrypted root"))?;
    }
    Ok(())
}

fn plain(context: &Context<'_>, link: &str) -> Result<()> {
    let root = root(context, link, SIZE)?;
    is_refused(context, PLAIN, &root, link)
}

fn encrypted(context: &Context<'_>, link: &str) -> Result<()> {
    let plain = root(context, link, SIZE - HEADER)?;
    let (root, key) = (context.file("volume.img"), context.file("volume.key"));
    fs::write(&key, KEY)?;
    File::create(&root)?.set_len(SIZE)?;
    let mut format = context.bench.tools.tool("cryptsetup")?;
    format.args(["luksFormat", "--batch-mode", "--type", "luks2", "--pbkdf", "pbkdf2"]);
    command::run(format.args(["--pbkdf-force-iterations", "1000", "--key-file"]).arg(&key).arg(&root))?;
    volume::encrypt(&context.bench.tools, &plain, &root, KEY)?;
    is_refused(context, ENCRYPTED, &root, link)
}

fn is_refused(context: &Context<'_>, definition: &str, root: &Path, link: &str) -> Result<()> {
    // It does not grow: the disk stays as it is.
    let usr = context.usr(&small::recipe(context, &format!("{definition}SizeMaxBytes=64M\n"))?)?;
    let mut partitions = context.partitions(&usr)?;
    partitions.push(Partition::of(types::ROOT, UUID, "root", root)?);
    let small = Small { disk: context.disk("disk.raw", &small::image(partitions))?, usr };
    let machine = small.machine(context)?.cmdline("ro");
    let says = format!("the root's /{link} is a link, and a mount never follows one");
    small::refuses(context, &machine, &small.disk, "handover", &[&says, "make it a directory"]).map(drop)
}

/// The stranger's file system. `/sysroot` is where a root is mounted until the hand-over.
fn root(context: &Context<'_>, link: &str, size: u64) -> Result<PathBuf> {
    let (tree, root) = (context.file("tree"), context.file("root.img"));
    if tree.exists() {
        fs::remove_dir_all(&tree)?;
    }
    for name in NAMES.iter().filter(|name| **name != link) {
        fs::create_dir_all(tree.join(name))?;
    }
    fs::create_dir_all(tree.join("etc/elsewhere"))?;
    symlink("/sysroot/etc/elsewhere", tree.join(link))?;
    let systemd = tree.join("sysroot/etc/elsewhere/lib/systemd/systemd");
    fs::create_dir_all(systemd.parent().context("systemd has a directory")?)?;
    // It prints the state of the machine, which no refusal does.
    fs::copy(&context.products.test_init, systemd)?;
    File::create(&root)?.set_len(size)?;
    command::run(
        context.bench.tools.tool("mkfs.ext4")?.args(["-q", "-F", "-b", "4096", "-d"]).arg(&tree).arg(&root),
    )?;
    Ok(root)
}
