//! `Format=btrfs`, in the partition itself and encrypted, with /var as a subvolume: Debian's whole systemd comes up
//! twice from the same disk, the second time with the files of the first, and btrfs finds no fault with either.

use super::Context;
use super::volatile::{came_up, questions};
use crate::command;
use crate::definition;
use crate::disk::Disk;
use crate::image::Image;
use crate::initramfs::Initramfs;
use crate::inside::Inside;
use crate::machine::Exit;
use crate::volume;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A whole systemd under an emulated processor, beside other machines.
const DEADLINE: Duration = Duration::from_secs(600);

/// Bytes of a sector of the disk.
const SECTOR: u64 = 512;

/// In the partition itself.
pub fn plain(context: &Context<'_>) -> Result<()> {
    let root = root(context, &twice(context, "off")?)?;
    check(context, &root)
}

/// In a LUKS2 volume.
pub fn encrypted(context: &Context<'_>) -> Result<()> {
    let (root, plain) = (root(context, &twice(context, "key-file")?)?, context.file("plain.img"));
    volume::decrypt(&context.bench.tools, &root, &definition::KEY, &plain)?;
    check(context, &plain)
}

fn twice(context: &Context<'_>, encrypt: &str) -> Result<PathBuf> {
    let text = format!("[Partition]\nType=root\nFormat=btrfs\nEncrypt={encrypt}\nSubvolumes=/var\n");
    let usr = context.usr(&context.recipe()?.repart(&text))?;
    let hash = usr.root_hash().context("the appliance's /usr is verified")?;
    let disk = context.disk("disk.raw", &Image::new(context.partitions(&usr)?))?;
    let initramfs = context.initramfs(&Initramfs::new("virtio").module("btrfs").key(&definition::KEY))?;
    let machine = context.machine().deadline(DEADLINE).initramfs(&initramfs);
    let machine = machine.cmdline(&format!("usrhash={hash}")).disk(Disk::new(&disk));
    for (name, proof) in [
        ("first", "echo from the first boot >/var/lib/hermetic-proof; cat /var/lib/hermetic-proof"),
        ("second", "cat /var/lib/hermetic-proof"),
    ] {
        let inside = questions(Inside::new(&context.file(name)))
            .ask("proof", proof)
            // The top of a subvolume has this inode (btrfs: BTRFS_FIRST_FREE_OBJECTID).
            .ask("subvolume", "stat --format=%i /var")
            .ask("directory", "stat --format=%i /etc");
        let outcome = context.run(&inside.equip(machine.clone())?)?;
        outcome.expect(&Exit::PowerOff)?;
        let answers = inside.read()?;
        came_up(&answers).context(name)?;
        answers.expect("root", "btrfs")?.expect("var", "btrfs")?.expect("proof", "from the first boot")?;
        answers.expect("subvolume", "256")?;
        ensure!(answers.text("directory")? != "256", "/etc is a subvolume as well");
    }
    Ok(disk)
}

/// The content of the third partition.
fn root(context: &Context<'_>, disk: &Path) -> Result<PathBuf> {
    let tools = &context.bench.tools;
    let table: Value =
        serde_json::from_str(&command::output(tools.tool("sfdisk")?.arg("--json").arg(disk))?)?;
    let field = |field: &str| {
        let field = table.pointer(&format!("/partitiontable/partitions/2/{field}")).and_then(Value::as_u64);
        field.map(|sectors| sectors * SECTOR).with_context(|| format!("no third partition: {table}"))
    };
    let root = context.file("root.img");
    let mut source = File::open(disk)?;
    source.seek(SeekFrom::Start(field("start")?))?;
    std::io::copy(&mut source.take(field("size")?), &mut File::create(&root)?)?;
    Ok(root)
}

/// `btrfs check`, which also reads the content of files.
fn check(context: &Context<'_>, image: &Path) -> Result<()> {
    let mut btrfs = context.bench.tools.tool("btrfs")?;
    btrfs.args(["check", "--readonly", "--check-data-csum"]).arg(image);
    let said = command::output(&mut btrfs).context("btrfs finds fault with root")?;
    ensure!(said.contains("no error found"), "btrfs does not say that root is sound: {said}");
    Ok(())
}
