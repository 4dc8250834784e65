//! Signed policies: the key (`tpm2-pcr-public-key.pem`) and the signatures (`tpm2-pcr-signature.json`).
//!
//! References: systemd 257, systemd-measure(1) and src/shared/tpm2-util.c (`find_signature`,
//! `tpm2_tpm2b_public_from_openssl_pkey`); RFC 7468, RFC 5280 (SubjectPublicKeyInfo), RFC 8017.

use std::prelude::v1::*;

use base64ct::{Base64, Encoding as _};
use pkcs1::RsaPublicKey;
use serde_json::Value;
use spki::{
    Document, ObjectIdentifier, SubjectPublicKeyInfoRef,
    der::{Decode as _, asn1::UintRef},
};
use tpm2_protocol::data::{TpmAlgId, TpmCc, TpmaObject};

use super::{
    Bank, Entity, PcrMask, PolicyDigest, Tpm, TpmError,
    command::{Command, Params},
    entity,
    kdf::{self, DIGEST},
};

/// rsaEncryption (RFC 8017, appendix A.1).
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// The exponent that a TPM takes 0 for.
const DEFAULT_EXPONENT: u32 = 65537;
/// Signature files are some kilobytes: as many signatures as there are phases and banks.
const MAX_SIZE: usize = 1 << 20;
/// `TPM_RH_OWNER`: in this hierarchy the TPM vouches for its verification.
const OWNER: u32 = 0x4000_0001;

/// An RSA key whose signatures count.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PublicKey {
    /// The PEM text, as tokens keep it.
    pem: Vec<u8>,
    /// The key alone, without the algorithm in front: an RSAPublicKey in DER (RFC 8017, appendix A.1.1).
    rsa: Vec<u8>,
    modulus: Vec<u8>,
    exponent: u32,
    /// The exponent 65537 is spelled out, not given as the default, as by some versions of systemd (systemd issue
    /// 30546).
    spelled_out: bool,
}

impl PublicKey {
    /// Reads a PEM file.
    ///
    /// # Errors
    /// The text is not a PEM file, or the key is not an RSA key.
    pub fn parse(pem: &[u8]) -> Result<Self, TpmError> {
        let invalid = |what: &str| TpmError::Invalid(format!("the public key for PCR signatures {what}"));
        let text = core::str::from_utf8(pem).map_err(|_| invalid("is not a PEM file"))?;
        let (label, document) = Document::from_pem(text).map_err(|_| invalid("is not a PEM file"))?;
        let der = document.into_vec();
        let info = SubjectPublicKeyInfoRef::from_der(&der).map_err(|_| invalid("is not well-formed"))?;
        if label != "PUBLIC KEY" || info.algorithm.oid != RSA_ENCRYPTION {
            return Err(invalid("is not an RSA key; sign with RSA"));
        }
        let bits = info.subject_public_key.as_bytes().ok_or_else(|| invalid("is not well-formed"))?;
        let key = RsaPublicKey::from_der(bits).map_err(|_| invalid("is not well-formed"))?;
        let exponent = number(key.public_exponent).ok_or_else(|| invalid("has too large an exponent"))?;
        let modulus = key.modulus.as_bytes().to_vec();
        Ok(Self { pem: pem.into(), rsa: bits.to_vec(), modulus, exponent, spelled_out: false })
    }

    /// The PEM text.
    pub fn pem(&self) -> &[u8] {
        &self.pem
    }

    /// The same key as encoded by versions of systemd that spelled the default exponent out; its name differs.
    #[must_use]
    pub fn spelled_out(mut self) -> Self {
        self.spelled_out = true;
        self
    }

    /// The name that signature files give the key (`pkfp`): SHA-256 of its RSAPublicKey in DER (systemd:
    /// src/shared/openssl-util.c, `pubkey_fingerprint`).
    pub fn fingerprint(&self) -> [u8; DIGEST] {
        kdf::sha256(&[&self.rsa])
    }

    /// Its name for the TPM.
    pub fn name(&self) -> Vec<u8> {
        entity::name(&self.public())
    }

