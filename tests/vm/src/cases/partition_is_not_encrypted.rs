//! /usr's repart.d says that swap, /home and /var are encrypted, and a stranger's disk has a plain one: in the place of the
//! encrypted one, beside one that is flagged so that discovery passes it over, flagged so itself, alone on a disk that was never
//! booted. All are refused before a byte of the disk changes. `hermetic.root-policy=existing` takes them. A volume that another key
//! opens is encrypted: it is left alone byte for byte, and the boot goes on; systemd makes the same units of it as on a boot without
//! hermetic-init, finds its key and uses it.

use super::small::{self, KEY, Small};
use super::{Context, TEST_INIT, lasting, script, tpm2};
use crate::command;
use crate::disk::Disk;
use crate::floor;
use crate::image::{self, Image, Partition, types};
use crate::initramfs::Initramfs;
use crate::inside::Inside;
use crate::machine::Exit;
use crate::numbers;
use crate::usr::Recipe;
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

const ROOT: &str =
    "[Partition]\nType=root\nLabel=root\nFormat=ext4\nEncrypt=key-file\nSizeMinBytes=64M\nSizeMaxBytes=64M\n";
/// The types beside root.
const OTHERS: [&str; 3] = ["swap", "home", "var"];

const UUIDS: [&str; 2] = ["f1b1d3c0-2f64-4c0e-9a8e-1d0c6f5b7a01", "f1b1d3c0-2f64-4c0e-9a8e-1d0c6f5b7a02"];

/// The size of what a stranger writes.
const SIZE: u64 = 32 << 20;

/// The key of a volume that is none of ours.
const THEIRS: &str = "the key of a stranger";

fn with_definitions(recipe: Recipe, kinds: &[&str]) -> Recipe {
    kinds.iter().fold(recipe.repart(ROOT), |recipe, kind| {
        let text = format!("[Partition]\nType={kind}\nEncrypt=key-file\nSizeMinBytes=4K\nSizeMaxBytes=32M\n");
        recipe.file(&format!("lib/repart.d/60-{kind}.conf"), text.into_bytes(), 0o644)
    })
}

