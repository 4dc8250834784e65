//! Mounting, moving and unmounting.

use std::{
    ffi::CString,
    io,
    os::fd::{BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx},
    io::Errno,
    mount::{MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags},
};

/// A file system of the kernel's own: no device behind it.
pub struct Api {
    /// Type and source.
    pub fstype: &'static str,
    /// The mount point.
    pub target: &'static str,
    /// The flags.
    pub flags: MountFlags,
    /// Options of the file system.
    pub data: &'static str,
}

/// The longest value of an extended attribute (XATTR_SIZE_MAX of linux/limits.h).
const ATTRIBUTE_MAX: usize = 64 << 10;

/// An extended attribute of a mounted file system's root; None when it has no attribute of that name, or none at all.
///
/// # Errors
/// It cannot be read.
pub fn attribute(at: &Path, name: &str) -> io::Result<Option<Vec<u8>>> {
    let mut value = vec![0; ATTRIBUTE_MAX];
    match rustix::fs::getxattr(at, name, value.as_mut_slice()) {
        Ok(length) => {
            value.truncate(length);
            Ok(Some(value))
        }
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// The API file systems every boot needs, in mount order (systemd: src/shared/mount-setup.c).
pub const API: [Api; 4] = [
    Api { fstype: "proc", target: "/proc", flags: NOSUID_NOEXEC_NODEV, data: "" },
    Api { fstype: "sysfs", target: "/sys", flags: NOSUID_NOEXEC_NODEV, data: "" },
    Api {
        fstype: "devtmpfs",
        target: "/dev",
        flags: MountFlags::NOSUID.union(MountFlags::STRICTATIME),
        data: "mode=0755",
    },
    Api {
        fstype: "tmpfs",
        target: "/run",
        flags: MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::STRICTATIME),
        data: "mode=0755,size=20%,nr_inodes=800k",
    },
];

/// EFI variables, on machines that have them.
pub const EFIVARFS: Api =
    Api { fstype: "efivarfs", target: "/sys/firmware/efi/efivars", flags: NOSUID_NOEXEC_NODEV, data: "" };

const NOSUID_NOEXEC_NODEV: MountFlags = MountFlags::NOSUID.union(MountFlags::NOEXEC).union(MountFlags::NODEV);

/// Mounts one of the kernel's own file systems. A target that is a mount of that type already is left alone.
///
/// # Errors
/// The error of mount(2).
pub fn api(fs: &Api) -> io::Result<()> {
    match device(fs.fstype, fs.fstype, fs.target, fs.flags, fs.data) {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error()) => Ok(()),
        other => other,
    }
}

/// Mounts `source` as `fstype` at `target` with the comma-separated `options`.
///
/// # Errors
/// The error of mount(2); options with a NUL byte.
pub fn device(
    source: impl AsRef<Path>,
    fstype: &str,
    target: impl AsRef<Path>,
    flags: MountFlags,
    options: &str,
) -> io::Result<()> {
    let options = CString::new(options)?;
    Ok(rustix::mount::mount(source.as_ref(), target.as_ref(), fstype, flags, &*options)?)
}

/// Opens the root of a mount, to be moved by [`move_to`].
///
/// # Errors
/// The error of open_tree(2).
pub fn open(at: impl AsRef<Path>) -> io::Result<OwnedFd> {
    Ok(rustix::mount::open_tree(CWD, at.as_ref(), OpenTreeFlags::OPEN_TREE_CLOEXEC)?)
}

/// Moves the mount whose root is open, and everything below it, onto an open directory. No path is looked up, so nothing in the
/// tree of either can lead elsewhere. move_mount(2) is there from Linux 5.2 on, and cannot be configured out.
///
/// # Errors
/// The error of move_mount(2).
pub fn move_to(mount: BorrowedFd<'_>, directory: BorrowedFd<'_>) -> io::Result<()> {
    let both_open = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH.union(MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH);
    Ok(rustix::mount::move_mount(mount, c"", directory, c"", both_open)?)
}

