//! The eye on every change of a root that counts already: tests cut the power there.

use std::cell::Cell;

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

/// A watch that passes every change on, and remembers a refusal: a failure behind it says nothing about its path.
pub struct Witness<'a> {
    watch: &'a dyn Watch,
    refused: Cell<bool>,
}

impl<'a> Witness<'a> {
    /// A witness of what `watch` says.
    pub fn new(watch: &'a dyn Watch) -> Self {
        Self { watch, refused: Cell::new(false) }
    }

    /// Returns true when a change was refused: no other may be made.
    pub fn has_ended(&self) -> bool {
        self.refused.get()
    }
}

impl Watch for Witness<'_> {
    fn before(&self, call: &'static str, path: &[u8]) -> Result<(), Errno> {
        let said = self.watch.before(call, path);
        self.refused.set(self.refused.get() || said.is_err());
        said
    }
}
