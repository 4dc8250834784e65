//! Keys and passphrases: one type, wiped on drop, that neither prints nor copies itself.

use std::prelude::v1::*;

use zeroize::Zeroizing;

/// Bytes that are wiped when they go out of scope. No `Debug`, no `Clone`, never part of a format call.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes over `bytes`; the vector must not have been reallocated while it was filled.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// A secret of `length` zero bytes, to be filled in place.
    pub fn zeroed(length: usize) -> Self {
        Self::new(vec![0; length])
    }

    /// The bytes, for the one call that needs them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, to be filled.
    pub fn expose_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

/// The number of bytes of the stack that [`scrub_stack`] overwrites: more than any of the hashes and ciphers uses.
const SCRUBBED: usize = 48 << 10;

/// Overwrites the part of the stack that functions called before have used. Hashes and ciphers keep blocks of their
/// input in local variables, which they do not wipe.
#[inline(never)]
pub fn scrub_stack() {
    let mut stack = [0u8; SCRUBBED];
    zeroize::Zeroize::zeroize(stack.as_mut_slice());
    core::hint::black_box(&stack);
}
