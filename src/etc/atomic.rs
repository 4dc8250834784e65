//! Changing a root so that a power cut finds each file old or new, never in between.

use std::os::fd::BorrowedFd;

use rustix::fs;

use super::EtcError;
use crate::{
    durable::Durable,
    tree::{
        attributes::Attributes,
        replace,
        watch::{FLUSH, Watch},
    },
};

/// Puts everything that was written to the file system of `fd` on its disk.
pub(super) fn flush(fd: BorrowedFd<'_>, watch: &dyn Watch) -> Result<(), EtcError> {
    watch.before(FLUSH, b"").and_then(|()| fs::syncfs(fd)).map_err(EtcError::call("flush", "the file system"))
}

/// Writes a file of this mode whole or not at all, in place of one that may be there. `path` is for messages.
pub(super) fn write(
    directory: BorrowedFd<'_>,
    path: &str,
    content: &[u8],
    mode: u32,
    durable: Durable,
    watch: &dyn Watch,
) -> Result<(), EtcError> {
    let name = path.rsplit('/').next().unwrap_or(path).as_bytes();
    let hidden = replace::hidden(name);
    let attributes = Attributes { mode: Some(mode), ..Attributes::default() };
    watch.before("write", path.as_bytes()).map_err(EtcError::call("write", path))?;
    replace::beside(directory, &hidden, content, &attributes)
        .map_err(|failed| EtcError::call(failed.step, path)(failed.errno))?;
    if durable == Durable::Here {
        flush(directory, watch)?;
    }
    watch
        .before("rename", path.as_bytes())
        .and_then(|()| replace::place(directory, &hidden, name))
        .map_err(EtcError::call("put in place", path))
}
