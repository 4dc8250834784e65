//! A PIN as the TPM is shown it, and its own part in the key of the volume.
//!
//! Of a token by systemd before 262 the TPM gets the PIN, or what PBKDF2 makes of it, and the secret that it gives is the key.
//! With 262 the PIN goes through Argon2id: the TPM gets one half of the result, and the other half and the secret make the
//! key together. So whoever takes a secret out of the TPM has to guess the PIN as well.
//!
//! References: systemd 257, src/shared/tpm2-util.c (`tpm2_unseal`); systemd 262, src/cryptsetup/cryptsetup-tokens/luks2-tpm2.c
//! (`acquire_luks2_key`).

use std::prelude::v1::*;

use base64ct::{Base64, Encoding as _};
use pbkdf2::pbkdf2_hmac_array;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::kdf::{self, DIGEST};
use crate::{secret::Secret, units::Bytes};

/// Rounds by which systemd before 262 turns a PIN and its salt into another PIN.
const PIN_ROUNDS: u32 = 10_000;

/// The purpose of the key that the PIN and the TPM make together.
const LOCK: &[u8] = b"systemd-tpm2-argon2id-lock";

/// The cost of a PIN that goes through Argon2id (RFC 9106).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Argon2id {
    /// Memory; what is not a whole KiB does not count.
    pub memory: Bytes,
    /// The number of passes over it.
    pub passes: u32,
    /// The number of lanes.
    pub lanes: u32,
}

impl Argon2id {
    /// Bytes of its result: the half that stays here, and the half that the TPM is shown.
    pub const LENGTH: usize = 2 * DIGEST;

    /// Its memory in KiB, as Argon2 counts it; None beyond 32 bits.
    pub fn kib(self) -> Option<u32> {
        u32::try_from(self.memory.0 / Bytes::KIB).ok()
    }
}

/// The authorisation value that the TPM gets for a PIN.
pub struct Pin {
    value: Zeroizing<Vec<u8>>,
    /// The half that the TPM does not get.
    half: Option<Secret>,
}

impl Pin {
    /// No PIN.
    pub fn none() -> Self {
        Self { value: Zeroizing::new(Vec::new()), half: None }
    }

    /// A PIN as it was typed, with the salt of its token if that has one.
    pub fn new(typed: &Secret, salt: Option<&[u8]>) -> Self {
        let value = match salt {
            None => authorization(typed.expose()),
            Some(salt) => {
                in_base64(&*Zeroizing::new(pbkdf2_hmac_array::<Sha256, 32>(typed.expose(), salt, PIN_ROUNDS)))
            }
        };
        Self { value, half: None }
    }

    /// A PIN of which Argon2id has made [`Argon2id::LENGTH`] bytes.
    pub fn hardened(result: &Secret) -> Self {
        let (half, shown) = result.expose().split_at_checked(DIGEST).unwrap_or_default();
        Self { value: in_base64(shown), half: Some(Secret::new(half.to_vec())) }
    }

    /// The bytes for the TPM.
    pub(super) fn value(&self) -> &[u8] {
        &self.value
    }

    /// The key of the volume out of the secret that the TPM gave.
    pub(super) fn complete(&self, secret: Secret) -> Secret {
        match &self.half {
            None => secret,
            Some(half) => Secret::new(kdf::hkdf(half.expose(), secret.expose(), LOCK).to_vec()),
        }
    }
}

fn in_base64(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    authorization(Zeroizing::new(Base64::encode_string(bytes)).as_bytes())
}

fn authorization(pin: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut value = Zeroizing::new(kdf::sha256(&[pin]).to_vec());
    // A TPM takes trailing zeroes off every authorization value (part 1, 19.6.4.3).
    while value.last() == Some(&0) {
        value.pop();
    }
    value
}
