//! The LUKS2 token `systemd-tpm2`: the entry of a volume's header about a key that the TPM keeps.
//!
//! A token comes from a disk that anybody may have written. It decides nothing: a wrong one makes the TPM refuse, or
//! gives a passphrase that opens no keyslot.
//!
//! Reference: systemd 257 and 262, src/shared/tpm2-util.c (`tpm2_make_luks2_json`, `tpm2_parse_luks2_json`).

use std::prelude::v1::*;

use base64ct::{Base64, Encoding as _};
use serde_json::{Value, json};

use super::{
    Argon2id, Bank, Blob, PcrMask, Pin, Policy, PolicyDigest, SignedPcrs, StorageKey, Tpm, TpmError, object,
    policy,
    seal::passphrase,
    signature::{PublicKey, Signatures, hex, pcrs, unhex},
};
use crate::{secret::Secret, sort, units::Bytes};

/// The token's type.
pub const TYPE: &str = "systemd-tpm2";
/// The members that are known. Another one may say that the TPM is to be asked in another way: a right PIN would count as a wrong one.
const MEMBERS: [&str; 18] = [
    "type",
    "keyslots",
    "tpm2-blob",
    "tpm2-pcrs",
    "tpm2-pcr-bank",
    "tpm2-policy-hash",
    "tpm2-primary-alg",
    "tpm2-pin",
    "tpm2_pcrlock",
    "tpm2_pcrlock_nv",
    "tpm2_pubkey",
    "tpm2_pubkey_pcrs",
    REFERENCE,
    "tpm2_salt",
    "tpm2_srk",
    MEMORY,
    PASSES,
    LANES,
];
const REFERENCE: &str = "tpm2_pubkey_ref";
const MEMORY: &str = "tpm2_argon2id_memcost";
const PASSES: &str = "tpm2_argon2id_iterations";
const LANES: &str = "tpm2_argon2id_lanes";
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
    /// The cost of the PIN, of which 262 takes a part for the key of the volume.
    pub argon2id: Option<Argon2id>,
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
    /// A member is missing or invalid; a policy that is not supported (pcrlock); a token with a PIN has a member that is not known.
    pub fn parse(value: &Value) -> Result<Self, TpmError> {
        let member = |name: &'static str| {
            value.get(name).ok_or_else(|| TpmError::Invalid(format!("the TPM token lacks {name}")))
        };
        let invalid = |name: &str| TpmError::Invalid(format!("{name} of the TPM token is not valid"));
        let flag =
            |name: &str| value.get(name).map_or(Some(false), Value::as_bool).ok_or_else(|| invalid(name));
        let base64 = |name: &str, value: &Value| {
            value.as_str().and_then(|text| Base64::decode_vec(text).ok()).ok_or_else(|| invalid(name))
        };
        let optional = |name: &str| value.get(name).map(|value| base64(name, value)).transpose();
        if flag("tpm2_pcrlock")? {
            return Err(TpmError::Unsupported(
                "the TPM token is bound to systemd-pcrlock, which is not supported; enrol with PCRs or a signed policy",
            ));
        }
        let pin = flag("tpm2-pin")?;
        if let Some(name) = unknown(value).filter(|_| pin) {
            return Err(TpmError::Invalid(format!(
                "the TPM token has the member {name:?}, which is not known: its PIN is not asked for, use another key"
            )));
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
                let reference = value.get(REFERENCE).map_or(Some(""), Value::as_str);
                let reference = reference.ok_or_else(|| invalid(REFERENCE))?.into();
                let signed = |key| SignedPcrs { pcrs, key, reference };
                if pcrs.is_empty() { None } else { Some(signed(PublicKey::parse(&pem)?)) }
            }
            _ => None,
        };
        let (salt, argon2id) = (optional("tpm2_salt")?, argon2id(value)?);
        if argon2id.is_some() && (salt.is_none() || !pin) {
            return Err(invalid(MEMORY));
        }
        Ok(Self {
            blob: Blob::parse(&base64("tpm2-blob", blob)?)?,
            policy: Policy {
                bank,
                pcrs: pcrs(member("tpm2-pcrs")?).ok_or_else(|| invalid("tpm2-pcrs"))?,
                signed,
                pin,
            },
            digest: digest.ok_or_else(|| invalid("tpm2-policy-hash"))?,
            salt,
            argon2id,
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
                if !signed.reference.is_empty() {
                    add(REFERENCE, json!(signed.reference));
                }
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
            if let Some(Argon2id { memory, passes, lanes }) = self.argon2id {
                add(MEMORY, json!(memory.0));
                add(PASSES, json!(passes));
                add(LANES, json!(lanes));
            }
            if let Some(key) = &self.storage_key {
                add("tpm2_srk", json!(Base64::encode_string(key)));
            }
        }
        value
    }
}

