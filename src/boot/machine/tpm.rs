//! The machine's TPM: found, and asked with random bytes from the kernel.

use std::path::Path;

use super::devices::Devices;
use crate::{
    boot::{
        failure::{Failure, OrFail as _},
        random::Random,
    },
    sys::tpm::{DEVICE, Device},
    tpm::{Bank, NO_TPM, Tpm, TpmError},
};

/// The table by which firmware announces a TPM 2.0 (TCG ACPI Specification).
const ANNOUNCED: &str = "/sys/firmware/acpi/tables/TPM2";

/// The machine's TPM 2.0; None without one. One that the firmware announces is waited for: its driver may still be at it.
///
/// # Errors
/// It cannot be opened, or waiting fails.
pub fn open(devices: &mut Devices) -> Result<Option<Device>, Failure> {
    if is_announced() {
        // One that did not come is missing, which is what opening it says.
        devices.wait_for_node(Path::new(DEVICE))?;
    }
    open_now()
}

/// As [`open`], without waiting.
///
/// # Errors
/// It cannot be opened.
pub fn open_now() -> Result<Option<Device>, Failure> {
    Device::open().or_fail(|| format!("cannot open the TPM {DEVICE}"))
}

/// True when the firmware announces a TPM 2.0.
pub fn is_announced() -> bool {
    Path::new(ANNOUNCED).exists()
}

/// The order in which banks of PCRs are chosen; SHA-1 when there is no other.
const BANKS: [Bank; 4] = [Bank::Sha256, Bank::Sha384, Bank::Sha512, Bank::Sha1];

/// The refusal of a TPM without a bank.
pub const NO_BANK: &str =
    "the TPM has no active bank of PCRs that we can compute; activate sha256 in the firmware";

/// The bank of PCRs that a key is sealed to.
///
/// # Errors
/// The TPM does not answer, or has none.
pub fn bank(device: &mut Device) -> Result<Bank, Failure> {
    let banks =
        ask(device, |tpm| tpm.banks())?.or_fail(|| "cannot ask the TPM for its banks of PCRs".into())?;
    preferred(&banks).ok_or_else(|| Failure::new(NO_BANK))
}

/// The bank of PCRs that a key is sealed to, of those that a TPM has.
pub fn preferred(banks: &[Bank]) -> Option<Bank> {
    BANKS.into_iter().find(|bank| banks.contains(bank))
}

/// The reason why there is no TPM, in words.
pub fn missing() -> &'static str {
    if is_announced() {
        "the firmware announces a TPM 2.0, but no driver makes /dev/tpmrm0 of it; is it in the initramfs?"
    } else {
        NO_TPM
    }
}

/// Runs `work` on the TPM.
///
/// # Errors
/// The kernel gives no random bytes: the result without them is not valid. The inner result is that of the TPM.
pub fn ask<T>(
    device: &mut Device,
    work: impl FnOnce(&mut Tpm<'_>) -> Result<T, TpmError>,
) -> Result<Result<T, TpmError>, Failure> {
    let mut random = Random::default();
    let done = work(&mut Tpm::new(device, &mut |bytes| random.fill(bytes)));
    random.check()?;
    Ok(done)
}
