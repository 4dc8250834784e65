//! /usr as a tree: one that is named, or the image's file system, mounted.

use std::{
    fs::{self, DirBuilder, File},
    os::{
        fd::{AsFd as _, BorrowedFd},
        unix::fs::DirBuilderExt as _,
    },
    path::{Path, PathBuf},
    process::Command,
};

use hermetic_init::{
    disk::partition::Partition, file_system::FileSystem, fragments::systemd, repart::Search,
};

use super::disk::Named;
use crate::{
    populate::{can_populate, first_line},
    repart::Failure,
};

/// A directory whose `usr` is /usr.
pub struct UsrTree {
    path: PathBuf,
    above: File,
    usr: File,
    /// A mount of ours, which ends with this.
    mounted: Option<Mount>,
}

/// A mount at `usr` in a directory of ours. It ends with this.
struct Mount(PathBuf);

impl UsrTree {
    /// The tree that /usr was made from.
    ///
    /// # Errors
    /// It cannot be opened, or has another name.
    pub fn named(usr: &Path) -> Result<Self, Failure> {
        let usr = std::path::absolute(usr).map_err(|error| unopened(usr, &error))?;
        let above = usr.parent().filter(|_| usr.file_name().is_some_and(|name| name == "usr"));
        let Some(above) = above else {
            let line =
                format!("{} is not named usr, and links of the tree would lead elsewhere", usr.display());
            return Err(Failure::new(line));
        };
        Self::open(above, None)
    }

    /// Mounts the file system of a partition, read-only, through a loop device.
    ///
    /// # Errors
    /// No right to, or the kernel does not mount it.
    pub fn mount(disk: &Named, partition: &Partition, system: FileSystem) -> Result<Self, Failure> {
        let advice = "as root with loop devices, or name the tree that it was made from by --usr";
        if can_populate().is_err() {
            return Err(Failure::new(format!("cannot look into /usr: check the image {advice}")));
        }
        let path = std::env::temp_dir().join(format!("hermetic-check-{}", std::process::id()));
        let place = path.join("usr");
        // What is there already is another's: a link of his would have the image mounted over something of the host's.
        let create = |path: &Path| DirBuilder::new().mode(0o700).create(path);
        create(&path).and_then(|()| create(&place)).map_err(|error| unopened(&path, &error))?;
        let range = disk.range(partition);
        let mut options =
            format!("ro,loop,nodev,noexec,nosuid,offset={},sizelimit={}", range.start().0, range.length().0);
        if !system.options_unwritten().is_empty() {
            options = format!("{options},{}", system.options_unwritten());
        }
        let mut mount = Command::new("mount");
        mount.args(["-t", system.name(), "-o", &options]).arg(disk.path()).arg(&place);
        let said = match mount.output() {
            Ok(output) if output.status.success() => return Self::open(&path, Some(Mount(path.clone()))),
            Ok(output) => first_line(&output.stderr),
            Err(error) => format!("mount(8): {error}"),
        };
        remove(&path);
        Err(Failure::new(format!("cannot mount /usr of the image: {said}; check it {advice}")))
    }

    fn open(above: &Path, mounted: Option<Mount>) -> Result<Self, Failure> {
        let open = |path: &Path| File::open(path).map_err(|error| unopened(path, &error));
        Ok(Self { path: above.to_owned(), above: open(above)?, usr: open(&above.join("usr"))?, mounted })
    }

    /// The directory whose `usr` is /usr.
    pub fn above(&self) -> BorrowedFd<'_> {
        self.above.as_fd()
    }

    /// /usr.
    pub fn usr(&self) -> BorrowedFd<'_> {
        self.usr.as_fd()
    }

    /// The path of /usr here.
    pub fn path(&self) -> PathBuf {
        self.path.join("usr")
    }

    /// True for the image's own file system: owners in it are those of the machine.
    pub fn is_mounted(&self) -> bool {
        self.mounted.is_some()
    }

    /// True when /usr has something of this name; links are not followed to their ends.
    pub fn has(&self, path: &Path) -> bool {
        self.path().join(path).symlink_metadata().is_ok()
    }

    /// The places of its definitions. Beside a tree that is named there may be an /etc, which no boot has.
    pub fn search(&self) -> Search {
        let mut search = Search::standard();
        search.directories.retain(|directory| directory.starts_with("/usr/"));
        search
    }

    /// The program that comes next, with systemd's version where its library says it.
    pub fn next(&self, path: &Path) -> String {
        let version = systemd::version(self.usr());
        match version {
            Some(version) => format!("{} is started, systemd {version}", path.display()),
            None => format!("{} is started", path.display()),
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let place = self.0.join("usr");
        match Command::new("umount").arg("--lazy").arg(&place).status() {
            Ok(status) if status.success() => remove(&self.0),
            _ => eprintln!("warning: {} stays mounted", place.display()),
        }
    }
}

/// Removes a directory of ours that holds nothing but the mount point.
fn remove(path: &Path) {
    for empty in [&path.join("usr"), path] {
        if let Err(error) = fs::remove_dir(empty) {
            eprintln!("warning: {}: {error}", empty.display());
        }
    }
}

fn unopened(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("{}: {error}", path.display()))
}
