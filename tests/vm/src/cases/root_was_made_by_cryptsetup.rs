//! The root was not made by hermetic-init: LUKS2 by cryptsetup and ext4 by mkfs.ext4, empty. Argon2id and PBKDF2,
//! encryption sectors of 512 and of 4096 bytes, strangers' passphrases in the key slots before ours. It is opened,
//! populated and found again.
//!
//! cryptsetup writes the header here; it maps the volume in a machine of its own, for mkfs.ext4, because the host may
//! have no device-mapper.

use super::small::{self, DEADLINE, ENCRYPTED, KEY};
use super::{Context, lasting};
use crate::command;
use crate::disk::Disk;
use crate::image::{Image, Partition, types};
use crate::initramfs::Initramfs;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Cheap, so that an emulated processor is done in seconds.
const ARGON2ID: &[&str] = &[
    "--pbkdf",
    "argon2id",
    "--pbkdf-memory",
    "32768",
    "--pbkdf-parallel",
    "2",
    "--pbkdf-force-iterations",
    "4",
];
const PBKDF2: &[&str] = &["--pbkdf", "pbkdf2", "--hash", "sha256", "--pbkdf-force-iterations", "1000"];

/// A volume: its options, the derivations of the strangers' slots, and of our slot behind them.
struct Volume {
    name: &'static str,
    options: &'static [&'static str],
    strangers: &'static [&'static [&'static str]],
    ours: &'static [&'static str],
}

const VOLUMES: [Volume; 2] = [
    Volume {
        name: "argon2id",
        options: &["--sector-size", "512", "--key-size", "256"],
        strangers: &[PBKDF2, PBKDF2],
        ours: ARGON2ID,
    },
    Volume {
        name: "pbkdf2",
        options: &["--sector-size", "4096", "--label", "made elsewhere"],
        strangers: &[ARGON2ID, PBKDF2],
        ours: PBKDF2,
    },
];

const GUID: &str = "d2c4b6a8-9e7f-4d5c-8b3a-1f0e2d4c6b8a";

pub fn run(context: &Context<'_>) -> Result<()> {
    fs::write(context.file("key"), KEY)?;
    for number in 0..2 {
        fs::write(context.file(&format!("stranger{number}")), format!("stranger {number}"))?;
    }
    for volume in &VOLUMES {
        encrypt(context, volume)?;
    }
    format(context)?;
    let usr = context.usr(&small::recipe(context, ENCRYPTED)?)?;
    for volume in &VOLUMES {
        boot(context, &usr, volume).context(volume.name)?;
    }
    Ok(())
}

fn image(context: &Context<'_>, volume: &Volume) -> PathBuf {
    context.file(&format!("{}.img", volume.name))
}

/// Writes the header and every key slot into a file.
fn encrypt(context: &Context<'_>, volume: &Volume) -> Result<()> {
    let path = image(context, volume);
    File::create(&path)?.set_len(96 << 20)?;
    let cryptsetup = |action: &str, options: &[&[&str]], key: &Path, new: Option<&Path>| {
        let mut cryptsetup = context.bench.tools.tool("cryptsetup")?;
        cryptsetup.args([action, "--batch-mode", "--key-file"]).arg(key).args(options.concat()).arg(&path);
        command::run(cryptsetup.args(new))
    };
    let stranger = |number: usize| context.file(&format!("stranger{number}"));
    for (number, derivation) in volume.strangers.iter().enumerate() {
        match number {
            0 => {
                let options = [&["--type", "luks2"][..], volume.options, *derivation];
                cryptsetup("luksFormat", &options, &stranger(0), None)?;
            }
            _ => cryptsetup("luksAddKey", &[*derivation], &stranger(0), Some(&stranger(number)))?,
        }
    }
    cryptsetup("luksAddKey", &[volume.ours], &stranger(0), Some(&context.file("key")))?;
    let mut dump = context.bench.tools.tool("cryptsetup")?;
    let dump = command::output(dump.arg("luksDump").arg(&path))?;
    ensure!(dump.contains("  2: luks2"), "there are fewer than three key slots:\n{dump}");
    Ok(())
}

/// Maps every volume in a machine and makes an empty file system in it.
fn format(context: &Context<'_>) -> Result<()> {
    let usr = context.usr(&context.recipe()?.repart(ENCRYPTED))?;
    let disk = context.disk("helper.raw", &Image::new(context.partitions(&usr)?))?;
    let key: String = KEY.iter().map(|byte| format!("%{byte:02x}")).collect();
    let mut machine = lasting::machine(context, Initramfs::new("virtio"), &usr)?.disk(Disk::new(&disk));
    let mut words = format!("hermetic.test.write=/run/key:{key}");
    for (volume, device) in VOLUMES.iter().zip(["vdb", "vdc"]) {
        machine = machine.disk(Disk::new(&image(context, volume)));
        let name = volume.name;
        // There is no udev, so nothing waits for it.
        for run in [
            format!("cryptsetup+open+--key-file+/run/key+/dev/{device}+{name}"),
            format!("mkfs.ext4+-q+/dev/mapper/{name}"),
            format!("cryptsetup+close+{name}"),
        ] {
            words += &format!(" hermetic.test.run=/usr/bin/env+DM_DISABLE_UDEV=1+{run}");
        }
    }
    let outcome = context.run(&machine.cmdline(&words).memory(1024).deadline(2 * DEADLINE))?;
    let state = outcome.state()?;
    let runs = state.get("runs").and_then(Value::as_array).context("nothing was run")?;
    ensure!(runs.len() == 3 * VOLUMES.len(), "the machine ran {runs:?}");
    for run in runs {
        ensure!(run.get("status").and_then(Value::as_i64) == Some(0), "{run}");
    }
    Ok(())
}

fn boot(context: &Context<'_>, usr: &crate::usr::Usr, volume: &Volume) -> Result<()> {
    let mut partitions = context.partitions(usr)?;
    partitions.push(Partition::of(types::ROOT, GUID, "root", &image(context, volume))?);
    let disk = context.disk("disk.raw", &Image { size: 384 << 20, ..small::image(partitions) })?;
    let before = lasting::root_on(context, &disk, 512)?;
    let machine = lasting::machine(context, Initramfs::new("virtio"), usr)?.disk(Disk::new(&disk));
    let boots = lasting::boots_twice(context, &machine, &disk, 512)?;
    // Its partition takes the free space behind it, as systemd-repart has it; all else stays.
    ensure!(boots.root.length > before.length, "the partition did not grow from {before:?}");
    let same = lasting::Root { length: before.length, ..boots.root };
    ensure!(same == before, "the root was {before:?} and is {same:?}");
    for state in [&boots.first, &boots.second] {
        lasting::mounted(state, "/", "/dev/mapper/root ext4")?;
        lasting::file(state, "/etc/passwd").context("the root was not populated")?;
    }
    Ok(())
}
