//! An image that asks for a whole disk: /usr as it is and an empty second slot for it, an ESP with a file in it, swap, an encrypted root,
//! a /home with files in it, and a /srv that takes what is left. All of them appear by the first boot, each valid for
//! blkid and the checkers; the second boot changes nothing; on a disk that grew the last one grows, and nothing else. A
//! partition that was there without a label gets the one of its definition with the same write, one may have no
//! identity, and the log names the definition that each partition was taken for.

use super::{Context, lasting, small};
use crate::command;
use crate::disk::Disk;
use crate::image::{Image, Partition, types};
use crate::initramfs::Initramfs;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// Files of repart.d, in their order. A partition that exists is meant by its type alone, and must not grow.
const DEFINITIONS: [(&str, &str); 10] = [
    ("05-data", "Type=linux-generic\nLabel=data\nSizeMinBytes=4K\nSizeMaxBytes=4K\n"),
    ("10-usr", "Type=usr\nSizeMinBytes=4K\nSizeMaxBytes=4K\n"),
    ("11-usr-verity", "Type=usr-verity\nSizeMinBytes=4K\nSizeMaxBytes=4K\n"),
    (
        "20-esp",
        "Type=esp\nFormat=vfat\nSizeMinBytes=100M\nSizeMaxBytes=100M\nCopyFiles=/usr/lib/os-release:/EFI/os-release\n",
    ),
    ("30-usr-b", "Type=usr\nFormat=empty\nSizeMinBytes=8M\nSizeMaxBytes=8M\n"),
    ("31-usr-verity-b", "Type=usr-verity\nLabel=_empty\nSizeMinBytes=1M\nSizeMaxBytes=1M\n"),
    ("40-swap", "Type=swap\nFormat=swap\nUUID=null\nSizeMinBytes=16M\nSizeMaxBytes=16M\n"),
    ("50-root", "Type=root\nLabel=root\nFormat=ext4\nEncrypt=key-file\nSizeMinBytes=96M\nSizeMaxBytes=96M\n"),
    (
        "60-home",
        "Type=home\nFormat=ext4\nSizeMinBytes=40M\nSizeMaxBytes=40M\nMakeDirectories=/alice\n\
         CopyFiles=/usr/lib/os-release:/alice/os-release\n",
    ),
    ("70-srv", "Type=srv\nFormat=ext4\nSizeMinBytes=40M\n"),
];

/// Label and type by blkid of the partitions that the first boot makes. The size in MiB; None: the rest of the disk.
const MADE: [(&str, &str, Option<u64>); 7] = [
    ("esp", "vfat", Some(100)),
    ("_empty", "", Some(8)),
    ("_empty", "", Some(1)),
    ("swap", "swap", Some(16)),
    ("root", "crypto_LUKS", Some(96)),
    ("home", "ext4", Some(40)),
    ("srv", "ext4", None),
];

const MIB: u64 = 1 << 20;

/// The partition that was there.
const DATA: &str = "0b5e7a11-1d2c-4b3a-8f4e-5d6c7b8a9f05";