    /// A `TPMT_PUBLIC`.
    fn public(&self) -> Vec<u8> {
        let exponent = if self.exponent == DEFAULT_EXPONENT && !self.spelled_out { 0 } else { self.exponent };
        let attributes = TpmaObject::DECRYPT | TpmaObject::SIGN_ENCRYPT | TpmaObject::USER_WITH_AUTH;
        let bits = u16::try_from(self.modulus.len().saturating_mul(8)).unwrap_or(u16::MAX);
        let null = (TpmAlgId::Null as u16).to_be_bytes();
        [
            &(TpmAlgId::Rsa as u16).to_be_bytes(),
            &(TpmAlgId::Sha256 as u16).to_be_bytes(),
            attributes.bits().to_be_bytes().as_slice(),
            &[0, 0],
            &null,
            &null,
            &bits.to_be_bytes(),
            &exponent.to_be_bytes(),
            &u16::try_from(self.modulus.len()).unwrap_or(u16::MAX).to_be_bytes(),
            &self.modulus,
        ]
        .concat()
    }

    /// A `TPMT_SIGNATURE`: RSASSA with SHA-256.
    pub(super) fn signature(bytes: &[u8]) -> Result<Vec<u8>, TpmError> {
        let params =
            Params::new().push(&TpmAlgId::Rsassa)?.push(&TpmAlgId::Sha256)?.sized(bytes)?.into_bytes();
        Ok(params.to_vec())
    }
}

fn number(value: UintRef<'_>) -> Option<u32> {
    let bytes = value.as_bytes();
    let mut wide = [0; 4];
    wide.get_mut(4_usize.checked_sub(bytes.len())?..)?.copy_from_slice(bytes);
    Some(u32::from_be_bytes(wide))
}

impl Tpm<'_> {
    pub(super) fn load_external(&mut self, key: &PublicKey) -> Result<Entity, TpmError> {
        let params = Params::new().sized(&[])?.sized(&key.public())?.raw(&OWNER.to_be_bytes())?;
        let command = Command { code: TpmCc::LoadExternal, handles: &[], params, gives_handle: true };
        let response = self.execute(command, &mut [])?;
        Ok(Entity { handle: response.handle, name: key.name() })
    }
}

/// PCRs whose values a key's owner vouches for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedPcrs {
    /// The PCRs.
    pub pcrs: PcrMask,
    /// Whose signature counts.
    pub key: PublicKey,
    /// The purpose that the signature is for (`--tpm2-public-key-policyref=` of 262); empty: for none in particular.
    pub reference: String,
}

impl SignedPcrs {
    /// The `policyRef` for the TPM: the digest of the purpose (systemd 262, `--tpm2-public-key-policyref=`), or nothing.
    pub(super) fn policy_ref(&self) -> Vec<u8> {
        match self.reference.as_bytes() {
            [] => Vec::new(),
            reference => kdf::sha256(&[reference]).to_vec(),
        }
    }

    /// The purpose, for people. It comes from the disk: quoted, so that it cannot pretend to be anything else.
    pub(super) fn purpose(&self) -> String {
        match self.reference.as_str() {
            "" => String::new(),
            reference => format!(" with the reference {:?}", reference.chars().take(48).collect::<String>()),
        }
    }
}

/// A signature file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Signatures(Vec<Signature>);

#[derive(Clone, PartialEq, Eq, Debug)]
struct Signature {
    bank: Bank,
    pcrs: PcrMask,
    key: Vec<u8>,
    /// The purpose that it is for; empty: for none in particular.
    reference: String,
    policy: Vec<u8>,
    signature: Vec<u8>,
}

impl Signatures {
    /// Reads `tpm2-pcr-signature.json`. Banks that we do not know are left out.
    ///
    /// # Errors
    /// It is too large, no JSON, or an entry lacks a member.
    pub fn parse(text: &[u8]) -> Result<Self, TpmError> {
        let invalid = |what: &str| TpmError::Invalid(format!("tpm2-pcr-signature.json {what}"));
        if text.len() > MAX_SIZE {
            return Err(invalid("is larger than 1 MiB"));
        }
        let value: Value = serde_json::from_slice(text).map_err(|_| invalid("is not JSON"))?;
        let banks = value.as_object().ok_or_else(|| invalid("is not an object of banks"))?;
        let mut all = Vec::new();
        for (bank, entries) in banks {
            let Some(bank) = Bank::parse(bank) else { continue };
            let entries = entries.as_array().ok_or_else(|| invalid("has a bank that is not a list"))?;
            for entry in entries {
                all.push(Signature::parse(bank, entry).ok_or_else(|| invalid("has an incomplete entry"))?);
            }
        }
        Ok(Self(all))
    }

