//! Links, FIFOs, sockets and device nodes: files whose content cannot be opened.

use rustix::{
    fs::{self, FileType, Mode, Stat},
    io::Errno,
};

use super::{Copier, Route};
use crate::{
    etc::{EtcError, entry::Kind, scan::entry},
    tree::{attributes::Attributes, inode::Inode},
};

impl Copier<'_> {
    /// Makes a link, with the owner and the time of the factory's link.
    pub(super) fn link(&mut self, route: Route<'_>, leads_to: &[u8], track: bool) -> Result<(), EtcError> {
        let stat = self.stat(route)?;
        let is_ours = FileType::from_raw_mode(stat.st_mode) != FileType::Symlink;
        match fs::symlinkat(leads_to, route.target, route.new_name) {
            Ok(()) => {
                self.copied.report.symlinks += 1;
                if !is_ours {
                    let attributes = Attributes { mode: None, ..self.attributes(&stat, route.inherits) };
                    self.give(route.made(), &attributes, route)?;
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
        let xattrs = self.read_xattrs(Inode::Named(route.source, route.name.to_bytes()), route)?;
        let attributes = Attributes {
            xattrs: Some(&xattrs),
            mode: Some(stat.st_mode & 0o7777),
            ..self.attributes(stat, route.inherits)
        };
        self.give(route.made(), &attributes, route)
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
