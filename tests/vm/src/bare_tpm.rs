//! A machine's TPM between two boots, without the machine: its objects are read and written by commands as the
//! specification writes them, in the clear and without hermetic-init's engine.
//!
//! Reference: TPM 2.0 Library part 3 (commands), part 2, section 6.5.2 (their codes).

use crate::toolroot::ToolRoot;
use crate::tpm::Tpm;
use anyhow::{Context as _, Result, ensure};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// `TPM_ST_NO_SESSIONS` and `TPM_ST_SESSIONS`.
const PLAIN: u16 = 0x8001;
const AUTHORIZED: u16 = 0x8002;

/// `TPM_RH_NULL`, `TPM_RS_PW`, `TPM_RH_LOCKOUT`; where the storage root key is.
const NULL: u32 = 0x4000_0007;
const PASSWORD: u32 = 0x4000_0009;
const LOCKOUT: u32 = 0x4000_000a;
const STORAGE_ROOT: u32 = 0x8100_0001;

/// `TPM_PT_LOCKOUT_COUNTER`.
const LOCKOUT_COUNTER: u32 = 0x20e;

const CLEAR: u32 = 0x126;
const DICTIONARY_ATTACK_LOCK_RESET: u32 = 0x139;
const DICTIONARY_ATTACK_PARAMETERS: u32 = 0x13a;
const LOAD: u32 = 0x157;
const GET_CAPABILITY: u32 = 0x17a;
const UNSEAL: u32 = 0x15e;
const START_AUTH_SESSION: u32 = 0x176;

/// A TPM that was just switched on, with PCRs that were not extended.
#[derive(Debug)]
pub struct BareTpm {
    wire: UnixStream,
    /// Ends with this.
    _simulator: Tpm,
}

impl BareTpm {
    /// Switches on the TPM with the state in `directory`, which no machine may have at this time.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(tools: &ToolRoot, directory: &Path) -> Result<Self> {
        let simulator = Tpm::start_bare(tools, directory)?;
        let wire = UnixStream::connect(simulator.socket()).context("cannot connect to the TPM")?;
        Ok(Self { wire, _simulator: simulator })
    }

    /// The secret in a blob (`TPM2B_PRIVATE`, `TPM2B_PUBLIC`) that an empty policy below the storage root key releases.
    ///
    /// # Errors
    /// It is not such a blob; the TPM refuses.
    pub fn unseal(&mut self, blob: &[u8]) -> Result<Vec<u8>> {
        let loaded = handle(&self.execute(LOAD, &[STORAGE_ROOT], Some(PASSWORD), blob)?)?;
        let nonce = [&[0, 16][..], &[0x5a; 16]].concat();
        // No salt, a policy session, no encryption of parameters (TPM_ALG_NULL), SHA-256.
        let params = [&nonce, &[0, 0, 1, 0, 0x10, 0, 0x0b][..]].concat();
        let session = handle(&self.execute(START_AUTH_SESSION, &[NULL, NULL], None, &params)?)?;
        let response = self.execute(UNSEAL, &[loaded], Some(session), &[])?;
        // The size of all parameters, the secret with its size, the session's answer.
        let size = response.get(4..6).context("the secret is cut short")?;
        let end = 6 + usize::from(u16::from_be_bytes(size.try_into()?));
        Ok(response.get(6..end).context("the secret is cut short")?.to_vec())
    }

    /// Forgets all wrong PINs, and lets so many come before it locks itself.
    ///
    /// # Errors
    /// The TPM refuses.
    pub fn allow_wrong_pins(&mut self, count: u32) -> Result<()> {
        self.execute(DICTIONARY_ATTACK_LOCK_RESET, &[LOCKOUT], Some(PASSWORD), &[])?;
        // The number of wrong PINs; seconds until one is forgotten; seconds for the lockout's own authorization.
        let params = [count, 1000, 1000].map(u32::to_be_bytes).concat();
        self.execute(DICTIONARY_ATTACK_PARAMETERS, &[LOCKOUT], Some(PASSWORD), &params).map(drop)
    }

    /// The number of wrong PINs that it has counted (`TPM_PT_LOCKOUT_COUNTER`).
    ///
    /// # Errors
    /// The TPM does not say.
    pub fn wrong_pins(&mut self) -> Result<u32> {
        // One property of the capability TPM_CAP_TPM_PROPERTIES.
        let params = [6, LOCKOUT_COUNTER, 1].map(u32::to_be_bytes).concat();
        let response = self.execute(GET_CAPABILITY, &[], None, &params)?;
        // More or not, the capability, the number of properties.
        let property = response.get(9..17).context("the property is cut short")?;
        let (name, value) = property.split_at(4);
        ensure!(name == LOCKOUT_COUNTER.to_be_bytes(), "the TPM does not say how many PINs were wrong");
        Ok(u32::from_be_bytes(value.try_into()?))
    }

    /// Forgets its owner's keys, as a firmware's menu has it done.
    ///
    /// # Errors
    /// The TPM refuses.
    pub fn clear(&mut self) -> Result<()> {
        self.execute(CLEAR, &[LOCKOUT], Some(PASSWORD), &[]).map(drop)
    }

    /// One command, its first handle authorized by a session without a secret; returns the part behind the header of
    /// the response.
    fn execute(
        &mut self,
        code: u32,
        handles: &[u32],
        session: Option<u32>,
        params: &[u8],
    ) -> Result<Vec<u8>> {
        let mut body = code.to_be_bytes().to_vec();
        body.extend(handles.iter().flat_map(|handle| handle.to_be_bytes()));
        if let Some(session) = session {
            // The area's size, the session, no nonce, no attributes, no secret.
            body.extend([&9_u32.to_be_bytes()[..], &session.to_be_bytes(), &[0; 5]].concat());
        }
        body.extend(params);
        let tag = if session.is_some() { AUTHORIZED } else { PLAIN };
        let size = u32::try_from(6 + body.len())?;
        self.wire.write_all(&[&tag.to_be_bytes()[..], &size.to_be_bytes(), &body].concat())?;
        let mut header = [0; 10];
        self.wire.read_exact(&mut header).context("the TPM does not answer")?;
        let [_, _, a, b, c, d, code @ ..] = header;
        let mut rest = vec![0; (u32::from_be_bytes([a, b, c, d]) as usize).saturating_sub(header.len())];
        self.wire.read_exact(&mut rest).context("the TPM's answer is cut short")?;
        ensure!(code == [0; 4], "the TPM answers {:#x}", u32::from_be_bytes(code));
        Ok(rest)
    }
}

fn handle(response: &[u8]) -> Result<u32> {
    Ok(u32::from_be_bytes(response.get(..4).context("no handle in the response")?.try_into()?))
}
