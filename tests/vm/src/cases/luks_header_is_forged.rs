//! The LUKS2 header of the root is rewritten by a stranger who does not have the key: with the null cipher, so that the
//! system would write its secrets in plain text; cut off behind its first block; gone; of LUKS1; and full, with 32 keyslots that would
//! take years and as many tokens. All are refused, in less than 1,000 characters. With one copy of the header left it boots, and
//! writes the other again.

use super::Context;
use super::small::{self, ENCRYPTED, KEY, Small};
use crate::command;
use crate::forged::{self, BINARY, HEADER};
use crate::image;
use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value, json};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

pub fn run(context: &Context<'_>) -> Result<()> {
    let small = Small::new(context, ENCRYPTED)?;
    small.boot(context, "")?;
    let machine = small.machine(context)?;
    let place = root(context, &small.disk)?;
    let mut sound = vec![0; 2 * HEADER];
    File::open(&small.disk)?.read_exact_at(&mut sound, place)?;

    let mut null = sound.clone();
    for copy in null.chunks_mut(HEADER) {
        forged::rewrite(copy, |header| {
            *header.pointer_mut("/segments/0/encryption")? = json!("cipher_null-ecb");
            Some(())
        })?;
    }
    image::overwrite(&small.disk, place, &null)?;
    let dump = dump(context, &small.disk, place)?;
    if !dump.contains("cipher: cipher_null-ecb") {
        bail!("cryptsetup does not take the forged header for one:\n{dump}");
    }
    small::foretold(context, &machine, &small.disk, "provision", &["vda3", "null cipher"])
        .context("null cipher")?;

    let mut cut = sound.clone();
    cut.split_at_mut(BINARY).1.fill(0);
    image::overwrite(&small.disk, place, &cut)?;
    small::foretold(context, &machine, &small.disk, "root", &["vda3", "both LUKS2 headers are damaged"])
        .context("cut off")?;

    image::overwrite(&small.disk, place, &vec![0; 2 * HEADER])?;
    small::foretold(context, &machine, &small.disk, "provision", &["vda3", "not encrypted"])
        .context("gone")?;

    // One that our own key opens, so that nothing but its version speaks against it.
    image::overwrite(&small.disk, place, &luks1(context)?)?;
    small::foretold(context, &machine, &small.disk, "provision", &["vda3", "a LUKS1 header"])
        .context("LUKS1")?;

    let mut full = sound.clone();
    for copy in full.chunks_mut(HEADER) {
        forged::rewrite(copy, fill_up)?;
    }
    image::overwrite(&small.disk, place, &full)?;
    let dump = self::dump(context, &small.disk, place)?;
    if !dump.contains("  31: luks2") || !dump.contains("  31: systemd-tpm2") {
        bail!("cryptsetup does not take the forged header for one:\n{dump}");
    }
    let attended = machine.clone().cmdline("systemd.set_credential=cryptsetup.passphrase:another");
    let says = ["vda3: nothing opens it: TPM2 token 0", "more in the log"];
    let outcome = small::refuses(context, &attended, &small.disk, "root", &says).context("full")?;
    let reason = &outcome.line("  reason  ")?.text;
    if reason.len() >= 1000 {
        bail!("the reason has {} bytes: {reason}", reason.len());
    }

    let mut half = sound;
    half.split_at_mut(HEADER).0.fill(0);
    image::overwrite(&small.disk, place, &half)?;
    small.boot(context, "").context("the first copy gone, the second whole")?;
    let mut mended = vec![0; 2 * HEADER];
    File::open(&small.disk)?.read_exact_at(&mut mended, place)?;
    if mended.split_at(BINARY).0.starts_with(&[0]) {
        bail!("the first copy was not written again");
    }
    Ok(())
}

/// The start of a LUKS1 volume, which cryptsetup opens with the key of the root.
fn luks1(context: &Context<'_>) -> Result<Vec<u8>> {
    let (key, volume) = (context.file("key"), context.file("luks1.raw"));
    std::fs::write(&key, KEY)?;
    File::create(&volume)?.set_len(8 << 20)?;
    let words: [&[&str]; 2] = [
        &["luksFormat", "--batch-mode", "--type", "luks1", "--pbkdf-force-iterations", "1000"],
        &["open", "--test-passphrase"],
    ];
    for words in words {
        let mut cryptsetup = context.bench.tools.tool("cryptsetup")?;
        command::run(cryptsetup.args(words).arg("--key-file").arg(&key).arg(&volume))?;
    }
    let mut start = vec![0; 2 * HEADER];
    File::open(&volume)?.read_exact_at(&mut start, 0)?;
    Ok(start)
}

/// The start of the root partition in bytes.
fn root(context: &Context<'_>, disk: &Path) -> Result<u64> {
    let mut sfdisk = context.bench.tools.tool("sfdisk")?;
    let table: Value = serde_json::from_str(&command::output(sfdisk.arg("--json").arg(disk))?)?;
    let start = table.pointer("/partitiontable/partitions/2/start").and_then(Value::as_u64);
    Ok(512 * start.with_context(|| format!("no third partition: {table}"))?)
}

/// As many keyslots and tokens as a header may have: each keyslot would take years, each token names one of them, and
/// one token does so over and over. No more fits into a header of the usual size.
fn fill_up(document: &mut Value) -> Option<()> {
    forged::fill_up(document, &json!({ "type": "argon2id", "time": u32::MAX, "memory": 32768, "cpus": 4 }))?;
    let token = |number: u64| {
        let again = if number == 0 { 40 } else { 1 };
        (number.to_string(), json!({ "type": "systemd-tpm2", "keyslots": vec!["0"; again] }))
    };
    *document.get_mut("tokens")? = (0..forged::KEYSLOTS).map(token).collect::<Map<_, _>>().into();
    Some(())
}

/// The header at `place` as cryptsetup prints it.
fn dump(context: &Context<'_>, disk: &Path, place: u64) -> Result<String> {
    let mut start = vec![0; 16 << 20];
    File::open(disk)?.read_exact_at(&mut start, place)?;
    let partition = context.file("partition.raw");
    std::fs::write(&partition, start)?;
    command::output(context.bench.tools.tool("cryptsetup")?.arg("luksDump").arg(&partition))
}