pub fn run(context: &Context<'_>) -> Result<()> {
    let recipe = DEFINITIONS.iter().fold(small::bare_recipe(context)?, |recipe, (name, text)| {
        let path = format!("lib/repart.d/{name}.conf");
        recipe.file(&path, format!("[Partition]\n{text}").into_bytes(), 0o644)
    });
    let usr = context.usr(&recipe)?;
    let content = context.file("data");
    std::fs::write(&content, vec![7; 1 << 20])?;
    let mut partitions = context.partitions(&usr)?;
    partitions.push(Partition::of(types::LINUX, DATA, "", &content)?);
    let disk = context.disk("disk.raw", &Image { size: 576 * MIB, ..Image::new(partitions) })?;
    let machine =
        lasting::machine(context, Initramfs::new("virtio").module("vfat"), &usr)?.disk(Disk::new(&disk));

    let mut existing = table(context, &disk)?;
    let last = existing.last_mut().context("an empty table")?;
    ensure!(last.label.is_empty(), "{last:?} has a label before the first boot");
    last.label = "data".into();
    let outcome = context.run(&machine.clone().cmdline(lasting::WRITE).cmdline("hermetic.log=info"))?;
    let first = lasting::first_state(&outcome)?;
    outcome.line("is taken for 10-usr.conf: number 1 of type usr-x86-64 on the disk and among the")?;
    let made = table(context, &disk)?;
    ensure!(made.starts_with(&existing), "what was there is no longer:\n{existing:?}\n{made:?}");
    let new: Vec<&Row> = made.iter().skip(existing.len()).collect();
    ensure!(new.len() == MADE.len(), "the first boot made {new:?}");
    for (row, (label, kind, size)) in new.iter().zip(MADE) {
        ensure!(row.label == label, "{row:?} instead of {label}");
        ensure!(size.is_none_or(|size| row.length == size * MIB), "{row:?} instead of {size:?} MiB");
        ensure!(row.kind == kind, "{row:?} instead of `{kind}`");
        check(context, &disk, row)?;
    }
    let swap = new.get(3).context("no swap")?;
    ensure!(swap.guid.bytes().all(|digit| matches!(digit, b'0' | b'-')), "UUID=null has become {swap:?}");
    let esp = part(context, &disk, new.first().context("no ESP")?)?;
    let holds =
        |text: &[u8]| -> Result<bool> { Ok(std::fs::read(&esp)?.windows(text.len()).any(|at| at == text)) };
    ensure!(holds(b"ID=debian")? && holds(b"EFI  ")?, "the ESP lacks what CopyFiles= names");
    let home = part(context, &disk, new.get(5).context("no home")?)?;
    let mut debugfs = context.bench.tools.tool("debugfs")?;
    let copied = command::output(debugfs.args(["-R", "cat /alice/os-release"]).arg(&home))?;
    ensure!(copied.contains("ID=debian"), "/home lacks what CopyFiles= names: {copied}");

    lasting::boots_again(context, &machine, &first)?;
    ensure!(table(context, &disk)? == made, "the second boot changed the table");

    let file = OpenOptions::new().write(true).open(&disk)?;
    file.set_len(file.metadata()?.len() + 64 * MIB)?;
    lasting::boots_again(context, &machine, &first)?;
    let grown = table(context, &disk)?;
    let (Some(before), Some(after)) = (made.last(), grown.last()) else { anyhow::bail!("an empty table") };
    ensure!(
        made.get(..made.len() - 1) == grown.get(..made.len() - 1),
        "another partition changed: {grown:?}"
    );
    ensure!(
        after.length == before.length + 64 * MIB && after.start == before.start,
        "{before:?} has become {after:?}"
    );
    check(context, &disk, after)
}

/// A partition of the table.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    label: String,
    guid: String,
    start: u64,
    length: u64,
    /// The type of its content by blkid.
    kind: String,
}

/// The partitions in the order of their numbers, from a table without fault.
fn table(context: &Context<'_>, disk: &Path) -> Result<Vec<Row>> {
    let tools = &context.bench.tools;
    // sfdisk finds fault with a disk that has grown since.
    lasting::faultless(context, disk, 512)?;
    let table: Value =
        serde_json::from_str(&command::output(tools.tool("sfdisk")?.arg("--json").arg(disk))?)?;
    let rows =
        table.pointer("/partitiontable/partitions").and_then(Value::as_array).context("no partitions")?;
    rows.iter()
        .map(|row| {
            let text = |field: &str| row.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
            let bytes = |field: &str| {
                Ok::<_, anyhow::Error>(row.get(field).and_then(Value::as_u64).context("no place")? * 512)
            };
            let (start, length) = (bytes("start")?, bytes("size")?);
            let mut blkid = tools.tool("blkid")?;
            blkid.args([
                "-p",
                "-o",
                "value",
                "-s",
                "TYPE",
                "-O",
                &start.to_string(),
                "-S",
                &length.to_string(),
            ]);
            // It ends with status 2 where it knows nothing.
            let kind = command::output(blkid.arg(disk)).unwrap_or_default().trim().to_owned();
            Ok(Row { label: text("name"), guid: text("uuid"), start, length, kind })
        })
        .collect()
}

/// Runs the checker for the content of a partition.
fn check(context: &Context<'_>, disk: &Path, row: &Row) -> Result<()> {
    let image = part(context, disk, row)?;
    let tools = &context.bench.tools;
    match row.kind.as_str() {
        "ext4" => command::run(tools.tool("e2fsck")?.arg("-fn").arg(&image)),
        "vfat" => command::run(tools.tool("fsck.vfat")?.arg("-n").arg(&image)),
        "crypto_LUKS" => command::run(tools.tool("cryptsetup")?.arg("luksDump").arg(&image)),
        _ => Ok(()),
    }
    .with_context(|| format!("{row:?}"))
}

fn part(context: &Context<'_>, disk: &Path, row: &Row) -> Result<PathBuf> {
    let image = context.file("part.img");
    let mut source = File::open(disk)?;
    source.seek(SeekFrom::Start(row.start))?;
    std::io::copy(&mut source.take(row.length), &mut File::create(&image)?)?;
    Ok(image)
}
