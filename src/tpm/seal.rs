//! A secret into a blob that only this TPM opens, only while a policy holds; and out of it.
//!
//! References: TPM 2.0 Library part 3, sections 12 (object commands) and 13.3 (import); systemd 257,
//! src/shared/tpm2-util.c (`tpm2_seal`, `tpm2_unseal`).

use std::prelude::v1::*;

use base64ct::{Base64, Encoding as _};
use tpm2_protocol::data::{TpmAlgId, TpmCc, TpmaObject};
use zeroize::Zeroize as _;

use super::{
    Entity, Policy, PolicyDigest, StorageKey, Tpm, TpmError,
    command::{Auth, Command, DECRYPT, ENCRYPT, Params},
    entity,
    pin::Pin,
    session::Kind,
    signature::Signatures,
};
use crate::secret::Secret;

/// The largest number of attempts at a policy when a PCR was extended meanwhile (systemd's `RETRY_UNSEAL_MAX`).
const TRIES: u32 = 30;

/// A sealed secret, as tokens keep it: `TPM2B_PRIVATE`, `TPM2B_PUBLIC` and, when it was sealed without the TPM,
/// `TPM2B_ENCRYPTED_SECRET`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Blob {
    private: Vec<u8>,
    public: Vec<u8>,
    seed: Option<Vec<u8>>,
}

impl Blob {
    /// Takes a token's bytes apart.
    ///
    /// # Errors
    /// They are cut short, or something follows.
    pub fn parse(bytes: &[u8]) -> Result<Self, TpmError> {
        let mut rest = bytes;
        let mut take = || -> Option<Vec<u8>> {
            let length = usize::from(u16::from_be_bytes(rest.get(..2)?.try_into().ok()?));
            let (part, behind) = rest.get(2..)?.split_at_checked(length)?;
            rest = behind;
            Some(part.into())
        };
        let invalid = || TpmError::Invalid("the token's tpm2-blob is cut short".into());
        let (private, public) = (take().ok_or_else(invalid)?, take().ok_or_else(invalid)?);
        let seed = take();
        match (seed.is_some(), rest.is_empty()) {
            (_, true) => Ok(Self { private, public, seed }),
            _ => Err(TpmError::Invalid("something follows the token's tpm2-blob".into())),
        }
    }

    /// The bytes for a token.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for part in [Some(&self.private), Some(&self.public), self.seed.as_ref()].into_iter().flatten() {
            // Each came from a TPM2B.
            bytes.extend_from_slice(&u16::try_from(part.len()).unwrap_or_default().to_be_bytes());
            bytes.extend_from_slice(part);
        }
        bytes
    }
}

