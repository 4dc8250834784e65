//! The LUKS2 header of the root is rewritten by a stranger who does not have the key: with the null cipher, so that the
//! system would write its secrets in plain text; cut off behind its first block; gone; of LUKS1; and full, with 32 keyslots that would
//! take years and as many tokens. All are refused, in less than 1,000 characters. With one copy of the header left it boots, and
//! writes the other again.

use super::Context;
use super::small::{self, ENCRYPTED, KEY, Small};
use crate::command;
use crate::image;
use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Bytes of one copy of the header: 4096 binary, the rest JSON (LUKS2 on-disk format 1.1.1, section 2).
const HEADER: usize = 16384;
const BINARY: usize = 4096;

/// Bytes of a keyslot's area: 4000 stripes of 64 bytes, in whole blocks.
const AREA: u64 = 258_048;

/// The place and length of the checksum in the binary part, in bytes.
const CHECKSUM: std::ops::Range<usize> = 448..512;

pub fn run(context: &Context<'_>) -> Result<()> {
    let small = Small::new(context, ENCRYPTED)?;
    small.boot(context, "")?;
    let machine = small.machine(context)?;
    let place = root(context, &small.disk)?;
    let mut sound = vec![0; 2 * HEADER];
    File::open(&small.disk)?.read_exact_at(&mut sound, place)?;

    let mut null = sound.clone();
    for copy in null.chunks_mut(HEADER) {
        rewrite(copy, |header| {
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
        rewrite(copy, fill_up)?;
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

/// Changes the text of one copy of the header, and its checksum with it.
fn rewrite(copy: &mut [u8], change: fn(&mut Value) -> Option<()>) -> Result<()> {
    let (_, area) = copy.split_at_mut(BINARY);
    let text = area.split(|byte| *byte == 0).next().context("the header has no text")?;
    let mut document: Value = serde_json::from_slice(text)?;
    change(&mut document).context("the header has another form")?;
    let text = document.to_string();
    area.fill(0);
    area.get_mut(..text.len()).context("the text is too long")?.copy_from_slice(text.as_bytes());
    let field = |copy: &mut [u8], bytes: &[u8]| -> Result<()> {
        copy.get_mut(CHECKSUM).context("a header has a checksum")?.fill(0);
        let end = CHECKSUM.start + bytes.len();
        copy.get_mut(CHECKSUM.start..end).context("a header has a checksum")?.copy_from_slice(bytes);
        Ok(())
    };
    field(copy, &[])?;
    let digest = Sha256::digest(&*copy);
    field(copy, &digest)
}

/// As many keyslots and tokens as a header may have: each keyslot would take years, each token names one of them, and
/// one token does so over and over. No more fits into a header of the usual size.
fn fill_up(document: &mut Value) -> Option<()> {
    let mut keyslot = document.pointer("/keyslots/0")?.clone();
    let salt = keyslot.pointer("/kdf/salt")?.clone();
    *keyslot.get_mut("kdf")? =
        json!({ "type": "argon2id", "time": u32::MAX, "memory": 32768, "cpus": 4, "salt": salt });
    let (mut keyslots, mut tokens) = (Map::new(), Map::new());
    for number in 0..32_u64 {
        let offset = 2 * HEADER as u64 + number * AREA;
        *keyslot.pointer_mut("/area/offset")? = json!(offset.to_string());
        keyslots.insert(number.to_string(), keyslot.clone());
        let again = if number == 0 { 40 } else { 1 };
        let token = json!({ "type": "systemd-tpm2", "keyslots": vec!["0"; again] });
        tokens.insert(number.to_string(), token);
    }
    *document.pointer_mut("/digests/0/keyslots")? = keyslots.keys().cloned().collect();
    *document.get_mut("keyslots")? = keyslots.into();
    *document.get_mut("tokens")? = tokens.into();
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
