//! An input in the form that a target needs: first numbers, then the rest as text or as several files.
//!
//! Numbers come from the front and end in zeroes, so that every input means something and a small change of an input is
//! a small change of its meaning.

/// Separates the parts of an input: a byte that no UTF-8 has.
const SEPARATOR: u8 = 0xfe;

/// The rest of an input.
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// The whole input.
    pub fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    /// Two bytes, little-endian.
    pub fn short(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    /// Four bytes, little-endian.
    pub fn word(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    /// Eight bytes, little-endian.
    pub fn long(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// The next bytes, filled up with zeroes.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        let (taken, rest) = self.0.split_at(N.min(self.0.len()));
        bytes[..taken.len()].copy_from_slice(taken);
        self.0 = rest;
        bytes
    }

    /// Returns true when nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All that is left.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }

    /// All that is left as text.
    pub fn text(self) -> String {
        text(self.0)
    }

    /// All that is left as parts; those that are not there are empty.
    pub fn parts<const N: usize>(self) -> [&'a [u8]; N] {
        let mut parts = self.0.splitn(N, |byte| *byte == SEPARATOR);
        std::array::from_fn(|_| parts.next().unwrap_or_default())
    }
}

/// Bytes as text, as if the reader had refused invalid UTF-8 and the fuzzer had corrected it.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An input of these parts.
pub fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.join(&SEPARATOR)
}