impl Tpm<'_> {
    /// Seals `secret` below the storage root key.
    ///
    /// # Errors
    /// The TPM refuses.
    pub fn seal(
        &mut self,
        key: &StorageKey,
        policy: &PolicyDigest,
        pin: Option<&Pin>,
        secret: &Secret,
    ) -> Result<Blob, TpmError> {
        let mut attributes = TpmaObject::FIXED_TPM | TpmaObject::FIXED_PARENT;
        // A typed PIN is protected against guessing; a policy needs no such protection.
        if pin.is_none() {
            attributes |= TpmaObject::NO_DA;
        }
        let public = Params::new()
            .push(&TpmAlgId::KeyedHash)?
            .push(&TpmAlgId::Sha256)?
            .push(&attributes)?
            .sized(policy)?
            .push(&TpmAlgId::Null)?
            .sized(&[])?
            .into_bytes();
        let value = pin.map_or(&[][..], Pin::value);
        let sensitive = Params::new().sized(value)?.sized(secret.expose())?.into_bytes();
        // Behind the two: no outside data, no PCRs.
        let params =
            Params::new().sized(&sensitive)?.sized(&public)?.sized(&[])?.raw(&0_u32.to_be_bytes())?;
        let mut session = self.start_session(key, Kind::Hmac)?;
        let command = Command { code: TpmCc::Create, handles: &[&key.entity], params, gives_handle: false };
        let auth = Auth::Session { session: &mut session, value: &[], attributes: DECRYPT | ENCRYPT };
        let created = self.execute(command, &mut [auth]);
        self.flush(session.handle)?;
        let mut created = created?;
        Ok(Blob { private: created.sized()?.to_vec(), public: created.sized()?.to_vec(), seed: None })
    }

    /// Makes the TPM release a secret.
    ///
    /// # Errors
    /// The policy does not hold, the PIN is wrong, the TPM is locked or another one.
    pub fn unseal(
        &mut self,
        key: &StorageKey,
        blob: &Blob,
        policy: &Policy,
        expected: &PolicyDigest,
        pin: &Pin,
        signatures: Option<&Signatures>,
    ) -> Result<Secret, TpmError> {
        let private = match &blob.seed {
            None => blob.private.clone(),
            Some(seed) => self.import(key, blob, seed)?,
        };
        let loaded = self.load(key, &private, &blob.public)?;
        let mut attempt = 1;
        let secret = loop {
            match self.unseal_loaded(key, &loaded, policy, expected, pin, signatures) {
                Err(error) if error.is_pcr_changed() && attempt < TRIES => attempt += 1,
                other => break other,
            }
        };
        self.flush(loaded.handle)?;
        secret
    }

    fn unseal_loaded(
        &mut self,
        key: &StorageKey,
        loaded: &Entity,
        policy: &Policy,
        expected: &PolicyDigest,
        pin: &Pin,
        signatures: Option<&Signatures>,
    ) -> Result<Secret, TpmError> {
        let mut session = self.start_session(key, Kind::Policy)?;
        let result = self.fulfil(&session, policy, signatures, expected).and_then(|()| {
            let value = if policy.pin { pin.value() } else { &[] };
            let command = Command {
                code: TpmCc::Unseal,
                handles: &[loaded],
                params: Params::new(),
                gives_handle: false,
            };
            let auth = Auth::Session { session: &mut session, value, attributes: ENCRYPT };
            let mut response = self.execute(command, &mut [auth])?;
            Ok(Secret::new(response.sized()?.to_vec()))
        });
        self.flush(session.handle)?;
        result
    }

    fn load(&mut self, key: &StorageKey, private: &[u8], public: &[u8]) -> Result<Entity, TpmError> {
        let params = Params::new().sized(private)?.sized(public)?;
        let command = Command { code: TpmCc::Load, handles: &[&key.entity], params, gives_handle: true };
        let response = self.execute(command, &mut [Auth::Empty])?;
        Ok(Entity { handle: response.handle, name: entity::name(public) })
    }

    /// Imports a secret that was sealed without the TPM, for its storage root key.
    fn import(&mut self, key: &StorageKey, blob: &Blob, seed: &[u8]) -> Result<Vec<u8>, TpmError> {
        let params = Params::new()
            .sized(&[])?
            .sized(&blob.public)?
            .sized(&blob.private)?
            .sized(seed)?
            .push(&TpmAlgId::Null)?;
        let command = Command { code: TpmCc::Import, handles: &[&key.entity], params, gives_handle: false };
        let mut response = self.execute(command, &mut [Auth::Empty])?;
        Ok(response.sized()?.to_vec())
    }
}

/// The passphrase of the LUKS2 keyslot: the secret's bytes in base64.
pub(super) fn passphrase(secret: &Secret) -> Secret {
    let mut text = Base64::encode_string(secret.expose());
    let passphrase = Secret::new(text.as_bytes().to_vec());
    text.zeroize();
    passphrase
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn blobs_are_taken_apart_and_put_together() {
        let bytes = [0, 1, 7, 0, 2, 8, 9];
        let blob = Blob::parse(&bytes).unwrap();
        assert_eq!(blob, Blob { private: vec![7], public: vec![8, 9], seed: None });
        assert_eq!(blob.to_bytes(), bytes);
        let sealed_elsewhere = [0, 1, 7, 0, 2, 8, 9, 0, 1, 5];
        assert_eq!(Blob::parse(&sealed_elsewhere).unwrap().to_bytes(), sealed_elsewhere);
        assert!(Blob::parse(&[0, 1, 7, 0, 2, 8]).is_err());
        assert!(Blob::parse(&[0, 1, 7, 0, 2, 8, 9, 0, 1]).is_err());
    }

    proptest! {
        #[test]
        fn taking_apart_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(blob) = Blob::parse(&bytes) {
                prop_assert_eq!(blob.to_bytes(), bytes);
            }
        }
    }
}
