//! The content of an encrypted volume, without a kernel that opens it: cryptsetup prints the volume key and the offset
//! of the data, the cipher is AES-XTS with plain64 vectors (IEEE 1619, Linux'
//! `Documentation/admin-guide/device-mapper/dm-crypt.rst`).

use crate::command;
use crate::toolroot::ToolRoot;
use aes::{Aes256, cipher::KeyInit};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;
use xts_mode::{Xts128, get_tweak_default};

/// The number of bytes that are read at once; a multiple of every sector size.
const PIECE: usize = 1 << 20;

/// The sector that vectors are counted in.
const SECTOR: u64 = 512;

/// Writes the content of the volume in `image` into the new file `plain`; this key opens it. Sectors of zeroes were
/// never written and stay so.
///
/// # Errors
/// The key opens nothing, or the volume is of a kind that hermetic-init does not make.
pub fn decrypt(tools: &ToolRoot, image: &Path, key: &[u8], plain: &Path) -> Result<()> {
    let (key_file, volume_key) = (plain.with_extension("key"), plain.with_extension("volume-key"));
    fs::write(&key_file, key)?;
    if volume_key.exists() {
        fs::remove_file(&volume_key)?;
    }
    let mut dump = tools.tool("cryptsetup")?;
    dump.args(["luksDump", "--batch-mode", "--dump-volume-key", "--volume-key-file"]).arg(&volume_key);
    command::run(dump.arg("--key-file").arg(&key_file).arg(image))?;
    let mut dump = tools.tool("cryptsetup")?;
    let metadata = command::output(dump.args(["luksDump", "--dump-json-metadata"]).arg(image))?;
    let metadata: Value = serde_json::from_str(&metadata).context("cryptsetup printed no JSON")?;
    let segment = metadata.pointer("/segments/0").context("the volume has no segment 0")?;
    let text = |name: &str| segment.get(name).and_then(Value::as_str).unwrap_or_default();
    ensure!(text("encryption") == "aes-xts-plain64", "the volume's cipher is {}", text("encryption"));
    let offset: u64 = text("offset").parse().context("the segment has no offset")?;
    let sector = segment.get("sector_size").and_then(Value::as_u64).context("the segment has no sectors")?;

    let key = fs::read(&volume_key)?;
    let (data, tweak) = key.split_at_checked(32).context("the volume key is too short")?;
    let cipher =
        |half: &[u8]| Aes256::new_from_slice(half).ok().context("the volume key is not that of AES-256");
    let xts = Xts128::new(cipher(data)?, cipher(tweak)?);
    let sector_bytes = usize::try_from(sector)?;
    ensure!(sector_bytes > 0 && PIECE.is_multiple_of(sector_bytes), "sectors have {sector} bytes");

    let mut source = File::open(image)?;
    let length =
        source.seek(SeekFrom::End(0))?.checked_sub(offset).context("the volume ends in its header")?;
    source.seek(SeekFrom::Start(offset))?;
    let file = File::create(plain)?;
    file.set_len(length)?;
    let mut piece = Vec::with_capacity(PIECE);
    let mut at = 0;
    while at < length {
        piece.clear();
        source.by_ref().take((length - at).min(PIECE as u64)).read_to_end(&mut piece)?;
        ensure!(!piece.is_empty(), "{} became shorter", image.display());
        for (number, bytes) in piece.chunks_exact_mut(sector_bytes).enumerate() {
            if bytes.iter().any(|byte| *byte != 0) {
                let place = at + number as u64 * sector;
                xts.decrypt_sector(bytes, get_tweak_default(u128::from(place / SECTOR)));
                file.write_all_at(bytes, place)?;
            }
        }
        at += piece.len() as u64;
    }
    Ok(())
}
