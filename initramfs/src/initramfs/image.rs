//! The /usr of an image, mounted read-only for as long as its modules are read: a disk's newest one, as a boot without a root hash
//! chooses it, or the file system that the image is.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use hermetic_init::disk::{
    filter::Filter,
    gpt::Gpt,
    slot::{Choice, select_usr},
};

use super::Error;
use crate::{populate::can_populate, repart::disk::Disk};

/// The purpose of the file, for errors.
const PURPOSE: &str = "the image";

/// A mounted /usr, unmounted on drop.
pub struct Mounted {
    at: PathBuf,
}

impl Mounted {
    /// Mounts the /usr of `image`: a disk image, a block device, or a file system.
    ///
    /// # Errors
    /// No root or no loop devices, a table without a /usr, a file system that this kernel does not mount.
    pub fn new(image: &Path) -> Result<Self, Error> {
        let unusable = |why: String| Error::Unusable { what: PURPOSE, path: image.into(), why };
        can_populate().map_err(|error| unusable(error.to_string()))?;
        let mut options = "loop,ro,noatime,nodev,noexec,nosuid".to_owned();
        let disk = Disk::source(image).map_err(|error| unusable(error.to_string()))?;
        if let Ok(gpt) = Gpt::read(&disk.file, disk.geometry()) {
            let slot = select_usr(gpt.partitions(), Choice::Newest, &Filter::default())
                .map_err(|error| unusable(error.to_string()))?;
            if let Some(usr) = gpt.partition(slot.data) {
                let block_size = gpt.geometry().block_size;
                let (start, length) = (usr.offset(block_size).0, usr.length(block_size).0);
                options += &format!(",offset={start},sizelimit={length}");
            }
        }
        let at = std::env::temp_dir().join(format!("hermetic-usr-{}", std::process::id()));
        fs::create_dir(&at)
            .map_err(|error| unusable(format!("cannot make {} to mount at: {error}", at.display())))?;
        let mounted = Self { at };
        let output = Command::new("mount").args(["-o", &options]).arg(image).arg(&mounted.at).output();
        match output {
            Ok(output) if output.status.success() => Ok(mounted),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                let said = said.lines().next().unwrap_or("mount(8) does not say why").to_owned();
                Err(unusable(format!("{said}: give a disk image with a /usr, or the file system of one")))
            }
            Err(error) => Err(unusable(format!("cannot run mount(8): {error}; install util-linux"))),
        }
    }

    /// The directory that holds a directory of modules for each kernel.
    pub fn modules(&self) -> PathBuf {
        let whole = self.at.join("usr/lib/modules");
        if whole.is_dir() { whole } else { self.at.join("lib/modules") }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // A file system that is still mounted is named by the directory that cannot be removed.
        let _ = Command::new("umount").arg(&self.at).stderr(std::process::Stdio::null()).status();
        if let Err(error) = fs::remove_dir(&self.at) {
            eprintln!("warning: {} stays: {error}: unmount it", self.at.display());
        }
    }
}
