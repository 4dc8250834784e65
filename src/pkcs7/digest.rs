//! The digests that signatures may be made of. SHA-1 and MD5 are refused, as by OpenSSL's default policy and the kernel.

use sha2::{Sha256, Sha384, Sha512};
use spki::ObjectIdentifier;
use std::prelude::v1::*;

use super::{element::Element, error::Pkcs7Error};

/// A digest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Digest {
    Sha256,
    Sha384,
    Sha512,
}

impl Digest {
    const ALL: [Self; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];

    /// The digest of this identifier.
    pub fn by_identifier(element: Element<'_>) -> Result<Self, Pkcs7Error> {
        Self::ALL.into_iter().find(|digest| element.is(&digest.identifier())).ok_or(Pkcs7Error::Unsupported(
            "its digest is not SHA-256, SHA-384 or SHA-512; sign with one of them",
        ))
    }

    /// NIST's identifier.
    const fn identifier(self) -> ObjectIdentifier {
        ObjectIdentifier::new_unwrap(match self {
            Self::Sha256 => "2.16.840.1.101.3.4.2.1",
            Self::Sha384 => "2.16.840.1.101.3.4.2.2",
            Self::Sha512 => "2.16.840.1.101.3.4.2.3",
        })
    }

    /// The digest with RSA (RFC 8017, appendix A.2.4).
    pub const fn with_rsa(self) -> ObjectIdentifier {
        ObjectIdentifier::new_unwrap(match self {
            Self::Sha256 => "1.2.840.113549.1.1.11",
            Self::Sha384 => "1.2.840.113549.1.1.12",
            Self::Sha512 => "1.2.840.113549.1.1.13",
        })
    }

    /// The digest with ECDSA (RFC 5758, section 3.2).
    pub const fn with_ecdsa(self) -> ObjectIdentifier {
        ObjectIdentifier::new_unwrap(match self {
            Self::Sha256 => "1.2.840.10045.4.3.2",
            Self::Sha384 => "1.2.840.10045.4.3.3",
            Self::Sha512 => "1.2.840.10045.4.3.4",
        })
    }

    /// The digest of parts that follow each other.
    pub fn of(self, parts: &[&[u8]]) -> Vec<u8> {
        match self {
            Self::Sha256 => of::<Sha256>(parts),
            Self::Sha384 => of::<Sha384>(parts),
            Self::Sha512 => of::<Sha512>(parts),
        }
    }

    /// DigestInfo in DER but for the digest itself (RFC 8017, section 9.2, note 1).
    pub fn info(self) -> [u8; 19] {
        let (kind, length) = match self {
            Self::Sha256 => (1, 32),
            Self::Sha384 => (2, 48),
            Self::Sha512 => (3, 64),
        };
        let [outer, digest] = [17 + length, length];
        [0x30, outer, 0x30, 13, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, kind, 5, 0, 4, digest]
    }
}

fn of<D: sha2::Digest>(parts: &[&[u8]]) -> Vec<u8> {
    let mut hash = D::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8017, section 9.2, note 1.
    #[test]
    fn the_infos_are_those_of_the_specification() {
        for (digest, expected) in [
            (Digest::Sha256, "3031300d060960864801650304020105000420"),
            (Digest::Sha384, "3041300d060960864801650304020205000430"),
            (Digest::Sha512, "3051300d060960864801650304020305000440"),
        ] {
            let text: String = digest.info().iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(text, expected);
            assert_eq!(digest.of(&[b"a", b"b"]), digest.of(&[b"ab"]));
            assert_eq!(digest.of(&[]).len(), usize::from(digest.info()[18]));
        }
    }
}
