//! Extended attributes, access control lists, file attributes: `t T a A h H`.

use std::os::fd::OwnedFd;

use rustix::{
    fs::{self, FileType, IFlags, Stat, XattrFlags},
    io::Errno,
};

use super::{
    super::{
        acl::{ACCESS, Acl, DEFAULT},
        path::show,
    },
    Applier, Done, Failed, Item, Level,
};
use crate::tree::{
    flags,
    open::{self, by_proc},
};

/// The largest list that is read: one of the kernel's largest attributes.
const MAX_LIST: usize = 64 << 10;

/// Errors that mean that a file system does not support this.
fn is_unsupported(errno: Errno) -> bool {
    matches!(errno, Errno::OPNOTSUPP | Errno::NOTTY | Errno::NOSYS)
}

impl Applier<'_> {
    /// `t` and `T`.
    pub(super) fn xattrs(&mut self, item: &Item, fd: &OwnedFd, _: &Stat, shown: &str) -> Done {
        for (name, value) in &item.xattrs {
            let pair = format!("{}={}", show(name), show(value));
            self.act(["Would set", "Setting"], format_args!("extended attribute '{pair}' on {shown}"));
            if self.is_dry_run {
                continue;
            }
            fs::setxattr(by_proc(fd), name.as_slice(), value, XattrFlags::empty()).map_err(|errno| {
                self.fail(format_args!("Setting extended attribute {pair} on {shown} failed"), errno)
            })?;
        }
        Ok(())
    }

    /// `a` and `A`.
    pub(super) fn acls(&mut self, item: &Item, fd: &OwnedFd, stat: &Stat, shown: &str) -> Done {
        self.refuse_links(stat, shown, "set ACLs")?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Symlink {
            self.debug(format!("Skipping ACL fix for symlink {shown}."));
            return Ok(());
        }
        match self.set_acls(item, fd, stat, kind == FileType::Directory, shown) {
            Err(errno) if is_unsupported(errno) => {
                self.debug(format!("ACLs not supported by file system at {shown}"));
                Ok(())
            }
            done => {
                done.map_err(|errno| self.fail(format_args!("ACL operation on \"{shown}\" failed"), errno))
            }
        }
    }

    fn set_acls(
        &mut self,
        item: &Item,
        fd: &OwnedFd,
        stat: &Stat,
        is_directory: bool,
        shown: &str,
    ) -> Result<(), Errno> {
        let modifies = item.append_or_force;
        if item.acls.access.is_some() || item.acls.conditional.is_some() {
            let old = read_list(fd, ACCESS)?.unwrap_or_else(|| Acl::from_mode(stat.st_mode));
            if let Some(new) = item.acls.access_for(&old, is_directory, modifies) {
                let new = if modifies { new.merged_into(&old) } else { new };
                self.set_list(fd, ACCESS, new, shown)?;
            }
        }
        if let Some(new) = item.acls.default.as_ref().filter(|_| is_directory) {
            let new = match modifies {
                true => new.merged_into(&read_list(fd, DEFAULT)?.unwrap_or_default()),
                false => new.clone(),
            };
            self.set_list(fd, DEFAULT, new, shown)?;
        }
        Ok(())
    }

    fn set_list(&mut self, fd: &OwnedFd, name: &str, list: Acl, shown: &str) -> Result<(), Errno> {
        let which = if name == ACCESS { "access" } else { "default" };
        self.act(["Would set", "Setting"], format_args!("{which} ACL on {shown}"));
        if self.is_dry_run {
            return Ok(());
        }
        // The access list may have changed the mode's group bits meanwhile.
        let mode = fs::fstat(fd)?.st_mode;
        fs::setxattr(by_proc(fd), name, &list.completed(mode).encode(), XattrFlags::empty())
    }

    /// `h` and `H`. An attribute that the file system does not support is not a failure.
    pub(super) fn attributes(&mut self, item: &Item, fd: &OwnedFd, stat: &Stat, shown: &str) -> Done {
        let Some(attributes) = item.attributes else { return Ok(()) };
        let is_directory = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => true,
            FileType::RegularFile => false,
            // The call would reach a driver.
            _ => {
                let message = format!(
                    "Setting file flags is only supported on regular files and directories, cannot set on '{shown}'."
                );
                self.log.say(Level::Error, message);
                return Err(Failed(Errno::INVAL));
            }
        };
        let value = attributes.value;
        self.act(
            ["Would try to set", "Trying to set"],
            format_args!("file attributes 0x{value:08x} on {shown}"),
        );
        if self.is_dry_run {
            return Ok(());
        }
        let file = open::again(fd, flags::FILE)
            .map_err(|errno| self.fail(format_args!("Failed to reopen '{shown}'"), errno))?;
        let level =
            match change_attributes(&file, |old| attributes.applied_to(old, is_directory), attributes.mask) {
                Ok(()) => return Ok(()),
                Err(errno) if is_unsupported(errno) => Level::Debug,
                Err(_) => Level::Warning,
            };
        let mask = attributes.mask;
        let message = format!(
            "Cannot set file attributes for '{shown}', value=0x{value:08x}, mask=0x{mask:08x}, ignoring."
        );
        self.log.say(level, message);
        Ok(())
    }
}

/// The list of a file; None when it has none, or an empty one.
fn read_list(fd: &OwnedFd, name: &str) -> Result<Option<Acl>, Errno> {
    let mut value = vec![0; MAX_LIST];
    match fs::getxattr(by_proc(fd), name, &mut value) {
        Ok(length) => Acl::decode(value.get(..length).unwrap_or_default()).map(Some).ok_or(Errno::INVAL),
        Err(Errno::NODATA) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Sets all flags at once; where they do not go together or a file system lacks one, one after the other.
fn change_attributes(file: &OwnedFd, new: impl FnOnce(u32) -> u32, mask: u32) -> Result<(), Errno> {
    let get = || fs::ioctl_getflags(file).map(|flags| flags.bits());
    let set = |flags: u32| fs::ioctl_setflags(file, IFlags::from_bits_retain(flags));
    let old = get()?;
    let new = new(old);
    if new == old {
        return Ok(());
    }
    let first = match set(new) {
        // btrfs ignores attributes that it does not support.
        Ok(()) if get()? == new => return Ok(()),
        Ok(()) => Errno::INVAL,
        Err(errno) => errno,
    };
    if first != Errno::INVAL && !is_unsupported(first) {
        return Err(first);
    }
    let (mut now, mut failure) = (old, None);
    for bit in (0..u32::BITS).map(|shift| 1 << shift).filter(|bit| mask & bit != 0) {
        let next = (now & !bit) | (new & bit);
        if next == now {
            continue;
        }
        match set(next) {
            Ok(()) => now = get()?,
            Err(errno) if errno == Errno::INVAL || is_unsupported(errno) => {
                if failure.is_none_or(is_unsupported) {
                    failure = Some(errno);
                }
            }
            Err(errno) => return Err(errno),
        }
    }
    match failure {
        _ if now == new => Ok(()),
        Some(errno) => Err(errno),
        None => Err(Errno::INVAL),
    }
}
