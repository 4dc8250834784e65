//! The signature of a root hash: the partition that holds it, and the words that name another place for it.
//!
//! References: Discoverable Partitions Specification, "Verity signature partitions"; systemd's src/shared/dissect-image.c
//! (`dissected_image_load_verity_sig_partition`); veritytab(5), `root-hash-signature=`.

use core::fmt;
use std::prelude::v1::*;

use base64ct::{Base64, Encoding as _};
use serde_json::Value;
use uuid::Uuid;

use super::root_hash::RootHash;
use crate::units::Bytes;

/// The largest signature partition that is read: systemd's bound. Image builders make 16 KiB.
pub const SIGNATURE_PARTITION_MAX: Bytes = Bytes(4 << 20);
/// The largest text in one. A signature has 32 KiB at most, which are 44 in base64.
const TEXT_MAX: usize = 1 << 16;

/// A root hash with its signature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signature {
    /// The root hash that it is for, as it says.
    pub root_hash: RootHash,
    /// The signature: PKCS#7 in DER over the root hash as lowercase hexadecimal digits.
    pub pkcs7: Vec<u8>,
    /// SHA-256 of the certificate in DER whose key made it, as it says.
    pub fingerprint: Option<String>,
}

/// The reason why a partition or a word holds no signature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SignatureError {
    /// Nothing but zeroes.
    Empty,
    /// Larger than a signature can be.
    TooLarge,
    /// Something other than zeroes follows the text.
    NotPadded,
    /// The text is not a JSON object.
    NotJson,
    /// A member that is missing or not what it should be.
    Member(&'static str),
}

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => {
                f.write_str("it is empty; sign the image that was built with verity=defer, or write it again")
            }
            Self::TooLarge => f.write_str("it is larger than a signature can be; write it again"),
            Self::NotPadded => f.write_str("something follows the JSON text; write it again"),
            Self::NotJson => f.write_str("it is not a JSON object, or cut short; write it again"),
            Self::Member(name) => write!(f, "its {name} is missing or invalid; write it again"),
        }
    }
}

impl core::error::Error for SignatureError {}

impl Signature {
    /// Reads a signature partition: a JSON object, and zeroes to the partition's end or nothing. Unknown members are passed over.
    ///
    /// # Errors
    /// See [`SignatureError`].
    pub fn parse(partition: &[u8]) -> Result<Self, SignatureError> {
        let end = partition.iter().position(|byte| *byte == 0).unwrap_or(partition.len());
        let (text, padding) = partition.split_at_checked(end).unwrap_or_default();
        if padding.iter().any(|byte| *byte != 0) {
            return Err(SignatureError::NotPadded);
        }
        match text.len() {
            0 => return Err(SignatureError::Empty),
            length if length > TEXT_MAX => return Err(SignatureError::TooLarge),
            _ => {}
        }
        let object: Value = serde_json::from_slice(text).map_err(|_| SignatureError::NotJson)?;
        if !object.is_object() {
            return Err(SignatureError::NotJson);
        }
        let member = |name| {
            object.get(name).map(|value| value.as_str().ok_or(SignatureError::Member(name))).transpose()
        };
        let root_hash = member("rootHash")?.and_then(|text| text.parse().ok());
        let pkcs7 = member("signature")?.and_then(decode);
        Ok(Self {
            root_hash: root_hash.ok_or(SignatureError::Member("rootHash"))?,
            pkcs7: pkcs7.ok_or(SignatureError::Member("signature"))?,
            fingerprint: member("certificateFingerprint")?
                .filter(|text| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
                .map(str::to_ascii_lowercase),
        })
    }

    /// A signature from elsewhere, for this root hash.
    ///
    /// # Errors
    /// It is empty.
    pub fn of(root_hash: &RootHash, pkcs7: Vec<u8>) -> Result<Self, SignatureError> {
        match pkcs7.as_slice() {
            [] => Err(SignatureError::Empty),
            _ => Ok(Self { root_hash: root_hash.clone(), pkcs7, fingerprint: None }),
        }
    }

    /// The bytes that were signed.
    pub fn signed(&self) -> String {
        self.root_hash.to_string()
    }

    /// The name under which cryptsetup gives a signature to the kernel, for a mapping with this name and superblock.
    pub fn key_description(uuid: Uuid, name: &str) -> String {
        format!("cryptsetup:{uuid}-{name}")
    }
}

/// Base64 with any white space in it, as systemd reads it. None: something else, or nothing.
fn decode(text: &str) -> Option<Vec<u8>> {
    let text: String = text.split_ascii_whitespace().collect();
    Base64::decode_vec(&text).ok().filter(|bytes| !bytes.is_empty())
}

/// The origin of a signature: `root-hash-signature=` of veritytab(5).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum SignatureSource {
    /// The partition beside /usr, when there is one.
    #[default]
    Discovered,
    /// `auto`: the partition beside /usr, which must be there.
    Partition,
    /// A file of the initramfs: PKCS#7 in DER.
    File(String),
    /// `base64:`: the signature itself.
    Bytes(Vec<u8>),
}

