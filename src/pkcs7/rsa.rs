//! RSASSA-PKCS1-v1_5 (RFC 8017, section 8.2.2): the signature's number is raised, and the block that it must be is made and compared
//! whole, so that no parser can be led astray.

use p256::elliptic_curve::bigint::{NonZero, U4096};
use std::prelude::v1::*;

use super::digest::Digest;

/// Bytes of the smallest modulus that is accepted: 2048 bits.
const SMALLEST: usize = 256;
/// Bytes of the largest one: 4096 bits.
const LARGEST: usize = U4096::BYTES;

/// A public key. Its modulus has 2048 to 4096 bits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct RsaKey {
    modulus: NonZero<U4096>,
    /// Bytes of the modulus.
    length: usize,
    exponent: u32,
}

impl RsaKey {
    /// The key with these numbers, big-endian and without leading zeroes. None: too small, too large, or no key.
    pub fn new(modulus: &[u8], exponent: &[u8]) -> Option<Self> {
        let length = modulus.len();
        if !(SMALLEST..=LARGEST).contains(&length) || modulus.last().is_none_or(|byte| byte & 1 == 0) {
            return None;
        }
        let mut wide = [0; 4];
        wide.get_mut(4_usize.checked_sub(exponent.len())?..)?.copy_from_slice(exponent);
        let exponent = u32::from_be_bytes(wide);
        if exponent < 3 || exponent & 1 == 0 {
            return None;
        }
        let modulus = Option::from(NonZero::new(number(modulus)?))?;
        Some(Self { modulus, length, exponent })
    }

    /// True when the key signed this digest.
    pub fn verifies(&self, digest: Digest, value: &[u8], signature: &[u8]) -> bool {
        let Some(base) = number(signature)
            .filter(|number| signature.len() == self.length && number < self.modulus.as_ref())
        else {
            return false;
        };
        // Nothing here is a secret. From the bit below the highest one of the exponent down.
        let bits = 31_u32.saturating_sub(self.exponent.leading_zeros());
        let power = (0..bits).rev().fold(base, |power, bit| {
            let square = power.mul_mod_vartime(&power, &self.modulus);
            match self.exponent >> bit & 1 {
                0 => square,
                _ => square.mul_mod_vartime(&base, &self.modulus),
            }
        });
        self.block(digest, value).and_then(|block| number(&block)).is_some_and(|block| block == power)
    }

    /// The block that a signature of this digest is raised to: 0, 1, 255 as often as they fit, 0, DigestInfo (section 9.2).
    fn block(&self, digest: Digest, value: &[u8]) -> Option<Vec<u8>> {
        let info = digest.info();
        let filling = self.length.checked_sub(3 + info.len() + value.len())?;
        let mut block = vec![0, 1];
        block.resize(2 + filling, 0xff);
        block.push(0);
        block.extend_from_slice(&info);
        block.extend_from_slice(value);
        Some(block)
    }
}

/// The number of these bytes; None when there are too many.
fn number(bytes: &[u8]) -> Option<U4096> {
    let mut wide = [0; LARGEST];
    wide.get_mut(LARGEST.checked_sub(bytes.len())?..)?.copy_from_slice(bytes);
    Some(U4096::from_be_slice(&wide))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_bounded() {
        let modulus = [0xff; 512];
        for (modulus, exponent, accepted) in [
            (&modulus[..256], &[1, 0, 1][..], true),
            (&modulus[..], &[3], true),
            (&modulus[..255], &[1, 0, 1], false),
            (&[0xff; 513], &[1, 0, 1], false),
            (&[0xfe; 256], &[1, 0, 1], false),
            (&modulus, &[1], false),
            (&modulus, &[1, 0, 0], false),
            (&modulus, &[], false),
            (&modulus, &[1, 0, 0, 0, 1], false),
            (&[], &[3], false),
        ] {
            assert_eq!(RsaKey::new(modulus, exponent).is_some(), accepted, "{} {exponent:?}", modulus.len());
        }
    }

    #[test]
    fn numbers_that_are_no_signature_are_refused() {
        let key = RsaKey::new(&[0xff; 256], &[1, 0, 1]).unwrap();
        let value = Digest::Sha256.of(&[b"x"]);
        for signature in [&[][..], &[0; 256], &[1; 255], &[0xff; 256], &[1; 257], &[0; 4096]] {
            assert!(!key.verifies(Digest::Sha256, &value, signature), "{}", signature.len());
        }
        // 1 is 1, whatever it is raised to.
        let one = [&[0; 255][..], &[1]].concat();
        assert!(!key.verifies(Digest::Sha256, &value, &one));
    }
}
