//! The attributes of chattr(1) that stand against a change: nothing need be written to see that it would fail.

use std::os::fd::BorrowedFd;

use rustix::fs::{self, AtFlags, StatxAttributes, StatxFlags};

/// Immutable (`i`), append-only (`a`).
const FIXED: StatxAttributes = StatxAttributes::IMMUTABLE.union(StatxAttributes::APPEND);

/// Returns those of a name that forbid changes; the empty name is the directory itself. They are empty where the file
/// system does not tell, and for a name that is missing.
fn of(at: BorrowedFd<'_>, name: &[u8]) -> StatxAttributes {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::EMPTY_PATH;
    let statx = fs::statx(at, name, flags, StatxFlags::TYPE);
    statx.map_or(StatxAttributes::empty(), |statx| statx.stx_attributes & FIXED)
}

/// Returns true when this name cannot be removed or get another inode.
pub fn stays(directory: BorrowedFd<'_>, name: &[u8]) -> bool {
    !of(directory, b"").is_empty() || !of(directory, name).is_empty()
}

/// Returns true when the directory takes no new names.
pub fn takes_nothing(directory: BorrowedFd<'_>) -> bool {
    of(directory, b"").contains(StatxAttributes::IMMUTABLE)
}

/// Returns true when an open inode keeps its owner and its mode.
pub fn keeps_attributes(inode: BorrowedFd<'_>) -> bool {
    !of(inode, b"").is_empty()
}
