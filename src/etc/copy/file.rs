//! Regular files: content, digest, further names.

use std::{
    ffi::{CStr, CString},
    os::fd::{AsFd as _, OwnedFd},
};

use rustix::{
    fs::{self, AtFlags, Stat},
    io::Errno,
};

use super::{CHUNK, Copier, Route};
use crate::{
    etc::{
        EtcError,
        entry::{Digest, Digester, Kind},
        label,
        scan::entry,
    },
    tree::{
        attributes::Attributes,
        flags,
        inode::{self, Inode},
        open,
        replace::write_all,
        xattr::Xattrs,
    },
};

impl Copier<'_> {
    /// Copies a regular file.
    pub(super) fn file(&mut self, route: Route<'_>, track: bool) -> Result<(), EtcError> {
        let from = self.open(route, flags::FILE)?;
        let stat = fs::fstat(&from).map_err(|errno| self.unread("look at", route.name, errno))?;
        let (content, xattrs) = self.copy_file(route, &from, &stat)?;
        if track {
            self.remember(route, entry(Kind::File(content), &stat, label::digest(&xattrs)));
        }
        Ok(())
    }

    fn copy_file(
        &mut self,
        route: Route<'_>,
        from: &OwnedFd,
        stat: &Stat,
    ) -> Result<(Digest, Xattrs), EtcError> {
        let name = route.name;
        let key = inode::name(stat);
        if stat.st_nlink > 1
            && let Some((first, digest)) = self.linked.get(&key)
        {
            let digest = *digest;
            match fs::linkat(self.target, first.as_c_str(), route.target, route.new_name, AtFlags::empty()) {
                Ok(()) => self.copied.report.hard_links += 1,
                Err(Errno::EXIST) => self.copied.report.kept += 1,
                Err(errno) => return Err(self.failed("link", name, errno)),
            }
            return Ok((digest, self.read_xattrs(Inode::open(from), route)?));
        }
        let to = match open::new(route.target, route.new_name, stat.st_mode & 0o777) {
            Ok(to) => to,
            Err(Errno::EXIST) => {
                self.copied.report.kept += 1;
                return Ok((
                    self.content(from, None, stat, name)?,
                    self.read_xattrs(Inode::open(from), route)?,
                ));
            }
            Err(errno) => return Err(self.failed("create", name, errno)),
        };
        let digest = self.content(from, Some(&to), stat, name)?;
        let xattrs = self.read_xattrs(Inode::open(from), route)?;
        let attributes = Attributes { xattrs: Some(&xattrs), ..self.attributes(stat, route.inherits) };
        self.give(Inode::open(&to), &attributes, route)?;
        self.copied.report.files += 1;
        if stat.st_nlink > 1 {
            let path = if self.flat { b"" } else { self.path.as_slice() };
            let own = if self.flat { route.new_name } else { name };
            let path = [path, own.to_bytes()].concat();
            // Neither part holds a NUL: both were names in a directory.
            self.linked.insert(key, (CString::new(path).unwrap_or_default(), digest));
        }
        Ok((digest, xattrs))
    }

    /// Reads the bytes of a file and writes them into the other, if there is one: one read and one write for nearly all.
    fn content(
        &mut self,
        from: &OwnedFd,
        to: Option<&OwnedFd>,
        stat: &Stat,
        name: &CStr,
    ) -> Result<Digest, EtcError> {
        let mut digester = Digester::default();
        let mut left = u64::try_from(stat.st_size).unwrap_or(0);
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let space = self.buffer.get_mut(..want).unwrap_or_default();
            let read = rustix::io::retry_on_intr(|| rustix::io::read(from, &mut *space))
                .map_err(|errno| self.unread("read", name, errno))?;
            if read == 0 {
                return Err(EtcError::Truncated { path: self.here(name) });
            }
            let piece = self.buffer.get(..read).unwrap_or_default();
            digester.update(piece);
            left = left.saturating_sub(read as u64);
            if let Some(to) = to {
                write_all(to.as_fd(), piece).map_err(|errno| self.failed("write", name, errno))?;
                self.copied.report.bytes += read as u64;
            }
        }
        Ok(digester.finish())
    }
}
