//! PINs of the newest systemd-cryptenroll, which go through Argon2id: a right one opens the root. The same token with a member that no
//! systemd has yet, as a later one may write it: five boots with the right PIN name the member and end, each without a
//! word to the TPM about the PIN. Without the member the PIN opens again. In the end the TPM has counted no wrong PIN.

use super::root_is_sealed::percent;
use super::small::{self, KEY};
use super::{Context, lasting, tpm2};
use crate::bare_tpm::BareTpm;
use crate::command;
use crate::disk::Disk;
use crate::image::{self, Image};
use crate::initramfs::Initramfs;
use crate::machine::{Exit, Machine};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::fs;
use std::path::Path;

const BOTH: &str =
    "[Partition]\nType=root\nLabel=root\nFormat=ext4\nEncrypt=key-file+tpm2\nSizeMinBytes=64M\n";

const PIN: &str = "Rk4-quince-7302-Wd9";

/// In place of the seal that is there; without a benchmark, which takes long under an emulated processor.
const ENROLL: &str = "/usr/bin/systemd-cryptenroll+--unlock-key-file=/run/key+--wipe-slot=tpm2+--tpm2-device=auto\
                      +--tpm2-with-pin=yes+--tpm2-argon2id-iterations=1+--tpm2-pcrs=7+/dev/vda3";

pub fn run(context: &Context<'_>) -> Result<()> {
    let usr = context.usr(&tpm2::recipe(context, BOTH)?)?;
    let disk =
        context.disk("disk.raw", &Image { size: 512 << 20, ..small::image(context.partitions(&usr)?) })?;
    let tpm = context.file("tpm");
    let machine = |initramfs: Initramfs| -> Result<Machine> {
        let machine = tpm2::machine(context, &initramfs, &usr, &tpm)?;
        Ok(machine.cmdline(&format!("hermetic.test.write=/run/key:{}", percent(KEY))))
    };
    let first = machine(Initramfs::new("virtio").key(KEY))?.disk(Disk::new(&disk));
    let enroll = tpm2::run(&format!("NEWPIN={PIN}+{ENROLL}"));
    let outcome = context.run(&first.cmdline(&enroll))?;
    tpm2::succeeded(&outcome.expect(&Exit::PowerOff)?.state()?, 0).context("systemd-cryptenroll")?;

    let knows = machine(Initramfs::new("virtio"))?.cmdline(tpm2::UNATTENDED);
    let knows = knows.cmdline(&format!("systemd.set_credential=cryptsetup.tpm2-pin:{PIN}"));
    let opens = |when: &str| -> Result<()> {
        let outcome = context.run(&knows.clone().disk(Disk::new(&disk))).context(when.to_owned())?;
        outcome.expect(&Exit::PowerOff)?.line("opens keyslot 2").map(drop).context(when.to_owned())
    };
    opens("the PIN through Argon2id")?;
    ensure!(wrong_pins(context, &tpm)? == 0, "the TPM has counted a right PIN as a wrong one");

    let known = with_token(context, &disk, |token| {
        token.as_object_mut().map(|members| members.insert("tpm2_fido2".to_owned(), Value::Bool(true)));
    })?;
    for boot in 1..=5 {
        let says = ["the member \"tpm2_fido2\", which is not known", "headless"];
        small::refuses(context, &knows, &disk, "root", &says).with_context(|| format!("boot {boot}"))?;
    }
    ensure!(wrong_pins(context, &tpm)? == 0, "the TPM was shown a PIN for a token that is not known");
    with_token(context, &disk, |token| *token = known.clone())?;
    opens("the token as it was")?;
    let counted = wrong_pins(context, &tpm)?;
    ensure!(counted == 0, "the TPM has counted {counted} wrong PINs");
    context.say("7 boots, no wrong PIN counted");
    Ok(())
}

fn wrong_pins(context: &Context<'_>, tpm: &Path) -> Result<u32> {
    BareTpm::start(&context.bench.tools, tpm)?.wrong_pins()
}

/// Has cryptsetup replace the root's only TPM token by a changed one; returns the old one.
fn with_token(context: &Context<'_>, disk: &Path, change: impl FnOnce(&mut Value)) -> Result<Value> {
    let (volume, root) = (context.file("volume.img"), lasting::root_on(context, disk, 512)?);
    tpm2::copy_root(context, disk, &volume)?;
    let cryptsetup = |words: &[&str]| -> Result<String> {
        let mut cryptsetup = context.bench.tools.tool("cryptsetup")?;
        command::output(cryptsetup.args(words).arg(&volume))
    };
    let metadata: Value = serde_json::from_str(&cryptsetup(&["luksDump", "--dump-json-metadata"])?)?;
    let tokens = metadata.get("tokens").and_then(Value::as_object).context("the root has no tokens")?;
    let (number, old) = tokens.iter().next().context("the root has no token")?;
    let (mut new, file) = (old.clone(), context.file("token.json"));
    change(&mut new);
    fs::write(&file, new.to_string())?;
    let file = file.display().to_string();
    cryptsetup(&["token", "import", "--token-replace", "--token-id", number, "--json-file", &file])?;
    // The header alone has changed: both copies lie in the first 16 MiB.
    let mut header = fs::read(&volume)?;
    header.truncate(16 << 20);
    image::overwrite(disk, root.start, &header)?;
    Ok(old.clone())
}
