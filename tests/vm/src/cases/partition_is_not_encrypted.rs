//! /usr's repart.d says that swap, /home and /var are encrypted, and a stranger's disk has a plain one: in the place of the
//! encrypted one, beside one that is flagged so that discovery passes it over, alone on a disk that was never booted. All are
//! refused before a byte of the disk changes. `hermetic.root-policy=existing` takes them. A volume that another key opens is
//! encrypted: it is left alone byte for byte, and the boot goes on.

use super::small::{self, Small};
use super::{Context, TEST_INIT};
use crate::command;
use crate::disk::Disk;
use crate::image::{self, Image, Partition, types};
use crate::machine::Exit;
use crate::usr::Recipe;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

const ROOT: &str =
    "[Partition]\nType=root\nLabel=root\nFormat=ext4\nEncrypt=key-file\nSizeMinBytes=64M\nSizeMaxBytes=64M\n";
/// The types beside root.
const OTHERS: [&str; 3] = ["swap", "home", "var"];

const UUIDS: [&str; 2] = ["f1b1d3c0-2f64-4c0e-9a8e-1d0c6f5b7a01", "f1b1d3c0-2f64-4c0e-9a8e-1d0c6f5b7a02"];

/// The size of what a stranger writes.
const SIZE: u64 = 32 << 20;

/// The key of a volume that is none of ours.
const THEIRS: &str = "the key of a stranger";

fn with_definitions(recipe: Recipe) -> Recipe {
    OTHERS.iter().fold(recipe.repart(ROOT), |recipe, kind| {
        let text = format!("[Partition]\nType={kind}\nEncrypt=key-file\nSizeMinBytes=4K\nSizeMaxBytes=32M\n");
        recipe.file(&format!("lib/repart.d/60-{kind}.conf"), text.into_bytes(), 0o644)
    })
}

pub fn run(context: &Context<'_>) -> Result<()> {
    let usr = context.usr(&with_definitions(small::bare_recipe(context)?))?;
    let disk = Image { size: 512 << 20, ..Image::new(context.partitions(&usr)?) };
    let small = Small { disk: context.disk("disk.raw", &disk)?, usr };
    small.boot(context, "")?;
    let (machine, there) = (small.machine(context)?, context.file("there.raw"));
    let (swap, ext4) = (plain(context, "mkswap", &[])?, plain(context, "mkfs.ext4", &["-q", "-F"])?);

    for (kind, content) in [("swap", &swap), ("home", &ext4)] {
        image::copy(&small.disk, &there)?;
        let place = place(context, &there, kind)?;
        image::overwrite(&there, place.start, &fs::read(content)?)?;
        let (device, file) = (format!("vda{}", place.number), format!("60-{kind}.conf"));
        let says = [device.as_str(), "not encrypted", &file, "hermetic.root-policy=existing"];
        small::refuses(context, &machine, &there, "provision", &says).context(kind)?;
    }
    // The last one by the words of a fleet whose partitions are older than repart.d's line.
    let existing = machine.clone().cmdline("hermetic.root-policy=existing").disk(Disk::new(&there));
    let outcome = context.run(&existing.cmdline(&format!("hermetic.init={TEST_INIT}")))?;
    outcome.expect(&Exit::PowerOff)?.line("less protected than 60-home.conf says, and taken as it is")?;

    image::copy(&small.disk, &there)?;
    let encrypted = place(context, &there, "swap")?;
    let sfdisk = |words: &[&str]| -> Result<()> {
        let mut sfdisk = context.bench.tools.tool("sfdisk")?;
        command::run(sfdisk.args(["--no-reread", "--no-tell-kernel"]).args(words))
    };
    let name = there.display().to_string();
    sfdisk(&["--part-attrs", &name, &encrypted.number.to_string(), "GUID:63"])?;
    let beside = Partition::of(types::SWAP, UUIDS[0], "beside", &swap)?;
    let number = image::append(&context.bench.tools, &there, &beside)?;
    let device = format!("vda{number}");
    let says = [device.as_str(), "not encrypted", "60-swap.conf"];
    small::refuses(context, &machine, &there, "provision", &says).context("beside")?;

    // Under another key.
    image::copy(&small.disk, &there)?;
    let other = volume(context)?;
    for kind in ["swap", "home"] {
        image::overwrite(&there, place(context, &there, kind)?.start, &fs::read(&other)?)?;
    }
    let words = format!("hermetic.init={TEST_INIT}");
    context.run(&machine.clone().disk(Disk::new(&there)).cmdline(&words))?.expect(&Exit::PowerOff)?;
    untouched(context, &there, &other)?;

    let mut partitions = context.partitions(&small.usr)?;
    partitions.push(Partition::of(types::VAR, UUIDS[1], "var", &ext4)?);
    let new = context.disk("new.raw", &Image { size: 512 << 20, ..Image::new(partitions) })?;
    let says = ["vda3", "not encrypted", "60-var.conf"];
    small::refuses(context, &machine, &new, "provision", &says).context("a first boot").map(drop)
}

/// Checks that /home and swap are these bytes.
fn untouched(context: &Context<'_>, disk: &Path, other: &Path) -> Result<()> {
    for kind in ["swap", "home"] {
        let mut now = vec![0; SIZE as usize];
        File::open(disk)?.read_exact_at(&mut now, place(context, disk, kind)?.start)?;
        ensure!(now == fs::read(other)?, "the volume of another key was changed: {kind}");
    }
    Ok(())
}

/// An image that this program made.
fn plain(context: &Context<'_>, program: &str, options: &[&str]) -> Result<PathBuf> {
    let image = context.file(&format!("{program}.img"));
    File::create(&image)?.set_len(SIZE)?;
    command::run(context.bench.tools.tool(program)?.args(options).arg(&image))?;
    Ok(image)
}

/// A volume under a key that is none of ours.
fn volume(context: &Context<'_>) -> Result<PathBuf> {
    let (image, key) = (context.file("other.img"), context.file("other.key"));
    File::create(&image)?.set_len(SIZE)?;
    fs::write(&key, THEIRS)?;
    let mut cryptsetup = context.bench.tools.tool("cryptsetup")?;
    cryptsetup.args(["luksFormat", "--batch-mode", "--type", "luks2", "--pbkdf", "pbkdf2"]);
    command::run(cryptsetup.args(["--pbkdf-force-iterations", "1000", "--key-file"]).arg(&key).arg(&image))?;
    Ok(image)
}

/// The place of a partition in a table.
struct Place {
    number: usize,
    start: u64,
}

/// The place of the partition with this label.
fn place(context: &Context<'_>, disk: &Path, label: &str) -> Result<Place> {
    let mut sfdisk = context.bench.tools.tool("sfdisk")?;
    let table: Value = serde_json::from_str(&command::output(sfdisk.arg("--json").arg(disk))?)?;
    let rows = table.pointer("/partitiontable/partitions").and_then(Value::as_array).context("no table")?;
    let is = |row: &&Value| row.get("name").and_then(Value::as_str) == Some(label);
    let number = rows.iter().position(|row| is(&row)).with_context(|| format!("no {label}: {table}"))?;
    let start = rows.iter().find(is).and_then(|row| row.get("start")).and_then(Value::as_u64);
    Ok(Place { number: number + 1, start: 512 * start.context("no start")? })
}
