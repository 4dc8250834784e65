//! A keyslot in the making: the area that hides the volume key behind a passphrase, and its entry in the header.

use std::prelude::v1::*;

use argon2::Algorithm;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{
    af,
    error::LuksError,
    hash::Hash,
    kdf::{Kdf, SALT},
    segment::CIPHER,
    xts::{self, Direction},
};
use crate::secret::Secret;

/// The key of an area: two AES-256 keys, for XTS, for any length of the volume key.
const AREA_KEY_SIZE: usize = 64;

/// A key file of this many bytes has all the entropy that the volume key has use for.
const FULL_ENTROPY: usize = 32;

/// The key derivation of a new keyslot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NewKdf {
    /// For keys of full entropy: they cannot be guessed, so an expensive guess gains nothing.
    Pbkdf2Sha512 {
        /// The iterations of HMAC, at least 1000.
        iterations: u32,
    },
    /// For what people type.
    Argon2id {
        /// Memory in KiB.
        memory: u32,
        /// Passes over it.
        time: u32,
        /// Lanes.
        cpus: u32,
    },
}

impl NewKdf {
    /// For keys that a machine made: PBKDF2-SHA512 with 1000 iterations, as systemd-repart and systemd-cryptenroll do.
    pub const MACHINE: Self = Self::Pbkdf2Sha512 { iterations: 1000 };

    /// For what people type: Argon2id with the second recommended set of RFC 9106 section 4 (64 MiB, 3 passes, 4 lanes), which
    /// is meant for machines with little memory: it does not measure the machine, because a volume that a large machine made
    /// must open on a small one, and the initramfs of a 256 MiB board can spare that much. It takes a third of a second on one
    /// x86-64 core.
    pub const TYPED: Self = Self::Argon2id { memory: 64 << 10, time: 3, cpus: 4 };

    /// For what people type, where memory is short: PBKDF2-SHA512 with about the time of [`NewKdf::TYPED`], some three times
    /// what OWASP's Password Storage Cheat Sheet asks for.
    pub const TYPED_PBKDF2: Self = Self::Pbkdf2Sha512 { iterations: 600_000 };

    /// The derivation for a key file of `length` bytes.
    ///
    /// From 32 bytes on it is taken for random and gets [`NewKdf::MACHINE`]. Anything shorter may be a passphrase and gets
    /// [`NewKdf::TYPED`].
    pub const fn for_key_file(length: usize) -> Self {
        if length >= FULL_ENTROPY { Self::MACHINE } else { Self::TYPED }
    }

    fn with_salt(self, salt: Vec<u8>) -> Kdf {
        match self {
            Self::Pbkdf2Sha512 { iterations } => Kdf::Pbkdf2 { hash: Hash::Sha512, iterations, salt },
            Self::Argon2id { memory, time, cpus } => {
                Kdf::Argon2 { algorithm: Algorithm::Argon2id, time, memory, cpus, salt }
            }
        }
    }
}

/// The bytes that the area of a volume key of `key_size` bytes takes: its stripes, and up to the next 4096 bytes.
pub(super) const fn area_size(key_size: usize) -> u64 {
    ((key_size * af::STRIPES) as u64).next_multiple_of(4096)
}

/// A keyslot that is not on a disk yet.
pub(super) struct NewKeyslot {
    kdf: Kdf,
    key_size: usize,
    /// The content of its area, [`area_size`] bytes.
    pub area: Vec<u8>,
}

impl NewKeyslot {
    /// Hides `key` behind `passphrase`: random bytes, of which the volume key makes the last stripe, encrypted.
    ///
    /// # Errors
    /// The key of the area cannot be derived.
    pub fn seal(
        key: &Secret,
        passphrase: &Secret,
        kdf: NewKdf,
        random: &mut dyn FnMut(&mut [u8]),
    ) -> Result<Self, LuksError> {
        let mut salt = vec![0; SALT];
        random(&mut salt);
        let kdf = kdf.with_salt(salt);
        let mut area_key = Secret::zeroed(AREA_KEY_SIZE);
        kdf.derive(passphrase, &mut area_key).map_err(LuksError::KeyDerivation)?;
        let key = key.expose();
        let mut area = Zeroizing::new(vec![0; area_size(key.len()) as usize]);
        random(&mut area);
        let stripes = area.get_mut(..key.len() * af::STRIPES).unwrap_or_default();
        af::split(stripes, key, Hash::Sha256);
        // The rest of the last 4096 bytes is encrypted with the stripes: random bytes either way.
        xts::crypt(Direction::Encrypt, &mut area, area_key.expose())
            .ok_or(LuksError::Parameter("the keyslot cannot be encrypted"))?;
        Ok(Self { kdf, key_size: key.len(), area: core::mem::take(&mut *area) })
    }

    /// The keyslot's object, for an area that begins at byte `offset`.
    pub fn to_json(&self, offset: u64) -> Value {
        json!({
            "type": "luks2",
            "key_size": self.key_size,
            "af": { "type": "luks1", "stripes": af::STRIPES, "hash": Hash::Sha256.name() },
            "area": {
                "type": "raw",
                "offset": offset.to_string(),
                "size": self.area.len().to_string(),
                "encryption": CIPHER,
                "key_size": AREA_KEY_SIZE,
            },
            "kdf": self.kdf.to_json(),
        })
    }
}
