//! Key derivation: from a typed passphrase, or a key file, to the key of a keyslot's area (LUKS2 specification section
//! 3.2.3; Argon2: RFC 9106, PBKDF2: RFC 8018).

use std::prelude::v1::*;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64ct::{Base64, Encoding as _};
use zeroize::Zeroize as _;

use super::{budget, error::LuksError, hash::Hash, json::Node};
use crate::{
    progress::Bounded,
    secret::{Secret, scrub_stack},
    units::Bytes,
};

/// The length of every salt in bytes (LUKS_SALTSIZE of cryptsetup).
pub(super) const SALT: usize = 32;
/// The most lanes; cryptsetup makes headers with up to 4. They share the processors there are.
const LANES_MAX: u32 = 64;

/// A key derivation with its parameters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Kdf {
    Pbkdf2 { hash: Hash, iterations: u32, salt: Vec<u8> },
    Argon2 { algorithm: Algorithm, time: u32, memory: u32, cpus: u32, salt: Vec<u8> },
}

impl Kdf {
    /// Checks a `kdf` object.
    ///
    /// # Errors
    /// It breaks the format ([`LuksError::Invalid`]), or is of a kind not done here.
    pub fn parse(node: &Node) -> Result<Self, LuksError> {
        let kind = node.get("type")?;
        let salt_node = node.get("salt")?;
        let salt = salt_node.bytes()?;
        if salt.len() != SALT {
            return Err(salt_node.invalid("not 32 bytes"));
        }
        let algorithm = match kind.text()? {
            "pbkdf2" => {
                let (hash, iterations) = (node.get("hash")?, node.get("iterations")?);
                let count = iterations.number()?;
                if count == 0 {
                    return Err(iterations.invalid("zero"));
                }
                let hash = Hash::by_name(hash.text()?).ok_or_else(|| hash.unsupported())?;
                return Ok(Self::Pbkdf2 { hash, iterations: count, salt });
            }
            "argon2i" => Algorithm::Argon2i,
            "argon2id" => Algorithm::Argon2id,
            _ => return Err(kind.unsupported()),
        };
        let cpus = node.get("cpus")?;
        let lanes = cpus.number()?;
        if lanes == 0 || lanes > LANES_MAX {
            return Err(cpus.invalid("not a number of lanes up to 64"));
        }
        let (time, memory) = (node.get("time")?.number()?, node.get("memory")?.number()?);
        if Params::new(memory, time, lanes, None).is_err() {
            return Err(node.invalid("parameters that Argon2 does not have"));
        }
        Ok(Self::Argon2 { algorithm, time, memory, cpus: lanes, salt })
    }

    /// The `kdf` object of this.
    pub fn to_json(&self) -> serde_json::Value {
        let encode = |salt: &[u8]| Base64::encode_string(salt);
        match self {
            Self::Pbkdf2 { hash, iterations, salt } => serde_json::json!({
                "type": "pbkdf2", "hash": hash.name(), "iterations": iterations, "salt": encode(salt),
            }),
            Self::Argon2 { algorithm, time, memory, cpus, salt } => serde_json::json!({
                "type": algorithm.as_str(), "time": time, "memory": memory, "cpus": cpus, "salt": encode(salt),
            }),
        }
    }

    /// The memory that it takes, in KiB.
    pub fn memory(&self) -> u32 {
        match self {
            Self::Pbkdf2 { .. } => 0,
            Self::Argon2 { memory, .. } => *memory,
        }
    }

    /// The work for a key of `length` bytes, in the units of a [`Budget`](super::Budget).
    pub fn work(&self, length: usize) -> u64 {
        match self {
            Self::Pbkdf2 { hash, iterations, .. } => budget::pbkdf2(*hash, *iterations, length),
            Self::Argon2 { time, memory, cpus, .. } => budget::argon2(*memory, *time, *cpus),
        }
    }

    /// Fills `out` with the key that belongs to `passphrase`; nothing of that is left on the stack. Who has the parameters
    /// from a disk has paid for the work before.
    ///
    /// # Errors
    /// The reason why it was not done.
    pub fn derive(&self, passphrase: &Secret, out: &mut Secret) -> Result<(), String> {
        let _paid_for = Bounded::begin();
        match self {
            Self::Pbkdf2 { hash, iterations, salt } => {
                hash.pbkdf2(passphrase.expose(), salt, *iterations, out.expose_mut());
                scrub_stack();
                Ok(())
            }
            Self::Argon2 { algorithm, time, memory, cpus, salt } => {
                let refused = |error: argon2::Error| format!("Argon2 failed: {error}");
                let params = Params::new(*memory, *time, *cpus, Some(out.expose().len())).map_err(refused)?;
                let mut matrix = Matrix::new(params.block_count()).ok_or_else(|| {
                    format!(
                        "Argon2 needs {} of memory, which is not there",
                        Bytes(u64::from(*memory) * Bytes::KIB)
                    )
                })?;
                let argon2 = Argon2::new(*algorithm, Version::V0x13, params);
                let done = argon2.hash_password_into_with_memory(
                    passphrase.expose(),
                    salt,
                    out.expose_mut(),
                    matrix.0.as_mut_slice(),
                );
                scrub_stack();
                done.map_err(refused)
            }
        }
    }
}

/// Argon2's memory: our own, because the crate frees its without wiping, and from its blocks the key follows; and because
/// memory that is not there must be an error, not an abort.
struct Matrix(Vec<Block>);

impl Matrix {
    fn new(blocks: usize) -> Option<Self> {
        let mut matrix = Vec::new();
        matrix.try_reserve_exact(blocks).ok()?;
        matrix.resize(blocks, Block::new());
        Some(Self(matrix))
    }
}

impl Drop for Matrix {
    fn drop(&mut self) {
        // Not the vector's own `zeroize`: that wipes the whole capacity a second time, byte by byte.
        self.0.iter_mut().zeroize();
    }
}
