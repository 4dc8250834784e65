//! The budget of an unlock: the memory and the work that a header of a stranger may cost. Without one it could hold up a boot for
//! years, or take all memory.

use std::prelude::v1::*;

use super::hash::Hash;
use crate::units::Bytes;

/// The memory and the work that may still be spent on attempts at keyslots. Every attempt is paid before any of it is done;
/// one that cannot be paid is not made, and a cheaper one after it may still be.
///
/// The unit of work is half a microsecond of one core. A KiB that Argon2 fills or goes over again costs three, a block of
/// PBKDF2 one in each iteration, with SHA-512 two. These are what an x86-64 core of 2021 takes or more (1.4 µs, 0.2 µs with SHA
/// instructions and 0.5 µs without, 0.7 µs), so that the whole of 340 million units is less than three minutes.
///
/// It is chosen by what cryptsetup makes by benchmark (lib/utils_pbkdf.c, lib/crypto_backend/pbkdf_check.c): two seconds on up to
/// four threads, with 1 GiB at most. A machine with four cores twice as fast as that one goes over 1 GiB in 14 passes, 44 million
/// units, and seven such keyslots fit; of PBKDF2-SHA256 it makes 10 million iterations for the two blocks of an XTS key, 20 million
/// units.
#[derive(PartialEq, Eq, Debug)]
pub struct Budget {
    /// The most memory for Argon2, in KiB.
    pub memory: u32,
    /// The work that is left.
    pub work: u64,
}

/// The work of a whole budget.
const WORK: u64 = 340_000_000;

/// The work of a KiB that Argon2 fills, or goes over in another pass.
const ARGON2: u64 = 3;

/// The work of a lane in a pass, beside its memory: a thread may be started for each of its four slices.
const LANE: u64 = 300;

/// The work of an attempt beside its key derivation: the area is read, decrypted and merged.
pub(super) const ATTEMPT: u64 = 10_000;

impl Budget {
    /// A whole budget for a machine that can spare `kib` KiB of memory while it unlocks.
    pub const fn with_memory(kib: u32) -> Self {
        Self { memory: kib, work: WORK }
    }

    /// A whole budget for the machine whose /proc/meminfo says `meminfo`: seven eighths of the memory that is available, so
    /// that the boot has some beside it. Without such a line nothing is spared for Argon2.
    pub fn from_meminfo(meminfo: &str) -> Self {
        let available = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
        let kib = available.and_then(|text| text.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        let spared = kib.unwrap_or(0) / 8 * 7;
        Self::with_memory(u32::try_from(spared).unwrap_or(u32::MAX))
    }

    /// Returns true when nothing was spent of it.
    pub fn is_whole(&self) -> bool {
        self.work == WORK
    }

    /// Pays for an attempt at a keyslot that takes `memory` KiB and this work.
    ///
    /// # Errors
    /// The reason why it may not be made.
    pub(super) fn pay(&mut self, memory: u32, work: u64) -> Result<(), String> {
        let advice = ["cryptsetup luksConvertKey --pbkdf-memory", "cryptsetup luksConvertKey --iter-time"];
        self.pay_or(memory, work, advice)
    }

    /// As [`Budget::pay`], for anything that these commands make cheaper: in memory, and in time.
    ///
    /// # Errors
    /// As [`Budget::pay`].
    pub(super) fn pay_or(&mut self, memory: u32, work: u64, lowers: [&str; 2]) -> Result<(), String> {
        let [less_memory, less_time] = lowers;
        if memory > self.memory {
            let (needed, limit) = (kib(memory), kib(self.memory));
            return Err(format!(
                "Argon2 needs {needed} of memory, this machine can spare {limit}; `{less_memory}` lowers it"
            ));
        }
        let left = self.work.checked_sub(work).ok_or_else(|| {
            format!(
                "its key derivation and digest take longer than an unlock may (cost {work}, left {}); \
                 `{less_time}` lowers it",
                self.work
            )
        })?;
        self.work = left;
        Ok(())
    }
}

/// The work of Argon2 with `memory` KiB.
pub(super) fn argon2(memory: u32, passes: u32, lanes: u32) -> u64 {
    u64::from(passes).saturating_mul(u64::from(memory) * ARGON2 + u64::from(lanes) * LANE)
}

/// The work of PBKDF2 for `length` bytes of output.
pub(super) fn pbkdf2(hash: Hash, iterations: u32, length: usize) -> u64 {
    let blocks = length.div_ceil(hash.size()) as u64;
    let each = match hash {
        Hash::Sha1 | Hash::Sha256 => 1,
        Hash::Sha512 => 2,
    };
    u64::from(iterations).saturating_mul(blocks * each)
}

/// A number of KiB as people read it.
fn kib(kib: u32) -> Bytes {
    Bytes(u64::from(kib) * Bytes::KIB)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_available_may_be_spent() {
        let meminfo =
            "MemTotal:         497692 kB\nMemFree:          300000 kB\nMemAvailable:     400000 kB\n";
        assert_eq!(Budget::from_meminfo(meminfo).memory, 350_000);
        assert_eq!(Budget::from_meminfo("MemAvailable: lots\n").memory, 0);
        assert_eq!(Budget::from_meminfo("MemAvailable: 99999999999999 kB\n").memory, u32::MAX);
    }

    #[test]
    fn work_is_paid_or_not_done() {
        let mut budget = Budget::with_memory(64);
        assert!(budget.is_whole());
        budget.work = 200;
        assert!(budget.pay(64, 150).is_ok());
        assert!(budget.pay(64, 51).is_err(), "the work is used up");
        assert!(budget.pay(65, 1).is_err(), "too much memory");
        assert_eq!(budget, Budget { memory: 64, work: 50 }, "a refusal costs nothing");
        assert!(budget.pay(0, pbkdf2(Hash::Sha256, 25, 64)).is_ok(), "two blocks of output");
        assert!(budget.pay(0, 1).is_err());
        for huge in [argon2(u32::MAX, u32::MAX, u32::MAX), pbkdf2(Hash::Sha1, u32::MAX, 64)] {
            assert!(Budget::with_memory(u32::MAX).pay(0, huge).is_err());
        }
    }
}
