//! The TPM's protection against guessing: the number of wrong PINs that it has seen, and its state.
//!
//! References: TPM 2.0 Library part 1, section 19.8 (dictionary attack protection); part 2, section 6.13 (`TPM_PT`).

use core::fmt;
use std::prelude::v1::*;

use tpm2_protocol::{
    basic::TpmUint32,
    data::{TpmCc, TpmiYesNo},
};

use super::{
    Tpm, TpmError,
    command::{Command, Params},
};

/// `TPM_CAP_TPM_PROPERTIES`.
const CAP_PROPERTIES: u32 = 6;
/// `TPM_PT_PERMANENT`.
const PERMANENT: u32 = 0x200;
/// `TPMA_PERMANENT`: no PIN is looked at.
const IN_LOCKOUT: u32 = 1 << 9;
/// `TPM_PT_LOCKOUT_COUNTER`.
const COUNTER: u32 = 0x20e;
/// `TPM_PT_MAX_AUTH_FAIL`.
const MAXIMUM: u32 = 0x20f;
/// `TPM_PT_LOCKOUT_INTERVAL`.
const INTERVAL: u32 = 0x210;

/// The state of the TPM's protection against guessing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lockout {
    /// True when the TPM accepts no PIN at present.
    pub locked: bool,
    /// The number of wrong PINs; it falls with time.
    pub wrong: u32,
    /// The number of wrong PINs that are allowed.
    pub allowed: u32,
    /// Seconds after which one of them is forgotten.
    pub interval: u32,
}

impl fmt::Display for Lockout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wrong, allowed, interval, .. } = self;
        write!(
            f,
            "the TPM is locked after {wrong} wrong PINs of {allowed} and forgets one every {interval} s; wait so long, or \
             use another key"
        )
    }
}

impl Tpm<'_> {
    /// Asks for it.
    ///
    /// # Errors
    /// The TPM does not answer.
    pub fn lockout(&mut self) -> Result<Lockout, TpmError> {
        Ok(Lockout {
            locked: self.property(PERMANENT)? & IN_LOCKOUT != 0,
            wrong: self.property(COUNTER)?,
            allowed: self.property(MAXIMUM)?,
            interval: self.property(INTERVAL)?,
        })
    }

    fn property(&mut self, wanted: u32) -> Result<u32, TpmError> {
        let code = TpmCc::GetCapability;
        let params = Params::new()
            .raw(&CAP_PROPERTIES.to_be_bytes())?
            .raw(&wanted.to_be_bytes())?
            .raw(&1_u32.to_be_bytes())?;
        let mut response =
            self.execute(Command { code, handles: &[], params, gives_handle: false }, &mut [])?;
        let _more: TpmiYesNo = response.read()?;
        // The capability, how many properties follow, the property: a TPM that has not got this one gives a later one.
        let [_capability, count, given]: [u32; 3] = [
            response.read::<TpmUint32>()?.value(),
            response.read::<TpmUint32>()?.value(),
            response.read::<TpmUint32>()?.value(),
        ];
        match (count, given) {
            (1, given) if given == wanted => Ok(response.read::<TpmUint32>()?.value()),
            _ => {
                Err(TpmError::Malformed { command: code, problem: format!("it has no property {wanted:#x}") })
            }
        }
    }
}
