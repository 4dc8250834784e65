//! Entities of the TPM, and their names.
//!
//! Reference: TPM 2.0 Library part 1, section 16 (names).

use std::prelude::v1::*;

use tpm2_protocol::data::TpmAlgId;

use super::kdf;

/// `TPM_RH_NULL`.
const NULL: u32 = 0x4000_0007;

/// Something that the TPM knows by a handle.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entity {
    /// Its handle.
    pub handle: u32,
    /// Its name: of an object the digest of its public area, of everything else the handle.
    pub name: Vec<u8>,
}

impl Entity {
    /// An entity whose name is its handle: a hierarchy, a PCR, a session.
    pub fn permanent(handle: u32) -> Self {
        Self { handle, name: handle.to_be_bytes().into() }
    }

    /// No object: nothing to bind to.
    pub(super) fn null() -> Self {
        Self::permanent(NULL)
    }
}

/// The name of an object: its hash algorithm and the digest of its public area.
pub(super) fn name(public: &[u8]) -> Vec<u8> {
    [&(TpmAlgId::Sha256 as u16).to_be_bytes(), kdf::sha256(&[public]).as_slice()].concat()
}
