//! The lock that all programs take that change the user databases: lckpwdf(3).

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::{
    fs::{self, AtFlags, FileType, FlockOperation, Mode, OFlags},
    io::Errno,
};

use super::SysusersError;

/// The file that is locked, in /etc.
const NAME: &str = ".pwd.lock";
/// The same for messages.
const PATH: &str = "/etc/.pwd.lock";

/// Tells if another program is waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waiting {
    /// The lock is waited for as long as it is held, as by systemd-sysusers. Without it nothing is done.
    UntilFree,
    /// Nothing is waited for. PID 1 of an initramfs is alone: a lock that it cannot have is a leftover, or the root's owner wants to
    /// stop the boot. The work is done without it, with a warning.
    Never,
}

/// Takes the lock, which is held until it is dropped. Only a regular file is opened: a FIFO would wait for its reader, and opening a
/// device may do anything.
///
/// # Errors
/// The lock is held and not waited for; there is something else in its place; what the file system says.
pub(super) fn take(etc: BorrowedFd<'_>, waiting: Waiting) -> Result<OwnedFd, SysusersError> {
    match fs::statat(etc, NAME, AtFlags::SYMLINK_NOFOLLOW).map(|stat| FileType::from_raw_mode(stat.st_mode)) {
        Err(Errno::NOENT) | Ok(FileType::RegularFile) => {}
        Ok(FileType::Symlink) => return Err(SysusersError::call("open", PATH)(Errno::LOOP)),
        Ok(_) => return Err(SysusersError::call("lock", PATH)(Errno::INVAL)),
        Err(errno) => return Err(SysusersError::call("look at", PATH)(errno)),
    }
    // Whatever takes the file's place meanwhile: a FIFO is not waited for.
    let flags = OFlags::WRONLY
        | OFlags::CREATE
        | OFlags::NOFOLLOW
        | OFlags::NONBLOCK
        | OFlags::NOCTTY
        | OFlags::CLOEXEC;
    let file = fs::openat(etc, NAME, flags, Mode::from_raw_mode(0o600))
        .map_err(SysusersError::call("open", PATH))?;
    let operation = match waiting {
        Waiting::UntilFree => FlockOperation::LockExclusive,
        Waiting::Never => FlockOperation::NonBlockingLockExclusive,
    };
    fs::fcntl_lock(&file, operation).map_err(SysusersError::call("lock", PATH))?;
    Ok(file)
}
