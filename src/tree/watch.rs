//! The eye on every change of a root that counts already: tests cut the power there.

use rustix::io::Errno;

/// The call that [`Watch::before`] gets ahead of fsync(2) and syncfs(2).
pub const FLUSH: &str = "flush";

/// Sees every change of a root before the system call that makes it.
pub trait Watch {
    /// The next system call changes `path`, or with [`FLUSH`] as `call` writes changes to the disk: the file at `path`,
    /// or everything when that is empty.
    ///
    /// # Errors
    /// The call must not be made.
    fn before(&self, call: &'static str, path: &[u8]) -> Result<(), Errno>;
}

/// A watch that does nothing.
pub struct Unwatched;

impl Watch for Unwatched {
    fn before(&self, _: &'static str, _: &[u8]) -> Result<(), Errno> {
        Ok(())
    }
}
