//! The LUKS2 token `systemd-tpm2`: the entry of a volume's header about a key that the TPM keeps.
//!
//! A token comes from a disk that anybody may have written. It decides nothing: a wrong one makes the TPM refuse, or
//! gives a passphrase that opens no keyslot.
//!
//! Reference: systemd 257, src/shared/tpm2-util.c (`tpm2_make_luks2_json`, `tpm2_parse_luks2_json`).

use std::prelude::v1::*;

use base64ct::{Base64, Encoding as _};
use serde_json::{Value, json};

use super::{
    Bank, Blob, PcrMask, Pin, Policy, PolicyDigest, SignedPcrs, StorageKey, Tpm, TpmError, object, policy,
    seal::passphrase,
    signature::{PublicKey, Signatures, hex, pcrs, unhex},
};
use crate::{secret::Secret, sort};

/// The token's type.
pub const TYPE: &str = "systemd-tpm2";
/// Bytes of a secret that we seal, as many as systemd seals.
const SECRET: usize = 32;

/// A token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    /// The sealed secret.
    pub blob: Blob,
    /// The conditions for the release.
    pub policy: Policy,
    /// The policy's digest when it was sealed.
    pub digest: PolicyDigest,
    /// The salt of the PIN.
    pub salt: Option<Vec<u8>>,
    /// The storage root key, serialised; None in tokens of old versions.
    pub storage_key: Option<Vec<u8>>,
    /// The kind of the key: old versions make a key by it, newer ones only record it.
    pub algorithm: &'static str,
}

/// A token where it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its number in the header.
    pub number: String,
    /// The keyslots that it has the key of.
    pub keyslots: Vec<u32>,
    /// The token, or why it cannot be used.
    pub token: Result<Token, TpmError>,
}

impl Token {
    /// Returns true when a member of a header's `tokens` is a TPM token.
    pub fn is_one(value: &Value) -> bool {
        value.get("type").and_then(Value::as_str) == Some(TYPE)
    }

    /// Those of a header's document, by number. One whose keyslot was removed stays behind in a header, and is left out.
    pub fn all(document: &Value) -> Vec<Entry> {
        let tokens = document.get("tokens").and_then(Value::as_object).into_iter().flatten();
        let ours = tokens.filter(|(_, value)| Self::is_one(value)).map(|(number, value)| Entry {
            number: number.clone(),
            keyslots: Self::keyslots(value),
            token: Self::parse(value),
        });
        ours.filter(|entry| !entry.keyslots.is_empty()).collect()
    }

    /// The keyslots that a member of a header's `tokens` has the key of.
    fn keyslots(value: &Value) -> Vec<u32> {
        let numbers = value.get("keyslots").and_then(Value::as_array).into_iter().flatten();
        let mut numbers: Vec<u32> = numbers.filter_map(|number| number.as_str()?.parse().ok()).collect();
        // A set: whoever wrote the header may have named one of them tens of thousands of times.
        sort::slice(&mut numbers);
        numbers.dedup();
        numbers
    }

