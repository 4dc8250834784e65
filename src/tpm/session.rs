//! A session: it proves that a command comes from us and a response from the TPM, and encrypts parameters on the bus.
//!
//! Every session here is salted with a secret that only the storage root key can read, so that an observer of the bus
//! cannot compute its key.
//!
//! Reference: TPM 2.0 Library part 1, section 19.6 (sessions).

use std::prelude::v1::*;

use tpm2_protocol::{
    basic::TpmUint16,
    data::{TpmAlgId, TpmCc, TpmtSymDef, TpmuSymKeyBits, TpmuSymMode},
};
use zeroize::Zeroizing;

use super::{
    Entity, StorageKey, Tpm, TpmError,
    command::{Command, Params},
    kdf::{self, DIGEST},
};

/// The purpose of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Authorizes by a secret, encrypts parameters; bound to the storage root key.
    Hmac,
    /// Collects the conditions of a policy.
    Policy,
}

/// An open session.
pub(super) struct Session {
    pub handle: u32,
    key: Zeroizing<[u8; DIGEST]>,
    pub nonce_tpm: Vec<u8>,
    pub nonce_caller: [u8; DIGEST],
}

impl Session {
    /// The session's key with an entity's authorization value behind it.
    pub fn key_with(&self, value: &[u8]) -> Zeroizing<Vec<u8>> {
        Zeroizing::new([self.key.as_slice(), value].concat())
    }

    /// The code that authenticates a command (`hash` of its parameters) or a response.
    pub fn mac(
        &self,
        value: &[u8],
        hash: &[u8; DIGEST],
        nonces: [&[u8]; 2],
        others: &[&[u8]],
        attributes: u8,
    ) -> [u8; DIGEST] {
        let [newer, older] = nonces;
        let attributes = [attributes];
        let mut parts: Vec<&[u8]> = vec![hash, newer, older];
        parts.extend(others);
        parts.push(&attributes);
        kdf::hmac(&self.key_with(value), &parts)
    }

    /// The session as an entity: its name is its handle.
    pub fn entity(&self) -> Entity {
        Entity::permanent(self.handle)
    }
}

impl Tpm<'_> {
    /// Opens a session, salted with `key`.
    ///
    /// # Errors
    /// The TPM refuses, or the key is not a point of its curve.
    pub(super) fn start_session(&mut self, key: &StorageKey, kind: Kind) -> Result<Session, TpmError> {
        let salt = self.salt(key)?;
        let nonce_caller = self.nonce();
        let (bind, bound) = match kind {
            Kind::Hmac => (key.entity.clone(), 0_u8),
            Kind::Policy => (Entity::null(), 1),
        };
        let cipher = TpmtSymDef {
            algorithm: TpmAlgId::Aes,
            key_bits: TpmuSymKeyBits::Aes(TpmUint16::from(128)),
            mode: TpmuSymMode::Aes(TpmAlgId::Cfb),
        };
        let params = Params::new()
            .sized(&nonce_caller)?
            .sized(&salt.told)?
            .raw(&[bound])?
            .push(&cipher)?
            .push(&TpmAlgId::Sha256)?;
        let command = Command {
            code: TpmCc::StartAuthSession,
            handles: &[&key.entity, &bind],
            params,
            gives_handle: true,
        };
        let mut response = self.execute(command, &mut [])?;
        let handle = response.handle;
        let nonce_tpm = response.sized()?.to_vec();
        // The storage root key's own authorization value, which the key of a bound session also has in it, is empty.
        let key = kdf::kdfa(salt.secret.as_slice(), b"ATH", &nonce_tpm, &nonce_caller, 256);
        Ok(Session { handle, key, nonce_tpm, nonce_caller })
    }

    /// Forgets a session or a loaded object.
    ///
    /// # Errors
    /// The TPM does not know it.
    pub(super) fn flush(&mut self, handle: u32) -> Result<(), TpmError> {
        let command = Command {
            code: TpmCc::FlushContext,
            handles: &[],
            params: Params::new().raw(&handle.to_be_bytes())?,
            gives_handle: false,
        };
        self.execute(command, &mut []).map(drop)
    }
}
