//! Mounting, moving and unmounting.

use std::{ffi::CString, io, path::Path};

use rustix::mount::{MountFlags, UnmountFlags};

/// A file system of the kernel's own: no device behind it.
pub struct Api {
    /// Type and source.
    pub fstype: &'static str,
    /// Where it goes.
    pub target: &'static str,
    /// How.
    pub flags: MountFlags,
    /// Options of the file system.
    pub data: &'static str,
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

const NOSUID_NOEXEC_NODEV: MountFlags = MountFlags::NOSUID.union(MountFlags::NOEXEC).union(MountFlags::NODEV);

/// Mounts one of the kernel's own file systems. A target that is a mount of that type already is left alone.
///
/// # Errors
/// What mount(2) says.
pub fn api(fs: &Api) -> io::Result<()> {
    match device(fs.fstype, fs.fstype, fs.target, fs.flags, fs.data) {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error()) => Ok(()),
        other => other,
    }
}

/// Mounts `source` as `fstype` at `target` with the comma-separated `options`.
///
/// # Errors
/// What mount(2) says; options with a NUL byte.
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

/// Moves a mount and everything below it.
///
/// # Errors
/// What mount(2) says.
pub fn move_to(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    Ok(rustix::mount::mount_move(from.as_ref(), to.as_ref())?)
}

/// Makes every mount private, so that moves are allowed and nothing propagates.
///
/// # Errors
/// What mount(2) says.
pub fn make_private() -> io::Result<()> {
    use rustix::mount::MountPropagationFlags as Propagation;
    Ok(rustix::mount::mount_change("/", Propagation::PRIVATE | Propagation::REC)?)
}

/// Unmounts `target`, now: a file system that is still in use stays and says so.
///
/// # Errors
/// What umount(2) says.
pub fn unmount(target: impl AsRef<Path>) -> io::Result<()> {
    Ok(rustix::mount::unmount(target.as_ref(), UnmountFlags::NOFOLLOW)?)
}

/// Whether something is mounted at `path` (statx tells a mount's root by an attribute).
pub fn is_mount_point(path: impl AsRef<Path>) -> bool {
    use rustix::fs::{AtFlags, StatxAttributes, StatxFlags, statx};
    statx(rustix::fs::CWD, path.as_ref(), AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty())
        .is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}
