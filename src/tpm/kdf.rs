//! The key derivations of the specification, and the cipher of its sessions.
//!
//! References: TPM 2.0 Library part 1, sections 11.4.10.2 (KDFa), 11.4.10.3 (KDFe) and 21 (parameter encryption).

use std::prelude::v1::*;

use aes::{
    Aes128,
    cipher::{BlockCipherEncrypt as _, KeyInit as _},
};
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// Bytes of a SHA-256 digest: the hash of every session, name and policy here.
pub(super) const DIGEST: usize = 32;

/// SHA-256 over the parts.
pub(super) fn sha256(parts: &[&[u8]]) -> [u8; DIGEST] {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

/// HMAC-SHA256 over the parts.
pub(super) fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; DIGEST] {
    // An HMAC takes a key of any length; the error exists for other MACs.
    let Ok(mut mac) = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(key) else { return [0; DIGEST] };
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// One block of KDFa (SP800-108, counter mode): at most 256 bits, which is all that is asked for here.
pub(super) fn kdfa(
    key: &[u8],
    label: &[u8],
    context_u: &[u8],
    context_v: &[u8],
    bits: u32,
) -> Zeroizing<[u8; DIGEST]> {
    let (counter, bits) = (1_u32.to_be_bytes(), bits.to_be_bytes());
    Zeroizing::new(hmac(key, &[&counter, label, &[0], context_u, context_v, &bits]))
}

/// One block of KDFe (SP800-56A): the seed that an elliptic Diffie-Hellman exchange agreed on.
pub(super) fn kdfe(z: &[u8], label: &[u8], party_u: &[u8], party_v: &[u8]) -> Zeroizing<[u8; DIGEST]> {
    Zeroizing::new(sha256(&[&1_u32.to_be_bytes(), z, label, &[0], party_u, party_v]))
}

/// HKDF with SHA-256 (RFC 5869), one block: 256 bits out of a key and a salt, for the purpose that `info` names.
pub(super) fn hkdf(key: &[u8], salt: &[u8], info: &[u8]) -> Zeroizing<[u8; DIGEST]> {
    let extracted = Zeroizing::new(hmac(salt, &[key]));
    Zeroizing::new(hmac(&*extracted, &[info, &[1]]))
}

/// The direction of AES over a parameter.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Encrypt,
    Decrypt,
}

/// AES-128 in CFB mode, in place, under the key and vector that a session derives from its key and nonces.
pub(super) fn cfb(value: &[u8], newer: &[u8], older: &[u8], data: &mut [u8], direction: Direction) {
    let material = kdfa(value, b"CFB", newer, older, 256);
    let (key, vector) = material.split_at(16);
    let Ok(cipher) = Aes128::new_from_slice(key) else { return };
    let mut register = [0; 16];
    register.copy_from_slice(vector);
    for chunk in data.chunks_mut(16) {
        let mut stream = Zeroizing::new(register);
        cipher.encrypt_block((&mut *stream).into());
        for ((byte, stream), register) in chunk.iter_mut().zip(stream.iter()).zip(&mut register) {
            let other = *byte ^ stream;
            // The register takes the ciphertext: the output when it encrypts, the input when it decrypts.
            *register = if direction == Direction::Encrypt { other } else { *byte };
            *byte = other;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5869, appendix A.1: the first 32 of its 42 bytes.
    #[test]
    fn hkdf_is_that_of_the_specification() {
        let (salt, info): (Vec<u8>, Vec<u8>) = ((0..=0x0c).collect(), (0xf0..=0xf9).collect());
        let okm = hkdf(&[0x0b; 22], &salt, &info);
        let hex: String = okm.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf");
    }

    #[test]
    fn cfb_undoes_itself_at_every_length() {
        for length in 0..50 {
            let plain: Vec<u8> = (0..length).collect();
            let mut data = plain.clone();
            cfb(b"key", b"new", b"old", &mut data, Direction::Encrypt);
            assert!(length < 4 || data != plain);
            cfb(b"key", b"new", b"old", &mut data, Direction::Decrypt);
            assert_eq!(data, plain);
        }
    }
}
