//! Links, FIFOs, sockets and device nodes: what has no content to be opened.

use std::ffi::CStr;

use rustix::{
    fs::{self, AtFlags, FileType, Mode, Stat, XattrFlags},
    io::Errno,
};

use super::{Copier, Route, times};
use crate::{
    etc::{EtcError, entry::Kind, scan::entry, xattr},
    tree::open::entry_by_proc,
};

impl Copier<'_> {
    /// Makes a link, with the owner and the time of what the factory has under its name.
    pub(super) fn link(&mut self, route: Route<'_>, leads_to: &[u8], track: bool) -> Result<(), EtcError> {
        let stat = self.stat(route)?;
        let is_ours = FileType::from_raw_mode(stat.st_mode) != FileType::Symlink;
        match fs::symlinkat(leads_to, route.target, route.new_name) {
            Ok(()) => {
                self.copied.report.symlinks += 1;
                if !is_ours {
                    self.chown_by_name(route, &stat)?;
                    self.set_times(route, &stat)?;
                }
            }
            Err(Errno::EXIST) => self.copied.report.kept += 1,
            Err(errno) => return Err(self.failed("create link", route.name, errno)),
        }
        if track {
            let mut link = entry(Kind::Link(leads_to.to_vec()), &stat, None);
            if is_ours {
                (link.uid, link.gid) = (0, 0);
            }
            self.remember(route, link);
        }
        Ok(())
    }

    /// Makes a FIFO, a socket or a device node.
    pub(super) fn special(&mut self, route: Route<'_>, track: bool) -> Result<(), EtcError> {
        let stat = self.stat(route)?;
        self.make_special(route, &stat)?;
        if track {
            self.remember(route, entry(special_kind(&stat), &stat, None));
        }
        Ok(())
    }

    fn make_special(&mut self, route: Route<'_>, stat: &Stat) -> Result<(), EtcError> {
        let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
        let kind = FileType::from_raw_mode(stat.st_mode);
        match fs::mknodat(route.target, route.new_name, kind, mode, stat.st_rdev) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                self.copied.report.kept += 1;
                return Ok(());
            }
            Err(errno) => return Err(self.failed("create special file", route.name, errno)),
        }
        self.copied.report.specials += 1;
        self.chown_by_name(route, stat)?;
        self.attributes_by_name(route)?;
        self.set_times(route, stat)?;
        // Made by us a moment ago and no link, so nothing is followed.
        fs::chmodat(route.target, route.new_name, mode, AtFlags::empty())
            .map_err(|errno| self.failed("set the mode of", route.name, errno))
    }

    /// The attributes of what cannot be opened go by the path of an open directory in /proc, the one way to reach them without
    /// following a link; without /proc there are none.
    fn attributes_by_name(
        &mut self,
        Route { source, name, target, new_name, .. }: Route<'_>,
    ) -> Result<(), EtcError> {
        let from = entry_by_proc(source, name.to_bytes());
        self.xattrs.resize(xattr::MAX, 0);
        let length = match fs::llistxattr(&from, &mut self.xattrs) {
            Err(Errno::NOTSUP | Errno::NOENT) => 0,
            length => length.map_err(|errno| self.unread("list the attributes of", name, errno))?,
        };
        let names = self.xattrs.get(..length).unwrap_or_default().to_vec();
        for attribute in names.split_inclusive(|&byte| byte == 0) {
            let Ok(attribute) = CStr::from_bytes_with_nul(attribute) else { continue };
            let length = fs::lgetxattr(&from, attribute, &mut self.xattrs)
                .map_err(|errno| self.unread("read an attribute of", name, errno))?;
            let value = self.xattrs.get(..length).unwrap_or_default();
            fs::lsetxattr(entry_by_proc(target, new_name.to_bytes()), attribute, value, XattrFlags::empty())
                .map_err(|errno| self.failed("set an attribute of", name, errno))?;
        }
        Ok(())
    }

    fn set_times(&self, route: Route<'_>, stat: &Stat) -> Result<(), EtcError> {
        fs::utimensat(route.target, route.new_name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| self.failed("set the times of", route.name, errno))
    }
}

fn special_kind(stat: &Stat) -> Kind {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice => Kind::Character(stat.st_rdev),
        FileType::BlockDevice => Kind::Block(stat.st_rdev),
        FileType::Socket => Kind::Socket,
        _ => Kind::Fifo,
    }
}
