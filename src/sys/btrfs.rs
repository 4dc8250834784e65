//! A mounted btrfs: grown while it is in use, subvolumes made read-only.
//!
//! Source: `include/uapi/linux/btrfs.h`.

use std::{fs::File, io};

use rustix::ioctl::{Opcode, Setter, ioctl, opcode};

const MAGIC: u8 = 0x94;
/// `struct btrfs_ioctl_vol_args`.
#[repr(C)]
struct VolumeArguments {
    fd: i64,
    name: [u8; 4088],
}

const BTRFS_IOC_RESIZE: Opcode = opcode::write::<VolumeArguments>(MAGIC, 3);
const BTRFS_IOC_SUBVOL_SETFLAGS: Opcode = opcode::write::<u64>(MAGIC, 26);
const BTRFS_SUBVOL_RDONLY: u64 = 1 << 1;

/// Grows the file system that the open directory belongs to to the end of its only device, in one transaction.
///
/// # Errors
/// EPERM: no CAP_SYS_ADMIN; EROFS: mounted read-only; EINPROGRESS: a balance runs.
pub fn grow(directory: &File) -> io::Result<()> {
    let mut arguments = VolumeArguments { fd: 0, name: [0; 4088] };
    for (to, from) in arguments.name.iter_mut().zip(b"1:max") {
        *to = *from;
    }
    // SAFETY: BTRFS_IOC_RESIZE reads one `struct btrfs_ioctl_vol_args`; `Setter` passes a pointer to one.
    Ok(unsafe { ioctl(directory, Setter::<BTRFS_IOC_RESIZE, VolumeArguments>::new(arguments)) }?)
}

/// Makes the subvolume whose root directory is open read-only.
///
/// # Errors
/// EINVAL: it is no root of a subvolume.
pub fn make_read_only(subvolume: &File) -> io::Result<()> {
    // SAFETY: BTRFS_IOC_SUBVOL_SETFLAGS reads one u64; `Setter` passes a pointer to one.
    Ok(unsafe { ioctl(subvolume, Setter::<BTRFS_IOC_SUBVOL_SETFLAGS, u64>::new(BTRFS_SUBVOL_RDONLY)) }?)
}
