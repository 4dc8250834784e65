//! Digests: how a reader knows that the key it got out of a keyslot is the volume key (LUKS2 specification section 3.4).

use std::prelude::v1::*;

use super::{
    budget,
    error::{LuksError, quote},
    hash::{Hash, equal},
    json::Node,
    kdf::SALT,
};
use crate::secret::Secret;

/// Headers that were converted from LUKS1 keep its digests of 20 bytes, for any hash.
const LUKS1_LENGTH: usize = 20;

/// The least iterations (LUKS_MKD_ITERATIONS_MIN of cryptsetup). The key has full entropy, so more would not make it safer;
/// but a header that names fewer was made by no tool for disks.
const ITERATIONS_MIN: u32 = 1000;

/// A digest, with its segments and keyslots.
#[derive(Clone, Debug)]
pub(super) struct Digest {
    pub keyslots: Vec<u32>,
    pub segments: Vec<u32>,
    /// The way to check a key, or the reason why it cannot be checked.
    check: Result<Check, String>,
}

#[derive(Clone, Debug)]
struct Check {
    hash: Hash,
    iterations: u32,
    salt: Vec<u8>,
    digest: Vec<u8>,
}

impl Digest {
    pub fn parse(node: &Node) -> Result<Self, LuksError> {
        Ok(Self {
            keyslots: node.get("keyslots")?.references()?,
            segments: node.get("segments")?.references()?,
            check: match node.get("type")?.text()? {
                "pbkdf2" => Check::parse(node)?,
                other => Err(format!("digest type {} is not supported", quote(other))),
            },
        })
    }

    /// The work of a check, in the units of a [`Budget`](super::Budget).
    ///
    /// # Errors
    /// The reason why no key can be checked.
    pub fn work(&self) -> Result<u64, String> {
        let check = self.check.as_ref().map_err(Clone::clone)?;
        Ok(budget::pbkdf2(check.hash, check.iterations, check.digest.len()))
    }

    /// Returns true when `key` is the key that this digest was made of. The work was paid before.
    ///
    /// # Errors
    /// The reason why the key cannot be checked.
    pub fn verify(&self, key: &Secret) -> Result<bool, String> {
        let check = self.check.as_ref().map_err(Clone::clone)?;
        let mut digest = vec![0; check.digest.len()];
        check.hash.pbkdf2(key.expose(), &check.salt, check.iterations, &mut digest);
        Ok(equal(&digest, &check.digest))
    }
}

impl Check {
    fn parse(node: &Node) -> Result<Result<Self, String>, LuksError> {
        let name = node.get("hash")?.text()?;
        let Some(hash) = Hash::by_name(name) else {
            return Ok(Err(format!("digest hash {} is not supported", quote(name))));
        };
        let (salt, digest, iterations) = (node.get("salt")?, node.get("digest")?, node.get("iterations")?);
        let check =
            Self { hash, iterations: iterations.number()?, salt: salt.bytes()?, digest: digest.bytes()? };
        if check.salt.len() != SALT {
            return Err(salt.invalid("not 32 bytes"));
        }
        // A short digest would let a wrong key pass, an empty one every key.
        if check.digest.len() != hash.size() && check.digest.len() != LUKS1_LENGTH {
            return Err(digest.invalid("not of the hash's length"));
        }
        if check.iterations < ITERATIONS_MIN {
            return Err(iterations.invalid("fewer than 1000"));
        }
        Ok(Ok(check))
    }
}
