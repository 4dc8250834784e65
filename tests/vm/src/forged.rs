//! LUKS2 headers of a stranger who does not have the key, out of one that cryptsetup or we made (LUKS2 on-disk format
//! 1.1.1, section 2).

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

/// Bytes of one copy of the header: [`BINARY`] binary, the rest JSON.
pub const HEADER: usize = 16384;
/// Bytes of the binary part.
pub const BINARY: usize = 4096;

/// The most keyslots of a header.
pub const KEYSLOTS: u64 = 32;

/// Bytes of a keyslot's area: 4000 stripes of 64 bytes, in whole blocks.
const AREA: u64 = 258_048;

/// The place and length of the checksum in the binary part, in bytes.
const CHECKSUM: std::ops::Range<usize> = 448..512;

/// Changes the text of one copy of the header, and its checksum with it.
///
/// # Errors
/// The copy has no text, or one of another form, or the new one does not fit.
pub fn rewrite(copy: &mut [u8], change: impl FnOnce(&mut Value) -> Option<()>) -> Result<()> {
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

/// As many keyslots as a header may have, each the first one with this key derivation and the first one's salt.
pub fn fill_up(document: &mut Value, kdf: &Value) -> Option<()> {
    let mut keyslot = document.pointer("/keyslots/0")?.clone();
    let salt = keyslot.pointer("/kdf/salt")?.clone();
    *keyslot.get_mut("kdf")? = kdf.clone();
    keyslot.get_mut("kdf")?.as_object_mut()?.insert("salt".to_owned(), salt);
    let mut keyslots = Map::new();
    for number in 0..KEYSLOTS {
        let offset = 2 * HEADER as u64 + number * AREA;
        *keyslot.pointer_mut("/area/offset")? = json!(offset.to_string());
        keyslots.insert(number.to_string(), keyslot.clone());
    }
    *document.pointer_mut("/digests/0/keyslots")? = keyslots.keys().cloned().collect();
    *document.get_mut("keyslots")? = keyslots.into();
    Some(())
}