/// The first member that is not known.
fn unknown(token: &Value) -> Option<&str> {
    let members = token.as_object()?.keys().map(String::as_str);
    let name = members.into_iter().find(|name| !MEMBERS.contains(name))?;
    Some(name.get(..name.floor_char_boundary(48)).unwrap_or_default())
}

/// The cost of Argon2id: none of its members, or all.
fn argon2id(token: &Value) -> Result<Option<Argon2id>, TpmError> {
    if [MEMORY, PASSES, LANES].iter().all(|name| token.get(name).is_none()) {
        return Ok(None);
    }
    let invalid = |name: &str| TpmError::Invalid(format!("{name} of the TPM token is not valid"));
    let number = |name: &str| {
        let number = token.get(name).and_then(Value::as_u64).filter(|number| *number > 0);
        number.ok_or_else(|| invalid(name))
    };
    let count = |name: &str| u32::try_from(number(name)?).map_err(|_| invalid(name));
    let argon2id = Argon2id { memory: Bytes(number(MEMORY)?), passes: count(PASSES)?, lanes: count(LANES)? };
    match argon2id.kib() {
        None | Some(0) => Err(invalid(MEMORY)),
        Some(_) => Ok(Some(argon2id)),
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
            argon2id: None,
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
            Ok(secret) => Ok(passphrase(&pin.complete(secret))),
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
            signed: Some(SignedPcrs { key: signed.key.clone().spelled_out(), ..signed.clone() }),
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
            argon2id: Some(Argon2id { memory: Bytes(67_108_865), passes: 2, lanes: 4 }),
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

    /// A later systemd may say by a member of its own how the PIN goes to the TPM, or give a known one another kind.
    #[test]
    fn what_is_not_known_about_a_pin_is_named() {
        let token = |name: &str, member: Value| {
            let mut token = json!({
                "type": TYPE, "keyslots": ["1"], "tpm2-blob": "AAEBAAEC", "tpm2-pcrs": [], "tpm2-pcr-bank": "sha256",
                "tpm2-policy-hash": "00".repeat(32), "tpm2-pin": true, "tpm2_salt": "AQID", MEMORY: 67108864, PASSES: 8, LANES: 4,
            });
            token[name] = member;
            Token::parse(&token)
        };
        assert_eq!(
            token(LANES, json!(4)).unwrap().argon2id,
            Some(Argon2id { memory: Bytes(67108864), passes: 8, lanes: 4 })
        );
        for (name, member, says) in [
            (MEMORY, json!(1023), "tpm2_argon2id_memcost"),
            (MEMORY, json!(1_u64 << 43), "tpm2_argon2id_memcost"),
            (MEMORY, json!(0), "tpm2_argon2id_memcost"),
            (PASSES, json!("8"), "tpm2_argon2id_iterations"),
            (LANES, Value::Null, "tpm2_argon2id_lanes"),
            ("tpm2-pin", json!("scrypt"), "tpm2-pin"),
            ("tpm2-pin", json!(false), "tpm2_argon2id_memcost"),
            ("tpm2_scrypt_n", json!(1), "the member \"tpm2_scrypt_n\", which is not known"),
            ("\u{1b}[2J", json!(1), "the member \"\\u{1b}[2J\", which"),
        ] {
            let error = token(name, member).unwrap_err().to_string();
            assert!(error.contains(says), "{name}: {error}");
        }
        // Without a PIN nothing is lost by an attempt.
        let mut without = json!({
            "type": TYPE, "keyslots": ["1"], "tpm2-blob": "AAEBAAEC", "tpm2-pcrs": [], "tpm2-policy-hash": "00".repeat(32),
        });
        without["somebody's"] = json!(1);
        assert!(Token::parse(&without).is_ok());
    }

    proptest! {
        #[test]
        fn parsing_is_total(blob in "[A-Za-z0-9+/=]{0,40}", pcr in any::<u64>(), hash in "[0-9a-fx]{0,70}") {
            let _total = Token::parse(&json!({
                "type": TYPE, "tpm2-blob": blob, "tpm2-pcrs": [pcr], "tpm2-policy-hash": hash,
                "tpm2_pubkey": blob, "tpm2_pubkey_pcrs": [11], "tpm2_srk": blob, "tpm2-pin": true, "tpm2_pubkey_ref": hash,
                "tpm2_salt": blob, MEMORY: pcr, PASSES: pcr, LANES: pcr,
            }));
        }
    }
}
