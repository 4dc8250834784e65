//! TPM 2.0: the commands that sealing, unsealing and measuring need, and nothing else.
//!
//! | file | noun |
//! |---|---|
//! | `command` | one command with its authorizations, one response, checked |
//! | `salt` | what a session's key is made of, told to the storage root key alone |
//! | `session` | an HMAC or policy session: salted, bound, its parameters encrypted |
//! | `kdf` | the key derivations of the specification |
//! | `entity` | what the TPM knows by a handle, and its name |
//! | `object` | public areas, the storage root key |
//! | `lockout` | what the TPM does against guessing |
//! | `pin` | what the TPM is shown of a PIN, and its own part in the key |
//! | `pcr` | banks, selections, reading and extending |
//! | `policy` | what must hold before a secret is released |
//! | `seal` | a secret into a blob and out of it |
//! | `token` | the LUKS2 token `systemd-tpm2` |
//! | `signature` | a signed policy for PCRs (`tpm2-pcr-signature.json`) |
//! | `measure` | what systemd measures in an initrd, and its log |
//!
//! The bus between processor and TPM is a stranger's. Whoever listens there learns nothing: a secret crosses it encrypted in a
//! session whose salt only the storage root key can read, and the key is asked first whether the TPM alone has its private part.
//! Whoever changes an answer is found out where a session authenticates it: at a secret that is sealed or released. Two things do
//! not hold. Answers without a session (public areas, PCRs, banks, lockout) are believed; a false one makes sealing or unsealing
//! fail, or lets a policy be sealed that is not today's. And who answers in the TPM's place when the first secret is sealed,
//! with a key of his own, is taken for it, because nothing vouches for the key then; a token names its key, so later he is not.
//! A response is parsed by total functions.
//!
//! References: TCG TPM 2.0 Library, parts 1 to 3 (revision 1.59); systemd 257 and 262, src/shared/tpm2-util.c. Marshalling is
//! that of the crate tpm2-protocol.

mod command;
mod entity;
mod error;
mod kdf;
mod lockout;
pub mod measure;
mod object;
mod pcr;
mod pin;
mod policy;
mod salt;
mod seal;
mod session;
pub mod signature;
mod token;

use std::prelude::v1::*;

use zeroize::Zeroizing;

pub use entity::Entity;
pub use error::{NO_TPM, ROOT_WAS_OPENED, TpmError};
pub use lockout::Lockout;
pub use object::StorageKey;
pub use pcr::{Bank, PcrMask};
pub use pin::{Argon2id, Pin};
pub use policy::Policy;
pub use seal::Blob;
pub use signature::SignedPcrs;
pub use token::{Entry, Token};

/// The digest of a policy: what a TPM's session must have collected before a secret is released.
pub type PolicyDigest = [u8; kdf::DIGEST];

/// The way to a TPM: `/dev/tpmrm0`, or a simulator's socket in a test.
pub trait Transport {
    /// Sends one whole command and returns the whole response.
    ///
    /// # Errors
    /// The device's own words.
    fn transmit(&mut self, command: &[u8]) -> Result<Zeroizing<Vec<u8>>, String>;
}

/// A TPM that can be talked to.
pub struct Tpm<'d> {
    device: &'d mut dyn Transport,
    random: &'d mut dyn FnMut(&mut [u8]),
}

impl<'d> Tpm<'d> {
    /// A TPM behind `device`; `random` fills a buffer with unpredictable bytes (nonces and salts).
    pub fn new(device: &'d mut dyn Transport, random: &'d mut dyn FnMut(&mut [u8])) -> Self {
        Self { device, random }
    }

    fn nonce(&mut self) -> [u8; 32] {
        let mut nonce = [0; 32];
        (self.random)(&mut nonce);
        nonce
    }
}
