//! A PIN that is made expensive to guess before a TPM is shown it, by the Argon2 of the keyslots and paid from their budget.

use std::prelude::v1::*;

use argon2::Algorithm;

use super::{Budget, kdf::Kdf};
use crate::{secret::Secret, tpm::Argon2id};

/// [`Argon2id::LENGTH`] bytes of a typed PIN and the salt of its token.
///
/// # Errors
/// It costs more than the budget has, or there is no memory for it; the reason.
pub fn harden(typed: &Secret, salt: &[u8], cost: Argon2id, budget: &mut Budget) -> Result<Secret, String> {
    let memory = cost.kib().ok_or("parameters that Argon2 does not have")?;
    let Argon2id { passes: time, lanes: cpus, .. } = cost;
    let kdf = Kdf::Argon2 { algorithm: Algorithm::Argon2id, time, memory, cpus, salt: salt.into() };
    let lowers =
        ["systemd-cryptenroll --tpm2-argon2id-memory=", "systemd-cryptenroll --tpm2-argon2id-iterations="];
    let mut result = Secret::zeroed(Argon2id::LENGTH);
    budget.pay_or(kdf.memory(), kdf.work(Argon2id::LENGTH), lowers)?;
    kdf.derive(typed, &mut result)?;
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Bytes;

    fn hardened(cost: Argon2id, budget: &mut Budget) -> Result<Secret, String> {
        harden(&Secret::new(b"1234".to_vec()), &[7; 32], cost, budget)
    }

    #[test]
    fn a_pin_that_costs_too_much_is_not_paid_for() {
        let cost = Argon2id { memory: Bytes(64 << 10), passes: 2, lanes: 2 };
        let mut budget = Budget::with_memory(64);
        assert_eq!(hardened(cost, &mut budget).unwrap().expose().len(), 64);
        let error = hardened(Argon2id { memory: Bytes(65 << 10), ..cost }, &mut budget).err().unwrap();
        assert!(
            error.contains("this machine can spare 64 KiB") && error.contains("systemd-cryptenroll"),
            "{error}"
        );
        let error = hardened(Argon2id { passes: u32::MAX, ..cost }, &mut budget).err().unwrap();
        assert!(error.contains("take longer than an unlock may"), "{error}");
        // Fewer than eight blocks for a lane.
        assert!(hardened(Argon2id { lanes: 64, ..cost }, &mut Budget::with_memory(64)).is_err());
    }
}
