//! A mounted ext4, grown while it is in use.

use std::{fs::File, io};

use rustix::ioctl::{Opcode, Setter, ioctl, opcode};

/// fs/ext4/ext4.h: `_IOW('f', 16, __u64)`.
const EXT4_IOC_RESIZE_FS: Opcode = linux_raw_sys::ioctl::EXT4_IOC_RESIZE_FS as Opcode;

// The kernel's number holds the size of what it reads.
const _: () = assert!(EXT4_IOC_RESIZE_FS == opcode::write::<u64>(b'f', 16));

/// Grows the file system that the open directory belongs to to so many of its blocks. It is complete again when this
/// returns, or after a crash before it: each group is added by a transaction of its own.
///
/// # Errors
/// EINVAL: fewer than it has; EPERM: no CAP_SYS_RESOURCE, or errors were found in it; ENOSPC or EIO: beyond the device.
pub fn resize(directory: &File, blocks: u64) -> io::Result<()> {
    // SAFETY: EXT4_IOC_RESIZE_FS reads one u64; `Setter` passes a pointer to one.
    Ok(unsafe { ioctl(directory, Setter::<EXT4_IOC_RESIZE_FS, u64>::new(blocks)) }?)
}
