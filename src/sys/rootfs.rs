//! Leaves the root that the kernel started this program on (systemd: src/shared/switch-root.c).

use std::{
    ffi::OsStr,
    io,
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, fstatfs, openat, statat, unlinkat},
    io::Errno,
    process::{chdir, chroot, fchdir, pivot_root},
};

/// File system magic of ramfs and tmpfs (linux/magic.h): the file systems of an initramfs.
const TEMPORARY: [u64; 2] = [0x8584_58f6, 0x0102_1994];

/// A directory that was `/` before the switch.
pub struct OldRoot(OwnedFd);

impl OldRoot {
    /// Returns true when `/` is an initramfs, as opposed to a file system on a disk (`init=` without initramfs).
    ///
    /// # Errors
    /// `/` cannot be opened.
    pub fn is_temporary() -> io::Result<bool> {
        let root = openat(CWD, "/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(is_temporary(&root)?)
    }
}

fn is_temporary(root: &OwnedFd) -> Result<bool, Errno> {
    Ok(TEMPORARY.contains(&(fstatfs(root)?.f_type as u64)))
}

/// Makes the mount whose top is open as `new_root` the root of this process, detaches the old root and frees its memory.
///
/// pivot_root is tried first: it works from a root that has a parent mount (a disk, and the initramfs of Linux 7.0 on).
/// The rootfs of older kernels cannot be pivoted away from; it is covered by a move, and its files are unlinked.
///
/// # Errors
/// The system call that failed. Until the move or the pivot nothing has changed.
pub fn switch(new_root: BorrowedFd<'_>) -> io::Result<()> {
    let old = openat(CWD, "/", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let temporary = is_temporary(&old)?;
    fchdir(new_root)?;
    match pivot_root(".", ".") {
        Ok(()) => {
            rustix::mount::unmount(".", rustix::mount::UnmountFlags::DETACH)?;
            chdir("/")?;
        }
        Err(Errno::INVAL) => {
            rustix::mount::mount_move(".", "/")?;
            chroot(".")?;
            chdir("/")?;
            if temporary {
                let device = rustix::fs::fstat(&old)?.st_dev;
                empty(OldRoot(old), device)?;
            }
        }
        Err(errno) => return Err(errno.into()),
    }
    Ok(())
}

/// Unlinks everything below `directory` that lives on `device`; mounts are not entered.
fn empty(directory: OldRoot, device: u64) -> Result<(), Errno> {
    let mut entries = Dir::read_from(&directory.0)?;
    while let Some(entry) = entries.read() {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        let stat = statat(&directory.0, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if stat.st_dev != device {
            continue;
        }
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            empty(OldRoot(openat(&directory.0, name, flags, Mode::empty())?), device)?;
            match unlinkat(&directory.0, name, AtFlags::REMOVEDIR) {
                // Still a mount point in the tree that is being left.
                Ok(()) | Err(Errno::BUSY) => {}
                Err(errno) => return Err(errno),
            }
        } else {
            unlinkat(&directory.0, name, AtFlags::empty())?;
        }
    }
    Ok(())
}