    /// Reads a member of a header's `tokens`.
    ///
    /// # Errors
    /// A member is missing or invalid; a policy that is not supported (pcrlock).
    pub fn parse(value: &Value) -> Result<Self, TpmError> {
        let member = |name: &'static str| {
            value.get(name).ok_or_else(|| TpmError::Invalid(format!("the TPM token lacks {name}")))
        };
        let invalid = |name: &str| TpmError::Invalid(format!("{name} of the TPM token is not valid"));
        let flag = |name: &str| value.get(name).and_then(Value::as_bool).unwrap_or(false);
        let base64 = |name: &str, value: &Value| {
            value.as_str().and_then(|text| Base64::decode_vec(text).ok()).ok_or_else(|| invalid(name))
        };
        let optional = |name: &str| value.get(name).map(|value| base64(name, value)).transpose();
        if flag("tpm2_pcrlock") {
            return Err(TpmError::Unsupported(
                "the TPM token is bound to systemd-pcrlock, which is not supported; enrol with PCRs or a signed policy",
            ));
        }
        let blob = single(member("tpm2-blob")?).ok_or_else(|| invalid("tpm2-blob"))?;
        let digest = single(member("tpm2-policy-hash")?).and_then(Value::as_str).and_then(unhex);
        let digest = digest.and_then(|bytes| PolicyDigest::try_from(bytes).ok());
        let bank = match value.get("tpm2-pcr-bank") {
            None => Bank::Sha256,
            Some(bank) => bank.as_str().and_then(Bank::parse).ok_or_else(|| invalid("tpm2-pcr-bank"))?,
        };
        let signed = match (value.get("tpm2_pubkey_pcrs"), optional("tpm2_pubkey")?) {
            (Some(list), Some(pem)) => {
                let pcrs = pcrs(list).ok_or_else(|| invalid("tpm2_pubkey_pcrs"))?;
                // systemd writes an empty list when there is no signed policy.
                if pcrs.is_empty() { None } else { Some(SignedPcrs { pcrs, key: PublicKey::parse(&pem)? }) }
            }
            _ => None,
        };
        Ok(Self {
            blob: Blob::parse(&base64("tpm2-blob", blob)?)?,
            policy: Policy {
                bank,
                pcrs: pcrs(member("tpm2-pcrs")?).ok_or_else(|| invalid("tpm2-pcrs"))?,
                signed,
                pin: flag("tpm2-pin"),
            },
            digest: digest.ok_or_else(|| invalid("tpm2-policy-hash"))?,
            salt: optional("tpm2_salt")?,
            storage_key: optional("tpm2_srk")?,
            algorithm: if value.get("tpm2-primary-alg").and_then(Value::as_str) == Some("rsa") {
                "rsa"
            } else {
                "ecc"
            },
        })
    }

    /// The member of a header's `tokens`, for this keyslot.
    pub fn to_json(&self, keyslot: u32) -> Value {
        let mut value = json!({
            "type": TYPE,
            "keyslots": [keyslot.to_string()],
            "tpm2-blob": Base64::encode_string(&self.blob.to_bytes()),
            "tpm2-pcrs": self.policy.pcrs.numbers().collect::<Vec<_>>(),
            "tpm2-policy-hash": hex(&self.digest),
            "tpm2-primary-alg": self.algorithm,
        });
        if let Some(members) = value.as_object_mut() {
            let mut add = |name: &str, member: Value| drop(members.insert(name.into(), member));
            if let Some(signed) = &self.policy.signed {
                add("tpm2_pubkey_pcrs", json!(signed.pcrs.numbers().collect::<Vec<_>>()));
                add("tpm2_pubkey", json!(Base64::encode_string(signed.key.pem())));
            }
            if !self.policy.pcrs.is_empty() || self.policy.signed.is_some() {
                add("tpm2-pcr-bank", json!(self.policy.bank.name()));
            }
            if self.policy.pin {
                add("tpm2-pin", json!(true));
            }
            if let Some(salt) = &self.salt {
                add("tpm2_salt", json!(Base64::encode_string(salt)));
            }
            if let Some(key) = &self.storage_key {
                add("tpm2_srk", json!(Base64::encode_string(key)));
            }
        }
        value
    }
}

/// The only element of what may be a list: systemd 258 writes lists, for a secret in two shards or in one.
fn single(value: &Value) -> Option<&Value> {
    match value.as_array().map(Vec::as_slice) {
        None => Some(value),
        Some([only]) => Some(only),
        Some(_) => None,
    }
}

