//! Random bytes from the kernel.

use std::{io, mem};

use super::failure::{Failure, OrFail as _};

/// Fills `bytes` from the kernel's generator, waiting until it has been seeded.
///
/// # Errors
/// Those of `getrandom`.
pub fn random(bytes: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        filled += rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(())
}

/// The kernel's generator, for engines that take random bytes from a function which cannot fail. Its failure is checked
/// afterwards, before the results are used.
pub struct Random(io::Result<()>);

impl Default for Random {
    fn default() -> Self {
        Self(Ok(()))
    }
}

impl Random {
    /// Fills `bytes`, or notes that they are not random.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        if let Err(error) = random(bytes) {
            self.0 = Err(error);
        }
    }

    /// Checks that all that was filled since the last time is random.
    ///
    /// # Errors
    /// The kernel gave no random bytes.
    pub fn check(&mut self) -> Result<(), Failure> {
        mem::replace(&mut self.0, Ok(())).or_fail(|| "the kernel gives no random bytes".into())
    }
}
