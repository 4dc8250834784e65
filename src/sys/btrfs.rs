//! A mounted btrfs: grown while it is in use, subvolumes made, and made read-only.
//!
//! Source: `include/uapi/linux/btrfs.h`.

use std::{fs::File, io, mem::offset_of, os::fd::AsFd};

use rustix::{
    fs,
    io::Errno,
    ioctl::{Opcode, Setter, ioctl, opcode},
};

/// `struct btrfs_ioctl_vol_args`.
#[repr(C)]
struct VolumeArguments {
    fd: i64,
    name: [u8; 4088],
}

const BTRFS_IOC_RESIZE: Opcode = linux_raw_sys::ioctl::BTRFS_IOC_RESIZE as Opcode;
const BTRFS_IOC_SUBVOL_CREATE: Opcode = linux_raw_sys::ioctl::BTRFS_IOC_SUBVOL_CREATE as Opcode;
const BTRFS_IOC_SUBVOL_SETFLAGS: Opcode = linux_raw_sys::ioctl::BTRFS_IOC_SUBVOL_SETFLAGS as Opcode;

// The kernel's numbers hold the size of what it reads.
const _: () = {
    const MAGIC: u8 = 0x94;
    assert!(BTRFS_IOC_RESIZE == opcode::write::<VolumeArguments>(MAGIC, 3));
    assert!(BTRFS_IOC_SUBVOL_CREATE == opcode::write::<VolumeArguments>(MAGIC, 14));
    assert!(BTRFS_IOC_SUBVOL_SETFLAGS == opcode::write::<u64>(MAGIC, 26));
    assert!(size_of::<VolumeArguments>() == 4096);
    assert!(offset_of!(VolumeArguments, fd) == 0 && offset_of!(VolumeArguments, name) == 8);
};
const BTRFS_SUBVOL_RDONLY: u64 = 1 << 1;
/// `BTRFS_SUPER_MAGIC` of linux/magic.h.
const BTRFS_SUPER_MAGIC: u64 = 0x9123_683e;
/// `BTRFS_FIRST_FREE_OBJECTID`: the inode of every subvolume's root directory.
const ROOT_INODE: u64 = 256;

/// Returns true when an open directory is the root of a subvolume.
pub fn is_subvolume(directory: impl AsFd) -> bool {
    let is_btrfs = fs::fstatfs(&directory).is_ok_and(|fs| fs.f_type as u64 == BTRFS_SUPER_MAGIC);
    is_btrfs && fs::fstat(&directory).is_ok_and(|stat| stat.st_ino == ROOT_INODE)
}

/// Makes a subvolume in an open directory, with mode 0777 less the umask.
///
/// # Errors
/// ENAMETOOLONG: the name has more than 255 bytes; ENOTTY: this is not a btrfs; and as mkdir(2).
pub fn make_subvolume(directory: impl AsFd, name: &[u8]) -> Result<(), Errno> {
    const MAX_LENGTH: usize = 255;
    if name.len() > MAX_LENGTH {
        return Err(Errno::NAMETOOLONG);
    }
    let mut arguments = VolumeArguments { fd: 0, name: [0; 4088] };
    for (to, from) in arguments.name.iter_mut().zip(name) {
        *to = *from;
    }
    // SAFETY: BTRFS_IOC_SUBVOL_CREATE reads one `struct btrfs_ioctl_vol_args`; `Setter` passes a pointer to one.
    unsafe { ioctl(directory, Setter::<BTRFS_IOC_SUBVOL_CREATE, VolumeArguments>::new(arguments)) }
}

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
/// EINVAL: it is not the root of a subvolume.
pub fn make_read_only(subvolume: &File) -> io::Result<()> {
    // SAFETY: BTRFS_IOC_SUBVOL_SETFLAGS reads one u64; `Setter` passes a pointer to one.
    Ok(unsafe { ioctl(subvolume, Setter::<BTRFS_IOC_SUBVOL_SETFLAGS, u64>::new(BTRFS_SUBVOL_RDONLY)) }?)
}
