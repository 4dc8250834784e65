//! `cargo vm`: set-up, images and machines by hand.

use crate::arguments::Arguments;
use crate::bench::Bench;
use crate::disk::{Disk, Interface};
use crate::image::{self, Image};
use crate::machine::{Exit, Machine};
use crate::usr::{Recipe, UsrFs};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The text of `cargo vm help`.
pub const HELP: &str = "\
cargo vm setup                  installs and makes everything that machines need
cargo vm tools                  prints where the tool root is
cargo vm appliance              prints where the appliance's kernel, modules and /usr are
cargo vm references             prints where systemd's and cryptsetup's test files and the packages' fragments are
cargo vm packages -o DIR         makes Debian packages of the programs, with their checksums
cargo vm image -o FILE          makes a disk with a verified /usr and free space, prints its root hash
    [--usr-fs erofs|squashfs|ext4|btrfs] [--unverified] [--repart FILE] [--add FILE=PATH-BELOW-USR]
    [--remove PATH-BELOW-USR] [--size MIB] [--sector-size 512|4096] [--label NAME]
cargo vm boot                   boots anything and shows its console; Debian's kernel unless told
    [--kernel FILE] [--initramfs FILE] [--cmdline WORDS] [--disk FILE]... [--interface virtio|nvme|scsi|sata|pvscsi]
    [--sector-size 512|4096] [--firmware ovmf] [--variables FILE] [--memory MIB] [--smp N] [--icount]
    [--timeout SECONDS] [--log FILE] [--record FILE]

The cache is $HERMETIC_CACHE, else /var/cache/hermetic-init. HERMETIC_ACCEL=kvm|tcg overrides the probe.";

/// Carries out the words.
///
/// # Errors
/// They are not understood, or it cannot be done.
pub fn vm(mut words: Arguments) -> Result<()> {
    match words.word().as_deref() {
        Some("setup") => {
            words.end()?;
            Bench::open().map(drop)
        }
        Some("tools") => {
            words.end()?;
            println!("{}", Bench::open()?.tools.path().display());
            Ok(())
        }
        Some("appliance") => {
            words.end()?;
            let appliance = Bench::open()?.appliance;
            println!("kernel  {}", appliance.kernel().display());
            println!("modules {}", appliance.modules().display());
            println!("usr     {}", appliance.usr().display());
            Ok(())
        }
        Some("references") => {
            words.end()?;
            let reference = Bench::open()?.reference;
            println!("systemd    {}", reference.systemd.display());
            println!("cryptsetup {}", reference.cryptsetup.display());
            println!("fragments  {}", reference.fragments.display());
            println!("judges     {}", reference.judges.display());
            Ok(())
        }
        Some("packages") => {
            let into = words.value("-o")?.context("cargo vm packages needs -o DIR")?;
            words.end()?;
            crate::packages::release(Path::new(&into))
        }
        Some("image") => image(words),
        Some("boot") => boot(words),
        Some("help") | None => {
            println!("{HELP}");
            Ok(())
        }
        Some(other) => bail!("cargo vm knows no `{other}`\n{HELP}"),
    }
}

fn image(mut words: Arguments) -> Result<()> {
    let output = words.value("-o")?.context("cargo vm image needs -o FILE")?;
    let label = words.value("--label")?.unwrap_or_else(|| "appliance_1".to_owned());
    let size = words.number("--size")?;
    let sector = sector_size(&mut words)?;
    let recipe = recipe(&mut words)?;
    words.end()?;

    let bench = Bench::open()?;
    let usr = recipe.make(&bench.cache, &bench.tools, &bench.appliance)?;
    let mut disk = Image::new(image::usr_partitions(&usr, &label)?);
    disk.sector = sector;
    if let Some(mebibytes) = size {
        disk.size = mebibytes.checked_mul(1 << 20).context("--size is too large")?;
    }
    disk.write(&bench.tools, Path::new(&output))?;
    if let Some(root_hash) = usr.root_hash() {
        println!("{root_hash}");
    }
    Ok(())
}

