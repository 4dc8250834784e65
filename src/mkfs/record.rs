//! A structure of fixed size under construction: zeroes into which fields are put at the offsets that the documentation
//! names.

use std::prelude::v1::*;

/// Zeroes, and the fields put into them so far.
pub(super) struct Record(Vec<u8>);

impl Record {
    /// `length` zeroes.
    pub fn zeroed(length: u64) -> Self {
        Self(vec![0; length as usize])
    }

    /// Puts bytes at an offset. Offsets and lengths are constants of the format; one that does not fit is a mistake in
    /// this program and writes nothing.
    pub fn bytes(&mut self, offset: usize, bytes: &[u8]) -> &mut Self {
        match self.0.get_mut(offset..).and_then(|rest| rest.get_mut(..bytes.len())) {
            Some(field) => field.copy_from_slice(bytes),
            None => debug_assert!(false, "field of {} bytes at {offset}", bytes.len()),
        }
        self
    }

    /// Puts one byte.
    pub fn u8(&mut self, offset: usize, value: u8) -> &mut Self {
        self.bytes(offset, &[value])
    }

    /// Puts the low 16 bits of a number, little-endian.
    pub fn le16(&mut self, offset: usize, value: u64) -> &mut Self {
        self.bytes(offset, &(value as u16).to_le_bytes())
    }

    /// Puts the low 32 bits of a number, little-endian.
    pub fn le32(&mut self, offset: usize, value: u64) -> &mut Self {
        self.bytes(offset, &(value as u32).to_le_bytes())
    }

    /// Puts a number of 64 bits, little-endian.
    pub fn le64(&mut self, offset: usize, value: u64) -> &mut Self {
        self.bytes(offset, &value.to_le_bytes())
    }

    /// Puts a number of 32 bits, big-endian: the journal's byte order.
    pub fn be32(&mut self, offset: usize, value: u32) -> &mut Self {
        self.bytes(offset, &value.to_be_bytes())
    }

    /// The bytes so far.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// The first `length` bytes of the record so far.
    pub fn head(&self, length: usize) -> &[u8] {
        self.0.get(..length).unwrap_or(&self.0)
    }

    /// The finished structure.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}
