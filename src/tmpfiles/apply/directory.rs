//! Directories and subvolumes: `d`, `D`, `v`, `q`, `Q`, `e`.
//!
//! As systemd-tmpfiles does, a subvolume is made where the root is itself one, a directory everywhere else. Quota
//! groups (`q`, `Q`) are not made: they take effect only where quotas are on, which they are not on a new root, and the
//! system that comes up carries out the same lines. When quotas are on, a line says so.

use rustix::{
    fs::{self, FileType, Mode},
    io::Errno,
    process::umask,
};

use super::{
    super::{Kind, path::show},
    Applier, Creation, Done, Failed, IGNORING, Item, Level,
    walk::Parent,
};
use crate::{
    sys::btrfs,
    tree::{Last, open},
};

/// The directory in which the kernel shows each btrfs that is mounted (Documentation/ABI/testing/sysfs-fs-btrfs).
const MOUNTED: &str = "/sys/fs/btrfs";

/// Returns true when quotas are on in any btrfs that is mounted: only then has it a directory of quota groups.
fn has_quotas() -> bool {
    let mut mounted = std::fs::read_dir(MOUNTED).into_iter().flatten().flatten();
    mounted.any(|entry| entry.path().join("qgroups").exists())
}

/// Makes a subvolume, whose mode nothing but the umask decides.
fn make_subvolume(parent: &Parent<'_>, mode: u32) -> Result<(), Errno> {
    // A descriptor of O_PATH takes no ioctl.
    let directory = open::directory(&parent.fd, ".")?;
    let before = umask(Mode::from_raw_mode(!mode & 0o777));
    let made = btrfs::make_subvolume(&directory, parent.name);
    umask(before);
    made
}

impl Applier<'_> {
    /// Makes a directory. Another file under its name stays, which is logged and not a failure.
    pub(super) fn directory(&mut self, item: &Item) -> Done {
        let shown = show(&item.path);
        if self.is_dry_run {
            let what = if item.kind.is_subvolume() { "subvolume" } else { "directory" };
            self.log.say(Level::Info, format!("Would create {what} {shown}"));
            return Ok(());
        }
        let parent = self.parent(item, Some(FileType::Directory))?;
        let made = match item.kind.is_subvolume() && btrfs::is_subvolume(self.tree.root) {
            true => make_subvolume(&parent, item.creation_mode),
            false => Err(Errno::OPNOTSUPP),
        };
        if made.is_ok() && item.kind != Kind::Subvolume && has_quotas() {
            let message =
                format!("Couldn't adjust quota for subvolume \"{shown}\" (quota groups are not supported).");
            self.log.say(Level::Warning, message);
        }
        let made = match made {
            // As systemd: the file system does not support subvolumes.
            Err(Errno::OPNOTSUPP | Errno::NOTTY | Errno::NOSYS | Errno::INVAL) => {
                fs::mkdirat(&parent.fd, parent.name, Mode::from_raw_mode(item.creation_mode))
            }
            made => made,
        };
        let (fd, stat) = match (parent.open_directory(), made) {
            (Ok(found), _) => found,
            (Err(Errno::NOTDIR), _) => {
                self.log.say(Level::Error, format!("\"{shown}\" already exists and is not a directory."));
                return Ok(());
            }
            (Err(Errno::REMOTE), _) => return Err(Failed(Errno::REMOTE)),
            (Err(errno), Ok(())) => {
                let what = format_args!("Failed to open directory/subvolume we just created '{shown}'");
                return Err(self.fail(what, errno));
            }
            (Err(_), Err(errno)) => {
                let (level, ignoring) = match item.allow_failure {
                    true => (Level::Info, IGNORING),
                    false => (Level::Error, ""),
                };
                let what = format_args!("Failed to create directory or subvolume \"{shown}\"{ignoring}");
                return Err(self.fail_at(level, what, errno));
            }
        };
        let creation = if made.is_ok() { Creation::New } else { Creation::Existing };
        self.set_permissions(item, &fd, &stat, &shown, creation)
    }

    /// `e`: mode and owner of a directory that exists.
    pub(super) fn existing_directory(&mut self, item: &Item, path: &[u8]) -> Done {
        let shown = show(path);
        let (fd, stat) = match self.open(path, Last::Followed) {
            Ok(found) => found,
            Err(Errno::NOLINK) => return Err(Failed(Errno::NOLINK)),
            Err(Errno::NOENT) => {
                self.debug(format!("Skipping missing directory: {shown}"));
                return Ok(());
            }
            Err(errno) => return Err(self.fail(format_args!("Failed to open directory '{shown}'"), errno)),
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            self.log.say(Level::Warning, format!("'{shown}' already exists and is not a directory."));
            return Ok(());
        }
        self.set_permissions(item, &fd, &stat, &shown, Creation::Existing)
    }
}