/// A mount, and the file system on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MountId {
    /// The kernel's number of the mount; 0 before Linux 5.8, which does not tell it.
    mount: u64,
    /// The device of the file system, and the inode that is its top.
    file: (u32, u32, u64),
}

/// Tells which mount an open directory is the top of.
///
/// # Errors
/// The error of statx(2).
pub fn id(directory: BorrowedFd<'_>) -> io::Result<MountId> {
    let told = statx(directory, c"", AtFlags::EMPTY_PATH, StatxFlags::INO.union(StatxFlags::MNT_ID))?;
    Ok(MountId { mount: told.stx_mnt_id, file: (told.stx_dev_major, told.stx_dev_minor, told.stx_ino) })
}

/// Options as fstab(5) and the kernel command line write them, taken apart: the flags of the VFS, and the rest for the
/// file system.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// Flags of the VFS.
    pub flags: MountFlags,
    /// The file system's own, comma-separated.
    pub data: String,
}

impl Options {
    /// Takes `words` apart, starting from `flags`.
    pub fn parse(flags: MountFlags, words: &[impl AsRef<str>]) -> Self {
        let mut options = Self { flags, data: String::new() };
        for word in words {
            let (set, clear) = match word.as_ref() {
                "nodev" => (MountFlags::NODEV, MountFlags::empty()),
                "dev" => (MountFlags::empty(), MountFlags::NODEV),
                "nosuid" => (MountFlags::NOSUID, MountFlags::empty()),
                "suid" => (MountFlags::empty(), MountFlags::NOSUID),
                "noexec" => (MountFlags::NOEXEC, MountFlags::empty()),
                "exec" => (MountFlags::empty(), MountFlags::NOEXEC),
                "noatime" => (MountFlags::NOATIME, MountFlags::empty()),
                "nodiratime" => (MountFlags::NODIRATIME, MountFlags::empty()),
                "relatime" => (MountFlags::RELATIME, MountFlags::NOATIME),
                "strictatime" => (MountFlags::STRICTATIME, MountFlags::NOATIME),
                "sync" => (MountFlags::SYNCHRONOUS, MountFlags::empty()),
                "dirsync" => (MountFlags::DIRSYNC, MountFlags::empty()),
                "lazytime" => (MountFlags::LAZYTIME, MountFlags::empty()),
                "defaults" | "async" => continue,
                word => {
                    options.add(word);
                    continue;
                }
            };
            options.flags = options.flags.difference(clear).union(set);
        }
        options
    }

    /// Adds an option of the file system.
    pub fn add(&mut self, word: &str) {
        if !self.data.is_empty() {
            self.data.push(',');
        }
        self.data.push_str(word);
    }
}

/// Unmounts `target`, now: a file system that is still in use stays, with an error.
///
/// # Errors
/// The error of umount(2).
pub fn unmount(target: impl AsRef<Path>) -> io::Result<()> {
    Ok(rustix::mount::unmount(target.as_ref(), UnmountFlags::NOFOLLOW)?)
}

/// Returns true when something is mounted at `path` (statx tells a mount's root by an attribute).
pub fn is_mount_point(path: impl AsRef<Path>) -> bool {
    statx(CWD, path.as_ref(), AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty())
        .is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_taken_apart_as_mount_8_does() {
        let cases: [(&[&str], MountFlags, &str); 3] = [
            (&[], MountFlags::NODEV, ""),
            (&["dev", "noatime", "defaults"], MountFlags::NOATIME, ""),
            (
                &["subvol=@", "nosuid", "commit=5"],
                MountFlags::NODEV | MountFlags::NOSUID,
                "subvol=@,commit=5",
            ),
        ];
        for (words, flags, data) in cases {
            let expected = Options { flags, data: data.into() };
            assert_eq!(Options::parse(MountFlags::NODEV, words), expected, "{words:?}");
        }
    }
}