impl Tpm<'_> {
    /// Seals a new secret to the PCRs as they are, but for `zeroes`: to those as they are before anything extends them. Returns
    /// the token for it, and the passphrase for the keyslot that it opens.
    ///
    /// # Errors
    /// The TPM refuses, or its bank of PCRs is not active.
    pub fn enrol(
        &mut self,
        policy: &Policy,
        zeroes: PcrMask,
        pin: Option<&Pin>,
        salt: Option<&[u8]>,
    ) -> Result<(Token, Secret), TpmError> {
        let key = self.storage_key_or_new()?;
        let digest = self.policy_digest(policy, zeroes)?;
        let mut secret = Secret::zeroed(SECRET);
        (self.random)(secret.expose_mut());
        let blob = self.seal(&key, &digest, pin, &secret)?;
        let token = Token {
            blob,
            policy: policy.clone(),
            digest,
            salt: salt.map(Into::into),
            storage_key: Some(key.serialize()),
            algorithm: key.algorithm(),
        };
        Ok((token, passphrase(&secret)))
    }

    /// The passphrase that a token leads to.
    ///
    /// # Errors
    /// The storage root key is another one, the policy does not hold, the PIN is wrong, the TPM is locked. A policy that would hold
    /// if PCR 15 were all zeroes has an error of its own.
    pub fn open(
        &mut self,
        token: &Token,
        pin: &Pin,
        signatures: Option<&Signatures>,
    ) -> Result<Secret, TpmError> {
        let key = self.storage_key_of(token)?;
        let policy = self.policy_as_sealed(token)?;
        match self.unseal(&key, &token.blob, &policy, &token.digest, pin, signatures) {
            Ok(secret) => Ok(passphrase(&secret)),
            Err(TpmError::PolicyMismatch { .. })
                if self.policy_digest(&policy, PcrMask::SYSTEM)? == token.digest =>
            {
                Err(TpmError::RootWasOpened)
            }
            Err(error) => Err(error),
        }
    }

    /// The storage root key that a token was made with, or another persistent key (`--tpm2-seal-key-handle=`). systemd
    /// before 254 had the TPM compute a key for each unlock, by a template that is not the storage root key's: such
    /// tokens are refused.
    fn storage_key_of(&mut self, token: &Token) -> Result<StorageKey, TpmError> {
        let Some(serialized) = &token.storage_key else {
            return Err(TpmError::Unsupported(
                "the TPM token is of a systemd before 254 and has no storage root key; enrol again",
            ));
        };
        let known = object::serialized_entity(serialized)?;
        match self.persistent_key(known.handle)? {
            Some(key) if key.entity == known => Ok(key),
            _ => Err(TpmError::OtherStorageKey),
        }
    }

    /// The policy with the public key as the sealing program encoded it (systemd issue 30546): the one whose digest is
    /// the token's, with the PCRs as they are.
    fn policy_as_sealed(&mut self, token: &Token) -> Result<Policy, TpmError> {
        let policy = &token.policy;
        let Some(signed) = &policy.signed else { return Ok(policy.clone()) };
        let other = Policy {
            signed: Some(SignedPcrs { pcrs: signed.pcrs, key: signed.key.clone().spelled_out() }),
            ..policy.clone()
        };
        let fits = self.policy_digest(&other, PcrMask::default())? == token.digest;
        Ok(if fits { other } else { policy.clone() })
    }

    /// The digest that a policy for these PCRs alone has now: a signature file is searched by it.
    ///
    /// # Errors
    /// The PCRs cannot be read.
    pub fn pcr_policy(&mut self, bank: Bank, pcrs: PcrMask) -> Result<PolicyDigest, TpmError> {
        let values = self.read_pcrs(bank, pcrs)?;
        Ok(policy::pcr(&[0; 32], bank, pcrs, &values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_is_read_back() {
        let token = Token {
            blob: Blob::parse(&[0, 1, 1, 0, 1, 2]).unwrap(),
            policy: Policy {
                bank: Bank::Sha256,
                pcrs: PcrMask::parse("7+14").unwrap(),
                signed: None,
                pin: true,
            },
            digest: [7; 32],
            salt: Some(vec![1, 2, 3]),
            storage_key: Some(vec![4, 5]),
            algorithm: "rsa",
        };
        let json = token.to_json(3);
        assert!(Token::is_one(&json));
        assert_eq!(json["keyslots"], json!(["3"]));
        let recovery = json!({ "type": "systemd-recovery", "keyslots": ["0"] });
        let left_behind = json!({ "type": TYPE, "keyslots": [] });
        let document = json!({ "tokens": { "0": recovery, "1": left_behind, "2": json.clone() } });
        let entry = Entry { number: "2".into(), keyslots: vec![3], token: Ok(token.clone()) };
        assert_eq!(Token::all(&document), [entry]);
        assert_eq!(Token::keyslots(&json!({ "keyslots": ["7", "x", 4, "-1", "5", "7"] })), [5, 7]);
        assert_eq!(Token::parse(&json), Ok(token));
    }

    #[test]
    fn lists_of_one_are_taken_and_pcrlock_is_refused() {
        let mut json = json!({
            "type": TYPE, "keyslots": ["1"], "tpm2-blob": ["AAEBAAEC"], "tpm2-pcrs": [], "tpm2-pcr-bank": "sha256",
            "tpm2-policy-hash": ["00".repeat(32)],
        });
        assert!(Token::parse(&json).is_ok());
        json["tpm2-blob"] = json!(["AAEBAAEC", "AAEBAAEC"]);
        assert!(matches!(Token::parse(&json), Err(TpmError::Invalid(_))));
        json["tpm2_pcrlock"] = json!(true);
        let error = Token::parse(&json).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the TPM token is bound to systemd-pcrlock, which is not supported; enrol with PCRs or a signed policy"
        );
    }

    proptest! {
        #[test]
        fn parsing_is_total(blob in "[A-Za-z0-9+/=]{0,40}", pcr in any::<u64>(), hash in "[0-9a-fx]{0,70}") {
            let _total = Token::parse(&json!({
                "type": TYPE, "tpm2-blob": blob, "tpm2-pcrs": [pcr], "tpm2-policy-hash": hash,
                "tpm2_pubkey": blob, "tpm2_pubkey_pcrs": [11], "tpm2_srk": blob,
            }));
        }
    }
}