    /// The signature by this key, with this reference, for PCRs with this policy.
    pub(super) fn find(&self, bank: Bank, signed: &SignedPcrs, policy: &PolicyDigest) -> Option<&[u8]> {
        let key = signed.key.fingerprint();
        let found = self.0.iter().find(|entry| {
            entry.bank == bank
                && entry.pcrs == signed.pcrs
                && entry.key == key
                && entry.reference == signed.reference
                && entry.policy == policy
        });
        found.map(|entry| entry.signature.as_slice())
    }
}

impl Signature {
    fn parse(bank: Bank, entry: &Value) -> Option<Self> {
        let text = |name: &str| entry.get(name)?.as_str();
        Some(Self {
            bank,
            pcrs: pcrs(entry.get("pcrs")?)?,
            key: unhex(text("pkfp")?)?,
            reference: entry.get("ref").map_or(Some(""), Value::as_str)?.into(),
            policy: unhex(text("pol")?)?,
            signature: Base64::decode_vec(text("sig")?).ok()?,
        })
    }
}

/// A list of PCR numbers.
pub(super) fn pcrs(value: &Value) -> Option<PcrMask> {
    let numbers = value.as_array()?.iter().map(|pcr| u32::try_from(pcr.as_u64()?).ok());
    PcrMask::of(numbers.collect::<Option<Vec<u32>>>()?)
}

/// Bytes out of hexadecimal digits.
pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(pair.first()?)? << 4 | digit(pair.get(1)?)?)).collect()
}

/// Hexadecimal digits out of bytes.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A key of 512 bits, made by `openssl genrsa 512 | openssl rsa -pubout`.
    const KEY: &[u8] =
        b"-----BEGIN PUBLIC KEY-----\nMFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBANkuBYjfmrzYLtP0O+30sVRvOOl98ek0\n\
        gN+ZUYezHgqoquwFzg+erqNNqKS5SlgWKjUWQyad/dQ+6SX5/+au9QUCAwEAAQ==\n-----END PUBLIC KEY-----\n";

    #[test]
    fn a_file_is_searched_by_bank_pcrs_key_reference_and_policy() {
        let key = PublicKey::parse(KEY).unwrap();
        let policy = [0x22; 32];
        let entry = |signature: &str, more: &str| {
            let (key, policy) = (hex(&key.fingerprint()), hex(&policy));
            format!(r#"{{"pcrs":[11],"pkfp":"{key}","pol":"{policy}","sig":"{signature}"{more}}}"#)
        };
        let (plain, initrd) = (entry("AQID", ""), entry("BAUG", r#","ref":"initrd""#));
        let file =
            |entries: &str| Signatures::parse(format!(r#"{{"sha256":[{entries}],"sm3_256":[]}}"#).as_bytes());
        let signed = |pcrs: &str, reference: &str| SignedPcrs {
            pcrs: PcrMask::parse(pcrs).unwrap(),
            key: key.clone(),
            reference: reference.into(),
        };
        let both = file(&format!("{initrd},{plain}")).unwrap();
        let find = |bank, signed: &SignedPcrs, policy| both.find(bank, signed, policy).map(<[u8]>::to_vec);
        assert_eq!(find(Bank::Sha256, &signed("11", ""), &policy), Some(vec![1, 2, 3]));
        assert_eq!(find(Bank::Sha256, &signed("11", "initrd"), &policy), Some(vec![4, 5, 6]));
        assert_eq!(find(Bank::Sha256, &signed("11", "other"), &policy), None);
        assert_eq!(find(Bank::Sha1, &signed("11", ""), &policy), None);
        assert_eq!(find(Bank::Sha256, &signed("11", ""), &[0x33; 32]), None);
        assert_eq!(find(Bank::Sha256, &signed("7", ""), &policy), None);
        assert_eq!(file(&initrd).unwrap().find(Bank::Sha256, &signed("11", ""), &policy), None);
        assert!(file(&entry("AQID", r#","ref":7"#)).is_err());
    }

    proptest! {
        #[test]
        fn parsing_is_total(text in "\\PC{0,200}", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _total = Signatures::parse(text.as_bytes());
            let _total = PublicKey::parse(&bytes);
        }
    }
}
