//! Recovery keys: 256 bits as 64 letters that look the same on most keyboards, in eight groups, as
//! `systemd-cryptenroll --recovery-key` prints them. The passphrase of the keyslot is that text.
//!
//! References: systemd's src/shared/recovery-key.c (meaning, read), man/systemd-cryptenroll.xml.

use std::prelude::v1::*;

use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// The sixteen letters, in the order of their values (modhex, from Yubico).
const ALPHABET: &[u8; 16] = b"cbdefghijklnrtuv";
/// Letters without dashes.
const LETTERS: usize = 64;
/// Letters of a group; a dash stands between two groups.
const GROUP: usize = 8;

/// A recovery key in the one spelling that is a passphrase.
pub struct RecoveryKey(Secret);

impl RecoveryKey {
    /// The type of the token that says which keyslot has a recovery key.
    pub const TOKEN: &str = "systemd-recovery";

    /// A new one.
    pub fn random(random: &mut dyn FnMut(&mut [u8])) -> Self {
        let mut bits = Zeroizing::new([0; LETTERS / 2]);
        random(bits.as_mut_slice());
        let letter = |value: u8| ALPHABET.get(usize::from(value & 15)).copied().unwrap_or_default();
        let mut letters = Zeroizing::new([0; LETTERS]);
        for (pair, byte) in letters.chunks_mut(2).zip(bits.iter()) {
            for (place, value) in pair.iter_mut().zip([byte >> 4, *byte]) {
                *place = letter(value);
            }
        }
        Self::grouped(letters.as_slice())
    }

    /// Reads a key that was typed: dashes, blanks and capitals make no difference. None when it is not a recovery key;
    /// it may still be a passphrase.
    pub fn parse(typed: &[u8]) -> Option<Self> {
        let mut letters = Zeroizing::new([0; LETTERS]);
        let mut places = letters.iter_mut();
        for byte in typed {
            match byte.to_ascii_lowercase() {
                b'-' | b' ' | b'\t' | b'\r' | b'\n' => {}
                letter if ALPHABET.contains(&letter) => *places.next()? = letter,
                _ => return None,
            }
        }
        if places.next().is_some() {
            return None;
        }
        Some(Self::grouped(letters.as_slice()))
    }

    /// The passphrase.
    pub fn passphrase(&self) -> &Secret {
        &self.0
    }

    /// The token of its keyslot, without the keyslot's number.
    pub fn token() -> Value {
        json!({ "type": Self::TOKEN })
    }

    /// Puts dashes between groups, in a buffer that does not grow.
    fn grouped(letters: &[u8]) -> Self {
        let mut text = Secret::zeroed(LETTERS + LETTERS / GROUP - 1);
        for (place, group) in text.expose_mut().chunks_mut(GROUP + 1).zip(letters.chunks(GROUP)) {
            for (index, byte) in place.iter_mut().enumerate() {
                *byte = group.get(index).copied().unwrap_or(b'-');
            }
        }
        Self(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// In the form that systemd-cryptenroll prints.
    const KEY: &[u8] = b"lrtbdbrj-tvvubtur-fiuckvfk-bnthrnrg-bjngvudr-hnjhvgjr-ckgrkdvf-kuglfudl";

    #[test]
    fn input_is_forgiven() {
        let same =
            |typed: &[u8]| RecoveryKey::parse(typed).is_some_and(|key| key.passphrase().expose() == KEY);
        let without: Vec<u8> = KEY.iter().copied().filter(|byte| *byte != b'-').collect();
        let blanks: Vec<u8> = KEY.iter().map(|byte| if *byte == b'-' { b' ' } else { *byte }).collect();
        assert!(same(KEY) && same(&without) && same(&blanks) && same(&KEY.to_ascii_uppercase()));
        assert!(same(&[b" ", KEY, b"\r"].concat()));
        assert!(
            !same(&KEY[1..]) && !same(&[KEY, b"c"].concat()) && !same(b"") && !same(&[KEY, b"a"].concat())
        );
    }

    #[test]
    fn random_bits_become_letters() {
        let mut next = 0u8;
        let key = RecoveryKey::random(&mut |bytes| {
            for byte in bytes {
                *byte = next;
                next = next.checked_add(0x11).unwrap_or_default();
            }
        });
        let sixteen = "ccbbddee-ffgghhii-jjkkllnn-rrttuuvv";
        assert_eq!(core::str::from_utf8(key.passphrase().expose()).unwrap(), format!("{sixteen}-{sixteen}"));
    }

    proptest! {
        #[test]
        fn any_text_is_a_key_or_none(text: Vec<u8>) {
            if let Some(key) = RecoveryKey::parse(&text) {
                prop_assert!(RecoveryKey::parse(key.passphrase().expose()).is_some());
            }
        }
    }
}
