//! Changing a root so that a power cut finds each file old or new, never in between.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::{
    fs::{self, AtFlags, Mode},
    io::Errno,
};

use super::EtcError;
use crate::tree::open;

/// Sees every change of the root before the system call that makes it. Tests cut the power there.
pub trait Watch {
    /// The next system call changes something at `path`, or with [`FLUSH`] as `call` puts on the disk what was changed.
    ///
    /// # Errors
    /// The call is not to be made.
    fn before(&mut self, call: &'static str, path: &[u8]) -> Result<(), Errno>;
}

/// What [`Watch::before`] is told ahead of syncfs(2).
pub const FLUSH: &str = "flush";

/// Nobody watches.
pub struct Unwatched;

impl Watch for Unwatched {
    fn before(&mut self, _: &'static str, _: &[u8]) -> Result<(), Errno> {
        Ok(())
    }
}

/// Whether a change reaches the disk before the next one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durable {
    /// Yes, in order.
    Here,
    /// The caller flushes the whole file system before anything counts on it, as the first boot's commit does.
    Caller,
}

/// Puts everything that was written to the file system of `fd` on its disk.
pub(super) fn flush(fd: BorrowedFd<'_>, watch: &mut dyn Watch) -> Result<(), EtcError> {
    watch.before(FLUSH, b"").and_then(|()| fs::syncfs(fd)).map_err(EtcError::call("flush", "the file system"))
}

/// Writes a file of this mode whole or not at all, in place of one that may be there. `path` is for messages.
pub(super) fn write(
    directory: BorrowedFd<'_>,
    path: &str,
    content: &[u8],
    mode: u32,
    durable: Durable,
    watch: &mut dyn Watch,
) -> Result<(), EtcError> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let hidden = format!(".#{name}.hermetic");
    watch.before("write", path.as_bytes()).map_err(EtcError::call("write", path))?;
    // What a crash left behind.
    match fs::unlinkat(directory, &*hidden, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(EtcError::call("replace", path)(errno)),
    }
    let file = create(directory, &hidden, path, content, mode)?;
    drop(file);
    if durable == Durable::Here {
        flush(directory, watch)?;
    }
    watch
        .before("rename", path.as_bytes())
        .and_then(|()| fs::renameat(directory, &*hidden, directory, name))
        .map_err(EtcError::call("put in place", path))
}

/// Makes a new file with this content and mode.
fn create(
    directory: BorrowedFd<'_>,
    name: &str,
    path: &str,
    content: &[u8],
    mode: u32,
) -> Result<OwnedFd, EtcError> {
    let file = open::new(directory, name, mode).map_err(EtcError::call("create", path))?;
    fs::fchmod(&file, Mode::from_raw_mode(mode)).map_err(EtcError::call("set the mode of", path))?;
    write_all(file.as_fd(), content).map_err(EtcError::call("write", path))?;
    Ok(file)
}

/// Writes all of `bytes`.
pub(super) fn write_all(file: BorrowedFd<'_>, bytes: &[u8]) -> Result<(), Errno> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match rustix::io::retry_on_intr(|| rustix::io::write(file, rest))? {
            0 => return Err(Errno::NOSPC),
            written => rest = rest.get(written..).unwrap_or_default(),
        }
    }
    Ok(())
}