impl SignatureSource {
    /// Reads the value of the word. None: it is invalid.
    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix("base64:") {
            Some(text) => decode(text).map(Self::Bytes),
            None if text == "auto" => Some(Self::Partition),
            None => text.starts_with('/').then(|| Self::File(text.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HASH: &str = "00112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef";

    fn padded(text: &str, size: usize) -> Vec<u8> {
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize(size.max(bytes.len()), 0);
        bytes
    }

    #[test]
    fn a_partition_holds_an_object_and_zeroes() {
        let text = format!(
            r#"{{"rootHash":"{HASH}","certificateFingerprint":"{HASH}","signature":"AQI=","new":[1]}}"#
        );
        let expected =
            Signature { root_hash: HASH.parse().unwrap(), pkcs7: vec![1, 2], fingerprint: Some(HASH.into()) };
        for size in [0, 4096, 16384, 4 << 20] {
            assert_eq!(Signature::parse(&padded(&text, size)), Ok(expected.clone()), "{size}");
        }
        assert_eq!(expected.signed(), HASH);
        let without = Signature { fingerprint: None, ..expected };
        for text in [
            format!(r#"{{"rootHash":"{}","signature":"A Q\nI="}}"#, HASH.to_uppercase()),
            format!(
                " {{\"signature\":\"AQI=\",\n\"rootHash\":\"{HASH}\",\"certificateFingerprint\":\"x\"}}\n"
            ),
        ] {
            assert_eq!(Signature::parse(&padded(&text, 4096)), Ok(without.clone()), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused_by_name() {
        use SignatureError::{Empty, Member, NotJson, NotPadded, TooLarge};
        let mut followed = padded("{}", 4096);
        followed[4095] = b'}';
        for (bytes, error) in [
            (vec![], Empty),
            (vec![0; 16384], Empty),
            (followed, NotPadded),
            (padded("[]", 4096), NotJson),
            (padded("{\"rootHash\":\"00", 4096), NotJson),
            (padded("{} {}", 4096), NotJson),
            (vec![0xff; 4096], NotJson),
            (vec![b' '; (1 << 16) + 1], TooLarge),
            (padded("{}", 4096), Member("rootHash")),
            (padded(r#"{"rootHash":1}"#, 4096), Member("rootHash")),
            (padded(r#"{"rootHash":"00","signature":"AQI="}"#, 4096), Member("rootHash")),
            (padded(&format!(r#"{{"rootHash":"{HASH}"}}"#), 4096), Member("signature")),
            (padded(&format!(r#"{{"rootHash":"{HASH}","signature":""}}"#), 4096), Member("signature")),
            (padded(&format!(r#"{{"rootHash":"{HASH}","signature":"A"}}"#), 4096), Member("signature")),
        ] {
            assert_eq!(
                Signature::parse(&bytes),
                Err(error),
                "{:?}",
                String::from_utf8_lossy(&bytes[..bytes.len().min(80)])
            );
        }
    }

    /// The words of veritytab(5).
    #[test]
    fn a_signature_has_three_other_places() {
        for (text, source) in [
            ("auto", Some(SignatureSource::Partition)),
            ("/etc/usr.p7s", Some(SignatureSource::File("/etc/usr.p7s".into()))),
            ("base64:AQI=", Some(SignatureSource::Bytes(vec![1, 2]))),
            ("base64:", None),
            ("base64:!", None),
            ("usr.p7s", None),
            ("", None),
        ] {
            assert_eq!(SignatureSource::parse(text), source, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_partition_is_read_or_refused(text in "\\PC{0,200}", rest in proptest::collection::vec(any::<u8>(), 0..9)) {
            for text in [text.clone(), format!("{{\"rootHash\":\"{HASH}\",\"signature\":{text}")] {
                let _total = Signature::parse(&[text.as_bytes(), &rest].concat());
            }
            let _total = SignatureSource::parse(&text);
        }
    }
}