pub fn run(context: &Context<'_>) -> Result<()> {
    let usr = context.usr(&with_definitions(small::bare_recipe(context)?, &OTHERS))?;
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
        small::foretold(context, &machine, &there, "provision", &says).context(kind)?;
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
    small::foretold(context, &machine, &there, "provision", &says).context("beside")?;
    sfdisk(&["--part-attrs", &name, &number.to_string(), "GUID:63"])?;
    small::foretold(context, &machine, &there, "provision", &says).context("flagged itself")?;

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
    small::foretold(context, &machine, &new, "provision", &says).context("a first boot").map(drop)
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

/// File systems for the volumes of a stranger, made inside of them.
const FILL: &str = "\
export DM_DISABLE_UDEV=1
printf %s 'the key of a stranger' >/run/theirs
cryptsetup open --key-file /run/theirs /dev/vda3 theirs
mkfs.ext4 -q /dev/mapper/theirs
cryptsetup close theirs
cryptsetup open --key-file /run/theirs /dev/vda4 theirs
mkswap /dev/mapper/theirs
cryptsetup close theirs";

/// The files of the package systemd-cryptsetup that the units need, beside those of [`tpm2`].
const CRYPTSETUP: [(&str, u32); 3] = [
    ("bin/systemd-cryptsetup", 0o755),
    ("lib/systemd/system/cryptsetup.target", 0o644),
    ("lib/systemd/system/cryptsetup-pre.target", 0o644),
];

/// The units that systemd's generators make; their own names of disks count from the start of the machine.
const UNITS: &str = "cd /run/systemd && find generator* ! -type d | sort | while read -r f; do echo \"== $f\"; \
                     if test -L $f; then readlink $f; else cat $f; fi; done | sed 's,\\(diskseq.\\)[0-9]*,\\1N,g'";
/// The use of the volumes.
const USED: &str = "findmnt --noheadings --raw --output SOURCE,FSTYPE,OPTIONS /home; \
                    swapon --noheadings --raw --show=TYPE,SIZE,PRIO; \
                    for name in home swap; do cryptsetup status $name | grep -E 'type|device'; done; \
                    systemctl is-active home.mount dev-mapper-swap.swap systemd-cryptsetup@home systemd-cryptsetup@swap";

/// By the whole systemd, after a boot by hermetic-init and after one by an init that does nothing else than to map and to mount what it
/// is told.
pub fn by_systemd(context: &Context<'_>) -> Result<()> {
    let recipe = with_definitions(tpm2::equip(context, context.recipe()?)?, &["swap", "home"]);
    let mut recipe = recipe.repart(&ROOT.replace("64M", "256M"));
    for (path, mode) in CRYPTSETUP {
        let content = fs::read(context.bench.own_tools.file(&format!("usr/{path}")))?;
        recipe = recipe.file(path, content, mode);
    }
    let usr = context.usr(&recipe)?;
    let other = volume(context)?;
    let mut partitions = context.partitions(&usr)?;
    partitions.push(Partition::of(types::HOME, UUIDS[0], "home", &other)?);
    partitions.push(Partition::of(types::SWAP, UUIDS[1], "swap", &other)?);
    let disk = context.disk("disk.raw", &Image { size: 768 << 20, ..Image::new(partitions) })?;

    // The first boot makes the root.
    let first = lasting::machine(context, Initramfs::new("virtio"), &usr)?.disk(Disk::new(&disk));
    let first = first.disk(script::disk(context, FILL)?).cmdline(&script::word("vdb"));
    script::said(&context.run(&first)?.expect(&Exit::PowerOff)?.state()?)?;

    let ours = context.initramfs(&Initramfs::new("virtio").key(KEY))?;
    let job = numbers::job(context, &usr, &disk, "root", Some(KEY))?;
    let floor = floor::make(context.bench, context.products, &job)?;
    let hash = usr.root_hash().context("the appliance's /usr is verified")?;
    let mut said = Vec::new();
    for (name, initramfs) in [("ours", ours), ("floor", floor)] {
        let inside = Inside::new(&context.file(name))
            .system_credential("cryptsetup.passphrase", THEIRS.as_bytes())
            .ask("units", UNITS)
            .ask("used", USED);
        let machine = context.machine().deadline(Duration::from_secs(600)).initramfs(&initramfs);
        let machine = machine.cmdline(&format!("usrhash={hash}")).disk(Disk::new(&disk));
        context.run(&inside.equip(machine)?)?.expect(&Exit::PowerOff).context(name)?;
        let answers = inside.read()?;
        let two = [answers.text("units")?.to_owned(), answers.text("used")?.to_owned()];
        if name == "ours" {
            answers.expect("state", "running")?;
            untouched_headers(context, &disk, &other)?;
        }
        said.push(two);
    }
    let [[units, used], floors] = said.as_slice() else { bail!("two boots said {said:?}") };
    ensure!([units, used] == floors.each_ref(), "systemd says {said:#?}");
    for part in ["systemd-cryptsetup@home.service", "systemd-cryptsetup@swap.service", "dev-mapper-swap.swap"]
    {
        ensure!(units.contains(part), "systemd makes no {part}: {units}");
    }
    let is_used =
        used.starts_with("/dev/mapper/home ext4") && used.ends_with("\nactive\nactive\nactive\nactive");
    ensure!(is_used, "{used}");
    Ok(())
}

/// The bytes before the data of a volume that cryptsetup makes.
const HEADERS: usize = 16 << 20;

/// Checks that /home and swap have the headers and the keyslots of this volume.
fn untouched_headers(context: &Context<'_>, disk: &Path, other: &Path) -> Result<()> {
    let expected = fs::read(other)?;
    for kind in ["swap", "home"] {
        let mut now = vec![0; HEADERS];
        File::open(disk)?.read_exact_at(&mut now, place(context, disk, kind)?.start)?;
        ensure!(expected.starts_with(&now), "the header of a volume of another key was changed: {kind}");
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
