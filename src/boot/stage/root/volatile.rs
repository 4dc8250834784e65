//! Roots that last for one boot: a tmpfs, or one above an unchanged root (kernel-command-line(7), `systemd.volatile=`).
//!
//! systemd's own systemd-volatile-root.service does this from inside its initrd, and fails where /usr is a file system
//! of its own. Here /usr is mounted apart anyway and put on top in the end.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use rustix::mount::MountFlags;

use crate::{
    boot::{
        failure::{Failure, OrFail as _},
        machine::{devices::Devices, run::OURS},
    },
    config::Mount,
    sys::mount::{self, Options},
    units::DeviceNumber,
};

/// The link by which systemd-gpt-auto-generator learns which disk root came from, when the mounts do not tell.
const ORIGIN: &str = "/run/systemd/volatile-root";

/// The share of the memory that systemd gives such a tmpfs (systemd: src/shared/mount-setup.h, TMPFS_LIMITS_ROOTFS).
const OPTIONS: &str = "mode=0755,size=25%,nr_inodes=1m";

/// Mounts an empty tmpfs as root, with these flags and options. Mode 0755 and systemd's limits hold where the options say nothing else.
///
/// # Errors
/// The mount fails.
pub fn tmpfs(wish: &Mount, flags: MountFlags, target: &Path) -> Result<(), Failure> {
    let read_only = if wish.read_write { MountFlags::empty() } else { MountFlags::RDONLY };
    let mut options = Options::parse(MountFlags::STRICTATIME | read_only | flags, &wish.options);
    for word in OPTIONS.split(',') {
        let key = word.split('=').next().unwrap_or(word);
        let is_given = options.data.split(',').any(|given| given.split('=').next() == Some(key));
        if !is_given {
            options.add(word);
        }
    }
    mount::device("rootfs", "tmpfs", target, options.flags, &options.data)
        .or_fail(|| format!("cannot mount a tmpfs on {}", target.display()))
}

/// The directories that an overlay is made from. Both mounts go once the overlay holds them.
pub struct Overlay {
    lower: PathBuf,
    upper: PathBuf,
}

impl Overlay {
    /// Makes the directories.
    ///
    /// # Errors
    /// /run cannot be written.
    pub fn new() -> Result<Self, Failure> {
        let below = |name| PathBuf::from(OURS).join(name);
        let overlay = Self { lower: below("lower"), upper: below("volatile") };
        for directory in [&overlay.lower, &overlay.upper] {
            fs::create_dir_all(directory).or_fail(|| format!("cannot create {}", directory.display()))?;
        }
        Ok(overlay)
    }

    /// The directory on which the root that does not change is to be mounted.
    pub fn lower(&self) -> &Path {
        &self.lower
    }

    /// Mounts the overlay on `target` with these flags, above the file system mounted at [`Overlay::lower`].
    ///
    /// # Errors
    /// A mount fails, a kernel without overlayfs.
    pub fn mount(self, target: &Path, flags: MountFlags, devices: &mut Devices) -> Result<(), Failure> {
        let Self { lower, upper } = self;
        devices.demand("fs-overlay")?;
        mount::device("tmpfs", "tmpfs", &upper, MountFlags::STRICTATIME, OPTIONS)
            .or_fail(|| format!("cannot mount a tmpfs on {}", upper.display()))?;
        let directories = || -> io::Result<()> {
            fs::create_dir(upper.join("data"))?;
            fs::create_dir(upper.join("work"))
        };
        directories().or_fail(|| format!("cannot create directories in {}", upper.display()))?;
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.display(),
            upper.join("data").display(),
            upper.join("work").display()
        );
        mount::device("overlay", "overlay", target, flags, &options).or_fail(|| {
            "cannot mount the overlay of systemd.volatile=overlay; add the module overlay to the initramfs".into()
        })?;
        // The overlay keeps its own references.
        for directory in [lower, upper] {
            mount::unmount(&directory)
                .and_then(|()| fs::remove_dir(&directory))
                .or_fail(|| format!("cannot unmount {}", directory.display()))?;
        }
        Ok(())
    }
}

/// Tells systemd the device behind a root that hides it.
///
/// # Errors
/// /run cannot be written.
pub fn record_origin(device: DeviceNumber) -> Result<(), Failure> {
    fs::create_dir_all("/run/systemd")
        .and_then(|()| symlink(format!("/dev/block/{device}"), ORIGIN))
        .or_fail(|| format!("cannot make the link {ORIGIN}"))
}
