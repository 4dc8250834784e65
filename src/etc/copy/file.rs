//! Regular files: content, digest, further names.

use std::{
    ffi::{CStr, CString},
    os::fd::{AsFd as _, OwnedFd},
};

use rustix::{
    fs::{self, AtFlags, Gid, Mode, Stat, Uid},
    io::Errno,
};

use super::{CHUNK, Copier, Route, SPECIAL_BITS, times};
use crate::{
    etc::{
        EtcError,
        atomic::write_all,
        entry::{Digest, Digester, Kind},
        scan::entry,
        xattr::Xattrs,
    },
    tree::{flags, open},
};

impl Copier<'_> {
    /// Copies a regular file.
    pub(super) fn file(&mut self, route: Route<'_>, track: bool) -> Result<(), EtcError> {
        let from = self.open(route, flags::FILE)?;
        let stat = fs::fstat(&from).map_err(|errno| self.unread("look at", route.name, errno))?;
        let (digest, attributes) = self.copy_file(route, &from, &stat)?;
        if track {
            self.remember(route, entry(Kind::File(digest), &stat, attributes.digest()));
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
        let key = (stat.st_dev, stat.st_ino);
        if stat.st_nlink > 1
            && let Some((first, digest)) = self.linked.get(&key)
        {
            let digest = *digest;
            match fs::linkat(self.target, first.as_c_str(), route.target, route.new_name, AtFlags::empty()) {
                Ok(()) => self.copied.report.hard_links += 1,
                Err(Errno::EXIST) => self.copied.report.kept += 1,
                Err(errno) => return Err(self.failed("link", name, errno)),
            }
            return Ok((digest, self.read_xattrs(from, route)?));
        }
        let mode = stat.st_mode & 0o7777;
        let to = match open::new(route.target, route.new_name, mode & 0o777) {
            Ok(to) => to,
            Err(Errno::EXIST) => {
                self.copied.report.kept += 1;
                return Ok((self.content(from, None, stat, name)?, self.read_xattrs(from, route)?));
            }
            Err(errno) => return Err(self.failed("create", name, errno)),
        };
        let digest = self.content(from, Some(&to), stat, name)?;
        if self.chown_is_due(stat, route.inherits) {
            fs::fchown(&to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))
                .map_err(|errno| self.failed("set the owner of", name, errno))?;
        }
        let attributes = self.read_xattrs(from, route)?;
        self.set_xattrs(&to, &attributes, name)?;
        if mode & (SPECIAL_BITS | self.umask) != 0 {
            // After the owner, whose change takes set-user-id away.
            fs::fchmod(&to, Mode::from_raw_mode(mode))
                .map_err(|errno| self.failed("set the mode of", name, errno))?;
        }
        fs::futimens(&to, &times(stat)).map_err(|errno| self.failed("set the times of", name, errno))?;
        self.copied.report.files += 1;
        if stat.st_nlink > 1 {
            let path = if self.flat { b"" } else { self.path.as_slice() };
            let own = if self.flat { route.new_name } else { name };
            let path = [path, own.to_bytes()].concat();
            // Neither part holds a NUL: both were names in a directory.
            self.linked.insert(key, (CString::new(path).unwrap_or_default(), digest));
        }
        Ok((digest, attributes))
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
