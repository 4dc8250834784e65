//! A damaged copy of the header is written again from its twin, from memory: exactly the checked bytes are written.

use std::prelude::v1::*;

use super::{
    binary,
    error::LuksError,
    header::{Complaint, Header, Origin},
};
use crate::{units::Bytes, writes::Writes};

impl Header {
    /// The plan that brings both copies in line again, or None when they are, or when that is not ours to do: a newer copy
    /// whose checksum is right but whose text we do not understand may be right for a newer cryptsetup.
    ///
    /// The text is written as it was read, byte for byte, with a new salt, as cryptsetup does it; the copy that was
    /// chosen is not touched.
    ///
    /// # Errors
    /// None with a header that was read from a disk.
    pub fn repair(&self, random: &mut dyn FnMut(&mut [u8])) -> Result<Option<Writes>, LuksError> {
        match self.complaint() {
            Some(Complaint::Damaged(copy) | Complaint::Older(copy)) => {
                let mut writes = Writes::new();
                self.put(&mut writes, copy, self.text(), random)?;
                Ok(Some(writes))
            }
            Some(Complaint::NewerInvalid(_)) | None => Ok(None),
        }
    }

    /// The text without the NULs behind it.
    pub(super) fn text(&self) -> &[u8] {
        self.json.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// Adds one copy with `text` to a plan, and the barrier that must follow it.
    pub(super) fn put(
        &self,
        writes: &mut Writes,
        copy: Origin,
        text: &[u8],
        random: &mut dyn FnMut(&mut [u8]),
    ) -> Result<(), LuksError> {
        let offset = match copy {
            Origin::Primary => 0,
            Origin::Secondary => self.binary.size,
        };
        let mut salt = [0; binary::SALT];
        random(&mut salt);
        let bytes = self.binary.encode(offset, &salt, text);
        writes.data(Bytes(offset), bytes.ok_or(LuksError::Change("there is no room for it"))?);
        writes.barrier();
        Ok(())
    }
}