fn recipe(words: &mut Arguments) -> Result<Recipe> {
    let mut recipe = Recipe::new();
    if let Some(name) = words.value("--usr-fs")? {
        recipe = recipe.fs(UsrFs::parse(&name)?);
    }
    if words.flag("--unverified") {
        recipe = recipe.unverified();
    }
    if let Some(path) = words.value("--repart")? {
        recipe = recipe.repart(&fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?);
    }
    for pair in words.values("--add")? {
        let (source, place) = pair.split_once('=').context("--add needs FILE=PATH-BELOW-USR")?;
        let content = fs::read(source).with_context(|| format!("cannot read {source}"))?;
        recipe = recipe.file(place, content, 0o755);
    }
    for path in words.values("--remove")? {
        recipe = recipe.without(&path);
    }
    Ok(recipe)
}

fn sector_size(words: &mut Arguments) -> Result<u32> {
    match words.value("--sector-size")?.as_deref() {
        None | Some("512") => Ok(512),
        Some("4096") => Ok(4096),
        Some(other) => bail!("--sector-size {other}: 512 or 4096"),
    }
}

fn boot(mut words: Arguments) -> Result<()> {
    let kernel = words.value("--kernel")?;
    let initramfs = words.value("--initramfs")?;
    let cmdline = words.value("--cmdline")?;
    let sector = sector_size(&mut words)?;
    let interface =
        words.value("--interface")?.map_or(Ok(Interface::default()), |name| Interface::parse(&name))?;
    let record = words.value("--record")?;
    let mut disks = Vec::new();
    for path in words.values("--disk")? {
        if !Path::new(&path).exists() {
            bail!("--disk {path}: there is no such file");
        }
        disks.push(Disk::new(Path::new(&path)).interface(interface).sector(sector));
    }
    if let (Some(log), Some(disk)) = (record, disks.first_mut()) {
        // blklogwrites opens a file, it makes none.
        fs::File::create(&log).with_context(|| format!("cannot write {log}"))?;
        *disk = disk.clone().record(Path::new(&log));
    }
    let firmware = words.value("--firmware")?;
    let variables = words.value("--variables")?;
    let memory = words.number("--memory")?;
    let processors = words.number("--smp")?;
    let timeout = words.number("--timeout")?.unwrap_or(300);
    let log = words.value("--log")?;
    let icount = words.flag("--icount");
    words.end()?;

    let bench = Bench::open()?;
    let scratch = bench.cache.scratch("boot")?;
    let mut machine = Machine::new(&kernel.map_or_else(|| bench.appliance.kernel(), PathBuf::from));
    machine = machine.echo().deadline(Duration::from_secs(timeout));
    if let Some(path) = initramfs {
        machine = machine.initramfs(Path::new(&path));
    }
    if let Some(words) = cmdline {
        machine = machine.cmdline(&words);
    }
    for disk in disks {
        machine = machine.disk(disk);
    }
    match (firmware.as_deref(), variables) {
        (None, None) => {}
        (None | Some("ovmf"), Some(path)) => machine = machine.firmware(Path::new(&path)),
        (Some("ovmf"), None) => machine = machine.firmware(&scratch.join("variables.fd")),
        (Some(other), _) => bail!("--firmware {other}: ovmf is the one there is"),
    }
    if let Some(mebibytes) = memory {
        machine = machine.memory(u32::try_from(mebibytes).context("--memory is too large")?);
    }
    if let Some(count) = processors {
        machine = machine.processors(u32::try_from(count).context("--smp is too large")?);
    }
    if icount {
        machine = machine.icount();
    }
    let log = log.map_or_else(|| scratch.join("console.log"), PathBuf::from);
    let outcome = machine.run(&bench.tools, bench.accelerator, &log)?;
    let last = outcome.lines.last().map_or(0.0, |line| line.at.as_secs_f64());
    eprintln!("==> {:?} after {last:.1} s ({})", outcome.exit, bench.accelerator.name());
    match outcome.exit {
        Exit::PowerOff | Exit::Reboot => Ok(()),
        Exit::Panic => bail!("the kernel panicked"),
        Exit::Deadline(time) => bail!("the machine still ran after {time:?}"),
        Exit::PowerCut => bail!("the machine was killed"),
        Exit::Crash(reason) => bail!("QEMU failed: {reason}"),
    }
}
