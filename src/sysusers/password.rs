//! A password in clear → the field of shadow, as systemd-sysusers writes it: yescrypt, libxcrypt's preferred method,
//! with its default cost (crypt(5)).

use std::prelude::v1::*;

use crate::secret::Secret;

/// The method and its cost as crypt(5) writes them: N = 4096, r = 32, which takes 16 MiB and about 10 ms.
const SETTING: &str = "$y$j9T$";
/// The same cost as numbers.
const N: u64 = 4096;
const R: u32 = 32;
/// The digits of crypt(5), the least significant first.
const DIGITS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A salt: random bytes, as many as libxcrypt takes.
pub type Salt = [u8; 16];

/// The password field of shadow for a password in clear. None without enough memory.
pub fn hash(password: &[u8], salt: &Salt) -> Option<Secret> {
    let params = yescrypt::Params::new(yescrypt::Mode::Rw, N, R, 1).ok()?;
    let mut digest = [0; 32];
    yescrypt::yescrypt(password, salt, &params, &mut digest).ok()?;
    let text = [SETTING.as_bytes(), &encode(salt), b"$", &encode(&digest)].concat();
    Some(Secret::new(text))
}

/// Six bits a digit, three bytes together, the least significant ones first.
fn encode(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut group = chunk.iter().rev().fold(0u32, |group, byte| group << 8 | u32::from(*byte));
        for _ in 0..=chunk.len() {
            text.push(DIGITS.get((group & 63) as usize).copied().unwrap_or(b'.'));
            group >>= 6;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by crypt(3) of libxcrypt 4.4.
    #[test]
    fn as_libxcrypt_hashes() {
        for (password, salt, field) in VECTORS {
            let hashed = hash(password.as_bytes(), salt).unwrap();
            assert_eq!(core::str::from_utf8(hashed.expose()).unwrap(), *field);
        }
    }

    const VECTORS: &[(&str, &Salt, &str)] = &[
        (
            "secret",
            b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f",
            "$y$j9T$.2U.1EE/4Q.07ck0AoU1D.$IGxEW2T02D5UUMKsGoMxmhaw2MjAM2LmAwrSEo6JKX.",
        ),
        (
            "",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            "$y$j9T$zzzzzzzzzzzzzzzzzzzzz1$TD3Xj8EYM2VbuWXLvkNWmTwpg01rE5eoRTU9WyuM/I4",
        ),
        (
            "päss wörd: with more than a few letters in it, so that it is longer than a block",
            b"\xf0\xf1\xf2\xf3\xf4\xf5\xf6\xf7\xf8\xf9\xfa\xfb\xfc\xfd\xfe\xff",
            "$y$j9T$k5jwnHTxqTDytfzywrjzz1$kFZYIvnyAivxszOm39z460w/4Oy85OxTKehScWgkh30",
        ),
    ];
}
