//! Mode and owner of an open file.

use std::{fs::read_to_string, os::fd::OwnedFd};

use rustix::{
    fs::{self, AtFlags, FileType, Gid, Mode, Stat, Uid},
    io::Errno,
};

use super::{super::item::Owner, Applier, Creation, Done, Failed, Item, Level};
use crate::tree::open::by_proc;

const PERMISSIONS: u32 = 0o7777;

impl Applier<'_> {
    /// `z`, `Z` and `m`.
    pub(super) fn adjust(&mut self, item: &Item, fd: &OwnedFd, stat: &Stat, shown: &str) -> Done {
        self.set_permissions(item, fd, stat, shown, Creation::Existing)
    }

    /// Gives an open file the mode and the owner of the line. Bits are removed before the owner changes and added after
    /// it, so that no user has more rights in between than before or after.
    pub(super) fn set_permissions(
        &mut self,
        item: &Item,
        fd: &OwnedFd,
        stat: &Stat,
        shown: &str,
        creation: Creation,
    ) -> Done {
        if item.mode.is_none() && item.user.is_none() && item.group.is_none() {
            return Ok(());
        }
        self.refuse_links(stat, shown, "set permissions")?;
        let counts = |only_new: bool| creation != Creation::Existing || !only_new;
        let id = |owner: Option<Owner>, old| {
            owner.filter(|owner| counts(owner.only_new)).map_or(old, |owner| owner.id)
        };
        let (uid, gid) = (id(item.user, stat.st_uid), id(item.group, stat.st_gid));
        let old = stat.st_mode & PERMISSIONS;
        let new = item
            .mode
            .filter(|mode| counts(mode.only_new))
            .map_or(old, |mode| mode.for_existing(stat.st_mode));
        let is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
        let is_given_away = (uid, gid) != (stat.st_uid, stat.st_gid);
        if is_given_away {
            let common = new & old;
            if new != old && common != old && !is_link {
                self.act(
                    ["Would temporarily change", "Temporarily changing"],
                    format_args!("\"{shown}\" to mode {common:o}"),
                );
                self.change_mode(fd, common, shown)?;
            }
            self.act(["Would change", "Changing"], format_args!("\"{shown}\" to owner {uid}:{gid}"));
            if !self.is_dry_run {
                let uid = (uid != stat.st_uid).then(|| Uid::from_raw(uid));
                let gid = (gid != stat.st_gid).then(|| Gid::from_raw(gid));
                fs::chownat(fd, "", uid, gid, AtFlags::EMPTY_PATH)
                    .map_err(|errno| self.fail(format_args!("fchownat() of {shown} failed"), errno))?;
            }
        }
        // Giving away takes set-user-id and set-group-id off, so the mode is set again.
        if (new != old || is_given_away) && !is_link {
            self.act(["Would change", "Changing"], format_args!("\"{shown}\" to mode {new:o}"));
            self.change_mode(fd, new, shown)?;
        }
        Ok(())
    }

    fn change_mode(&mut self, fd: &OwnedFd, mode: u32, shown: &str) -> Done {
        if self.is_dry_run {
            return Ok(());
        }
        fs::chmod(by_proc(fd), Mode::from_raw_mode(mode))
            .map_err(|errno| self.fail(format_args!("fchmod() of {shown} failed"), errno))
    }

    /// A file with several names may be a user's link to a file of another user, if the kernel permits such links.
    pub(super) fn refuse_links(&mut self, stat: &Stat, shown: &str, what: &str) -> Done {
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if is_directory || stat.st_nlink <= 1 {
            return Ok(());
        }
        let protects = *self.protects_hardlinks.get_or_insert_with(|| {
            read_to_string("/proc/sys/fs/protected_hardlinks").is_ok_and(|value| value.trim() == "1")
        });
        if protects {
            return Ok(());
        }
        let message = format!(
            "Refusing to {what} on hardlinked file {shown} while the fs.protected_hardlinks sysctl is turned off."
        );
        self.log.say(Level::Error, message);
        Err(Failed(Errno::PERM))
    }
}
