//! The eye on every change of a root that counts already: tests cut the power there.

use rustix::io::Errno;

/// The word that [`Watch::before`] is told ahead of fsync(2) and syncfs(2).
pub const FLUSH: &str = "flush";

/// Sees every change of a root before the system call that makes it.
pub trait Watch {
    /// The next system call changes something at `path`, or with [`FLUSH`] as `call` puts on the disk what was changed: the file at
    /// `path`, or everything when that is empty.
    ///
    /// # Errors
    /// The call is not to be made.
    fn before(&self, call: &'static str, path: &[u8]) -> Result<(), Errno>;
}

/// A watch that does nothing.
pub struct Unwatched;

impl Watch for Unwatched {
    fn before(&self, _: &'static str, _: &[u8]) -> Result<(), Errno> {
        Ok(())
    }
}
