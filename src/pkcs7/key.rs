//! The keys that certificates may have, and the check of a signature with one.

use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use pkcs1::RsaPublicKeyRef;
use spki::{ObjectIdentifier, SubjectPublicKeyInfoRef, der::Decode as _};
use std::prelude::v1::*;

use super::{digest::Digest, element::Element, error::Pkcs7Error, rsa::RsaKey};

/// rsaEncryption (RFC 8017, appendix A.1).
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// id-ecPublicKey (RFC 5480, section 2.1.1).
const ELLIPTIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// secp256r1 and secp384r1 (RFC 5480, section 2.1.1.1).
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");

const OTHER_KEY: Pkcs7Error =
    Pkcs7Error::Unsupported("its key is not RSA of 2048 to 4096 bits, P-256 or P-384; use one of them");

/// A public key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Key {
    Rsa(Box<RsaKey>),
    P256(p256::PublicKey),
    P384(p384::PublicKey),
}

impl Key {
    /// Reads a SubjectPublicKeyInfo.
    pub fn parse(whole: &[u8]) -> Result<Self, Pkcs7Error> {
        const FIELD: Pkcs7Error = Pkcs7Error::Malformed("public key");
        let info = SubjectPublicKeyInfoRef::from_der(whole).map_err(|_| FIELD)?;
        let bits = info.subject_public_key.as_bytes().ok_or(FIELD)?;
        match info.algorithm.oid {
            RSA => {
                let key = RsaPublicKeyRef::from_der(bits).map_err(|_| FIELD)?;
                let (modulus, exponent) = (key.modulus.as_bytes(), key.public_exponent.as_bytes());
                RsaKey::new(modulus, exponent).map(|key| Self::Rsa(Box::new(key))).ok_or(OTHER_KEY)
            }
            ELLIPTIC => match info.algorithm.parameters_oid() {
                Ok(P256) => p256::PublicKey::from_sec1_bytes(bits).map(Self::P256).map_err(|_| FIELD),
                Ok(P384) => p384::PublicKey::from_sec1_bytes(bits).map(Self::P384).map_err(|_| FIELD),
                _ => Err(OTHER_KEY),
            },
            _ => Err(OTHER_KEY),
        }
    }

    /// Checks that signatures of this algorithm, with this digest, are made with keys of this kind. The algorithm may be that of
    /// the key alone, as OpenSSL writes it for RSA.
    pub fn makes(&self, algorithm: Element<'_>, digest: Digest) -> Result<(), Pkcs7Error> {
        let (alone, together) = match self {
            Self::Rsa(_) => (RSA, digest.with_rsa()),
            Self::P256(_) | Self::P384(_) => (ELLIPTIC, digest.with_ecdsa()),
        };
        match algorithm.is(&alone) || algorithm.is(&together) {
            true => Ok(()),
            false => Err(Pkcs7Error::Unsupported(
                "its algorithm is neither RSA by PKCS#1 v1.5 nor ECDSA, or not that of the certificate's key; sign with one of them",
            )),
        }
    }

    /// True when the key signed this digest.
    pub fn verifies(&self, digest: Digest, value: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Rsa(key) => key.verifies(digest, value, signature),
            Self::P256(key) => p256::ecdsa::Signature::from_der(signature).is_ok_and(|signature| {
                p256::ecdsa::VerifyingKey::from(key).verify_prehash(value, &signature).is_ok()
            }),
            Self::P384(key) => p384::ecdsa::Signature::from_der(signature).is_ok_and(|signature| {
                p384::ecdsa::VerifyingKey::from(key).verify_prehash(value, &signature).is_ok()
            }),
        }
    }
}
