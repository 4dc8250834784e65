//! Named sets of flags for opening names that a stranger may have made.
//!
//! None of them follows a link at the end of a path, and none leaves a descriptor to a program that is executed.

use rustix::fs::OFlags;

const KEPT: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC);
/// Opening a FIFO waits for its other end, opening a terminal can make it ours: neither happens with these.
const CALM: OFlags = OFlags::NONBLOCK.union(OFlags::NOCTTY);

/// An inode itself, of any kind; it cannot be read or written.
pub const PATH: OFlags = OFlags::PATH.union(KEPT);
/// A directory that is read.
pub const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(KEPT);
/// A file that is read, and that may turn out to be anything.
pub const FILE: OFlags = OFlags::RDONLY.union(CALM).union(KEPT);
/// A file that is written, and that may turn out to be anything.
pub const WRITTEN: OFlags = OFlags::WRONLY.union(CALM).union(KEPT);
/// A file that is made; its name must be free.
pub const NEW: OFlags = OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(KEPT);
