//! An opener that follows a header without any check: every forged header is first shown to work against it.

use aes::{Aes256, cipher::KeyInit as _};
use base64ct::{Base64, Encoding as _};
use pbkdf2::pbkdf2_hmac;
use serde_json::Value;
use sha2::{Digest as _, Sha256, Sha512};
use xts_mode::{Xts128, get_tweak_default};

/// The result of an opening, unchecked.
pub struct Opened {
    /// The volume key.
    pub key: Vec<u8>,
    /// The encryption of the data.
    pub cipher: String,
    /// The stripes of the keyslot that opened, not encrypted.
    pub stripes: Vec<u8>,
}

/// Opens the first keyslot that the passphrase opens.
pub fn open(disk: &[u8], passphrase: &[u8]) -> Option<Opened> {
    let text = disk[4096..].split(|byte| *byte == 0).next()?;
    let header: Value = serde_json::from_slice(text).ok()?;
    let number = |value: &Value| value.as_str().unwrap().parse::<usize>().unwrap();
    let bytes = |value: &Value| Base64::decode_vec(value.as_str().unwrap()).unwrap();
    let digest = &header["digests"]["0"];
    for keyslot in header["keyslots"].as_object()?.values() {
        let (area, kdf) = (&keyslot["area"], &keyslot["kdf"]);
        let length = keyslot["key_size"].as_u64()? as usize;
        let mut stripes = disk[number(&area["offset"])..][..length * 4000].to_vec();
        if !area["encryption"].as_str()?.contains("null") {
            let mut key = [0; 64];
            pbkdf2_hmac::<Sha512>(
                passphrase,
                &bytes(&kdf["salt"]),
                kdf["iterations"].as_u64()? as u32,
                &mut key,
            );
            let cipher = |key: &[u8]| Aes256::new_from_slice(key).unwrap();
            Xts128::new(cipher(&key[..32]), cipher(&key[32..])).decrypt_area(
                &mut stripes,
                512,
                0,
                get_tweak_default,
            );
        }
        let key = merge(&stripes, length);
        let expected = bytes(&digest["digest"]);
        let mut found = vec![0; expected.len()];
        let iterations = digest["iterations"].as_u64()? as u32;
        pbkdf2_hmac::<Sha256>(&key, &bytes(&digest["salt"]), iterations, &mut found);
        if found == expected {
            let cipher = header["segments"]["0"]["encryption"].as_str()?.to_owned();
            return Some(Opened { key, cipher, stripes });
        }
    }
    None
}

/// LUKS1 specification, section 2.4.
fn merge(stripes: &[u8], length: usize) -> Vec<u8> {
    let mut state = vec![0; length];
    let mut stripes = stripes.chunks(length).peekable();
    while let Some(stripe) = stripes.next() {
        state.iter_mut().zip(stripe).for_each(|(state, byte)| *state ^= byte);
        if stripes.peek().is_some() {
            for (number, chunk) in state.chunks_mut(32).enumerate() {
                let hash = Sha256::new()
                    .chain_update((number as u32).to_be_bytes())
                    .chain_update(&*chunk)
                    .finalize();
                chunk.copy_from_slice(&hash[..chunk.len()]);
            }
        }
    }
    state
}
