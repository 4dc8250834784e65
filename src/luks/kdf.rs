//! Key derivation: from a typed passphrase, or a key file, to the key of a keyslot's area (LUKS2 specification section
//! 3.2.3; Argon2: RFC 9106, PBKDF2: RFC 8018).

use std::prelude::v1::*;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64ct::{Base64, Encoding as _};
use zeroize::Zeroize as _;

use super::{error::LuksError, hash::Hash, json::Node};
use crate::{
    secret::{Secret, scrub_stack},
    units::Bytes,
};

/// The length of every salt in bytes (LUKS_SALTSIZE of cryptsetup).
pub(super) const SALT: usize = 32;
/// The most lanes; cryptsetup makes headers with up to 4. They share the processors there are, so the number costs
/// nothing.
const LANES_MAX: u32 = 64;

/// The limits of the work that a header may cause. Anybody may write a disk: without a bound it could hold up a boot
/// for years, or take all memory. Each attempt is paid from here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The most memory for Argon2, in KiB.
    pub argon2_memory: u32,
    /// The work for Argon2 over all attempts: memory in KiB times passes.
    pub argon2_work: u64,
    /// The work for PBKDF2 over all attempts: iterations times blocks of output.
    pub pbkdf2_work: u64,
}

impl Limits {
    /// No limits: for a header that is made here.
    pub(super) const NONE: Self =
        Self { argon2_memory: u32::MAX, argon2_work: u64::MAX, pbkdf2_work: u64::MAX };

    /// Limits for a machine that can spare `kib` KiB of memory while it unlocks.
    ///
    /// The work suffices for eight keyslots of the most expensive kind that cryptsetup makes by default (1 GiB, 4 passes,
    /// two seconds of a fast machine's four cores) and for as many of PBKDF2. All of it together takes some three minutes on
    /// one x86-64 core (70 s for Argon2, 110 s for PBKDF2-SHA512).
    pub const fn with_memory(kib: u32) -> Self {
        Self { argon2_memory: kib, argon2_work: 32 << 20, pbkdf2_work: 64 << 20 }
    }

    /// Limits for the machine whose /proc/meminfo says `meminfo`: seven eighths of the memory that is available, so that
    /// the boot has some beside it. Without such a line nothing is spared for Argon2.
    pub fn from_meminfo(meminfo: &str) -> Self {
        let available = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
        let kib = available.and_then(|text| text.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        let spared = kib.unwrap_or(0) / 8 * 7;
        Self::with_memory(u32::try_from(spared).unwrap_or(u32::MAX))
    }

    /// Pays for PBKDF2 with `length` bytes of output.
    pub(super) fn pay_pbkdf2(&mut self, hash: Hash, iterations: u32, length: usize) -> Result<(), String> {
        let blocks = length.div_ceil(hash.size()) as u64;
        let left = self.pbkdf2_work.checked_sub(blocks.saturating_mul(u64::from(iterations)));
        self.pbkdf2_work = left.ok_or_else(|| {
            format!(
                "{iterations} iterations of PBKDF2 take longer than an unlock may (limit {})",
                self.pbkdf2_work
            )
        })?;
        Ok(())
    }

    /// Pays for Argon2.
    fn pay_argon2(&mut self, memory: u32, time: u32) -> Result<(), String> {
        if memory > self.argon2_memory {
            let (needed, limit) = (kib(memory), kib(self.argon2_memory));
            return Err(format!(
                "Argon2 needs {needed} of memory, this machine can spare {limit}; \
                 `cryptsetup luksConvertKey --pbkdf-memory` lowers it"
            ));
        }
        let left = self.argon2_work.checked_sub(u64::from(memory) * u64::from(time));
        self.argon2_work = left.ok_or_else(|| {
            format!("{time} passes of Argon2 over {} take longer than an unlock may", kib(memory))
        })?;
        Ok(())
    }
}

/// A number of KiB as people read it.
fn kib(kib: u32) -> Bytes {
    Bytes(u64::from(kib) * Bytes::KIB)
}

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

    /// Fills `out` with the key that belongs to `passphrase`. The work is paid from `limits` before it is done, and
    /// nothing of the passphrase is left on the stack.
    ///
    /// # Errors
    /// The reason why it was not done.
    pub fn derive(&self, passphrase: &Secret, limits: &mut Limits, out: &mut Secret) -> Result<(), String> {
        match self {
            Self::Pbkdf2 { hash, iterations, salt } => {
                limits.pay_pbkdf2(*hash, *iterations, out.expose().len())?;
                hash.pbkdf2(passphrase.expose(), salt, *iterations, out.expose_mut());
                scrub_stack();
                Ok(())
            }
            Self::Argon2 { algorithm, time, memory, cpus, salt } => {
                limits.pay_argon2(*memory, *time)?;
                let refused = |error: argon2::Error| format!("Argon2 failed: {error}");
                let params = Params::new(*memory, *time, *cpus, Some(out.expose().len())).map_err(refused)?;
                let mut matrix = Matrix::new(params.block_count())
                    .ok_or_else(|| format!("Argon2 needs {} of memory, which is not there", kib(*memory)))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn derive(kdf: &Kdf, limits: &mut Limits) -> Result<Vec<u8>, String> {
        let mut out = Secret::zeroed(64);
        kdf.derive(&Secret::new(b"key".to_vec()), limits, &mut out)?;
        Ok(out.expose().to_vec())
    }

    #[test]
    fn what_is_available_may_be_spent() {
        let meminfo =
            "MemTotal:         497692 kB\nMemFree:          300000 kB\nMemAvailable:     400000 kB\n";
        assert_eq!(Limits::from_meminfo(meminfo).argon2_memory, 350_000);
        assert_eq!(Limits::from_meminfo("MemAvailable: lots\n").argon2_memory, 0);
        assert_eq!(Limits::from_meminfo("MemAvailable: 99999999999999 kB\n").argon2_memory, u32::MAX);
    }

    #[test]
    fn work_is_paid_before_it_is_done() {
        let argon2 = |memory, time| Kdf::Argon2 {
            algorithm: Algorithm::Argon2id,
            time,
            memory,
            cpus: 1,
            salt: vec![0; SALT],
        };
        let pbkdf2 = |iterations| Kdf::Pbkdf2 { hash: Hash::Sha256, iterations, salt: vec![0; SALT] };
        let mut limits = Limits { argon2_memory: 64, argon2_work: 200, pbkdf2_work: 4000 };
        assert!(derive(&argon2(64, 2), &mut limits).is_ok());
        assert!(derive(&argon2(64, 2), &mut limits).is_err(), "the work is used up");
        assert!(derive(&argon2(65, 1), &mut limits).is_err(), "too much memory");
        assert_eq!(limits.argon2_work, 200 - 128);
        assert!(derive(&pbkdf2(1500), &mut limits).is_ok(), "two blocks of output");
        assert!(derive(&pbkdf2(u32::MAX), &mut limits).is_err());
        assert_eq!(limits.pbkdf2_work, 1000);
        assert!(derive(&argon2(u32::MAX, u32::MAX), &mut Limits::with_memory(1 << 20)).is_err());
    }
}
