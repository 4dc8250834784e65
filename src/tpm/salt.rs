//! The salt of a session: a secret that only the storage root key can read, and its way to the TPM.
//!
//! An elliptic key takes part in an exchange; for an RSA key the secret is encrypted (RSAES-OAEP).
//!
//! References: TPM 2.0 Library part 1, sections B.4 (RSAES_OAEP), B.10.2 and C.6.1 (salts); RFC 8017, sections 5.1.1,
//! 7.1.1 and B.2.1.

use std::prelude::v1::*;

use p256::{
    PublicKey, SecretKey,
    elliptic_curve::bigint::{CtSelect as _, NonZero, U2048},
};
use zeroize::Zeroizing;

use super::{
    StorageKey, Tpm, TpmError,
    command::Params,
    kdf::{self, DIGEST},
    object::{Recipient, Rsa},
};
use crate::secret::scrub_stack;

/// The label of both derivations (part 1, B.10.2 and C.6.1).
const LABEL: &[u8] = b"SECRET";

/// A salt.
pub(super) struct Salt {
    pub secret: Zeroizing<[u8; DIGEST]>,
    /// A `TPMS_ECC_POINT`, our half of the exchange; or what RSA makes of the secret.
    pub told: Zeroizing<Vec<u8>>,
}

impl Tpm<'_> {
    /// A new salt for this key.
    ///
    /// # Errors
    /// The key cannot be used for this.
    pub(super) fn salt(&mut self, key: &StorageKey) -> Result<Salt, TpmError> {
        match key.recipient()? {
            Recipient::Point { x, y } => self.salt_by_exchange(&x, &y),
            Recipient::Rsa(modulus) => {
                let secret = Zeroizing::new(self.nonce());
                let told = encrypt(&modulus, &secret, &self.nonce());
                // The numbers of the encryption lead back to the secret.
                scrub_stack();
                let told = told.ok_or_else(|| {
                    TpmError::Invalid("the TPM's storage root key is not an RSA key of 2048 bits".into())
                })?;
                Ok(Salt { secret, told: Zeroizing::new(told) })
            }
        }
    }

    fn salt_by_exchange(&mut self, x: &[u8; DIGEST], y: &[u8; DIGEST]) -> Result<Salt, TpmError> {
        let theirs = PublicKey::from_sec1_bytes(&[&[0x04], x.as_slice(), y.as_slice()].concat())
            .map_err(|_| TpmError::Invalid("the TPM's storage root key is not a point of P-256".into()))?;
        let ours = loop {
            let candidate = Zeroizing::new(self.nonce());
            // All but one in 2^32 numbers are below the order of the curve.
            if let Ok(secret) = SecretKey::from_slice(candidate.as_slice()) {
                break secret;
            }
        };
        let shared = ours.diffie_hellman(&theirs);
        // 0x04, x, y.
        let point = ours.public_key().to_sec1_bytes();
        let (our_x, our_y) = point.get(1..).unwrap_or_default().split_at_checked(DIGEST).unwrap_or_default();
        let secret = kdf::kdfe(shared.raw_secret_bytes(), LABEL, our_x, x);
        let told = Params::new().sized(our_x)?.sized(our_y)?.into_bytes();
        Ok(Salt { secret, told })
    }
}

/// RSAES-OAEP with SHA-256 and the exponent 65537. None: the modulus has fewer bits, or is even.
#[inline(never)]
fn encrypt(modulus: &Rsa, secret: &[u8; DIGEST], seed: &[u8; DIGEST]) -> Option<Vec<u8>> {
    let odd = modulus.last().is_some_and(|byte| byte & 1 == 1);
    let modulus = U2048::from_be_slice(modulus);
    let modulus =
        Option::from(NonZero::new(modulus)).filter(|_| odd && modulus.bit_width() == U2048::BITS)?;
    let block = Zeroizing::new(padded(secret, seed));
    // Its first byte is 0: it is less than the modulus.
    let number = U2048::from_be_slice(block.as_slice());
    // 65537 = 2^16 + 1.
    let power = (0..16).fold(number, |power, _| product(&power, &power, &modulus));
    Some(product(&power, &number, &modulus).to_be_bytes().to_vec())
}

/// The product of two numbers, bit by bit: some milliseconds a few times in a boot, in a tenth of the code of
/// Montgomery's method.
fn product(one: &U2048, other: &U2048, modulus: &NonZero<U2048>) -> U2048 {
    (0..U2048::BITS).rev().fold(U2048::ZERO, |sum, bit| {
        let doubled = sum.add_mod(&sum, modulus);
        // In the same time for either bit.
        doubled.ct_select(&doubled.add_mod(one, modulus), other.bit(bit))
    })
}

/// The block that is encrypted: zero, the masked seed, the masked data.
fn padded(secret: &[u8; DIGEST], seed: &[u8; DIGEST]) -> [u8; U2048::BYTES] {
    let mut block = [0; U2048::BYTES];
    if let [_, rest @ ..] = &mut block
        && let Some((hidden_seed, data)) = rest.split_first_chunk_mut::<DIGEST>()
    {
        hidden_seed.copy_from_slice(seed);
        // The digest of the label with its final zero; zeroes; 1; the secret.
        if let Some(start) = data.first_chunk_mut::<DIGEST>() {
            *start = kdf::sha256(&[LABEL, &[0]]);
        }
        if let Some((before, end)) = data.split_last_chunk_mut::<DIGEST>() {
            before.last_mut().into_iter().for_each(|byte| *byte = 1);
            end.copy_from_slice(secret);
        }
        mask(data, hidden_seed);
        mask(hidden_seed, data);
    }
    block
}

/// MGF1 with SHA-256, over the hidden bytes.
fn mask(hidden: &mut [u8], seed: &[u8]) {
    for (counter, chunk) in (0_u32..).zip(hidden.chunks_mut(DIGEST)) {
        let stream = Zeroizing::new(kdf::sha256(&[seed, &counter.to_be_bytes()]));
        chunk.iter_mut().zip(stream.iter()).for_each(|(byte, stream)| *byte ^= stream);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_keys_are_refused() {
        let mut modulus = [0xff; 256];
        assert!(encrypt(&modulus, &[1; 32], &[2; 32]).is_some());
        modulus[0] = 0x7f;
        assert_eq!(encrypt(&modulus, &[1; 32], &[2; 32]), None, "2047 bits");
        modulus[0] = 0xff;
        modulus[255] = 0xfe;
        assert_eq!(encrypt(&modulus, &[1; 32], &[2; 32]), None, "even");
    }

    #[test]
    fn padding_comes_off_again() {
        let mut block = padded(&[1; 32], &[2; 32]);
        let (seed, data) = block[1..].split_at_mut(32);
        mask(seed, data);
        assert_eq!(seed, [2; 32]);
        mask(data, seed);
        assert_eq!(data[..32], kdf::sha256(&[b"SECRET\0"]));
        assert_eq!(data[32..190], [0; 158]);
        assert_eq!((data[190], &data[191..]), (1, &[1; 32][..]));
    }
}
