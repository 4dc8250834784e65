//! The extended attributes of an inode, read at once.

use std::ffi::{CStr, CString};

use rustix::io::Errno;

use super::inode::Inode;
use crate::sort;

/// The kernel's limit for a list of names and for a value (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`), in bytes.
pub const MAX_SIZE: usize = 64 << 10;

/// Extended attributes, by name. Access control lists are attributes as well (linux/posix_acl_xattr.h).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Xattrs(Vec<(CString, Vec<u8>)>);

impl Xattrs {
    /// Reads all attributes of an inode; the result is empty on a file system without attributes. `space` grows to
    /// [`MAX_SIZE`] bytes for a first attribute.
    ///
    /// # Errors
    /// An attribute that cannot be read.
    pub fn all(inode: Inode<'_>, space: &mut Vec<u8>) -> Result<Self, Errno> {
        Self::some(inode, space, |_| true)
    }

    /// As [`Xattrs::all`], but only those whose names are wanted.
    ///
    /// # Errors
    /// As [`Xattrs::all`].
    pub fn some(inode: Inode<'_>, space: &mut Vec<u8>, wanted: fn(&CStr) -> bool) -> Result<Self, Errno> {
        let mut xattrs = Self::default();
        // Nearly no inode has any, and the kernel makes room for as much as it is offered: so it is asked for the length first.
        match inode.xattrs(&mut []) {
            Err(Errno::NOTSUP) | Ok(0) => return Ok(xattrs),
            // Without /proc.
            Err(Errno::NOENT) if matches!(inode, Inode::Named(..)) => return Ok(xattrs),
            length => length?,
        };
        space.resize(MAX_SIZE, 0);
        let length = inode.xattrs(space)?;
        let list = space.get(..length).unwrap_or_default().to_vec();
        for name in list.split_inclusive(|&byte| byte == 0) {
            let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
            if wanted(name) {
                let length = inode.xattr(name, space)?;
                xattrs.0.push((name.to_owned(), space.get(..length).unwrap_or_default().to_vec()));
            }
        }
        sort::slice(&mut xattrs.0);
        Ok(xattrs)
    }

    /// The names and values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&CStr, &[u8])> {
        self.0.iter().map(|(name, value)| (name.as_c_str(), value.as_slice()))
    }

    /// True when there are no attributes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        io::Write as _,
        path::{Path, PathBuf},
    };

    use rustix::fs::{FileType, Mode, XattrFlags, mknodat, setxattr};

    use super::*;
    use crate::tree::attributes::Attributes;

    /// A capability in the kernel's form, revision 2: CAP_NET_BIND_SERVICE, permitted and effective (linux/capability.h).
    const CAPABILITY: &[u8] = &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    /// Places for files with attributes; not every file system has those of users, tmpfs since Linux 6.6.
    fn scratch() -> PathBuf {
        let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
        let places = [std::env::temp_dir(), "/var/tmp".into(), "/dev/shm".into(), build];
        for place in &places {
            let top = place.join(format!("hermetic-xattr-{}", std::process::id()));
            if fs::create_dir(&top).is_ok() {
                if setxattr(&top, "user.test", b"", XattrFlags::empty()).is_ok() {
                    return top;
                }
                fs::remove_dir(&top).unwrap();
            }
        }
        panic!("no file system of {places:?} has user.* attributes, and nothing was tested");
    }

    /// The attributes that this process may set; those of root are missing loudly.
    fn settable(file: &Path) -> Vec<(&'static str, Vec<u8>)> {
        let of_users =
            [("user.empty", Vec::new()), ("user.long", vec![7; 300]), ("user.text", b"x\0y".to_vec())];
        let of_root = [("security.capability", CAPABILITY.to_vec()), ("trusted.test", b"t".to_vec())];
        let mut set = Vec::new();
        for (name, value) in of_root.into_iter().chain(of_users) {
            match setxattr(file, name, &value, XattrFlags::empty()) {
                Ok(()) => set.push((name, value)),
                Err(errno) => {
                    assert!(!name.starts_with("user."), "{name}: {errno}");
                    // Not by a macro, whose text is kept back when a test passes.
                    writeln!(std::io::stderr(), "NOT TESTED, needs root: {name}: {errno}").unwrap();
                }
            }
        }
        set
    }

    fn shown(xattrs: &Xattrs) -> Vec<(&str, Vec<u8>)> {
        xattrs.iter().map(|(name, value)| (name.to_str().unwrap(), value.to_vec())).collect()
    }

    /// Attributes of modules of the kernel (`security.selinux`) are there or not, and not ours.
    fn ours(name: &CStr) -> bool {
        name.to_bytes() == b"security.capability" || !name.to_bytes().starts_with(b"security.")
    }

    #[test]
    fn attributes_are_listed_read_and_copied_by_descriptor_and_by_name() {
        let top = scratch();
        let directory = File::open(&top).unwrap();
        let at = |name: &'static str| Inode::Named(std::os::fd::AsFd::as_fd(&directory), name.as_bytes());
        for name in ["from", "by-descriptor", "by-name", "plain"] {
            fs::write(top.join(name), "content").unwrap();
        }
        let expected = settable(&top.join("from"));
        let from = File::open(top.join("from")).unwrap();
        let names: usize = expected.iter().map(|(name, _)| name.len() + 1).sum();
        let mut space = Vec::new();
        for inode in [Inode::open(&from), at("from")] {
            // Into no space the length of the list is asked for: 0 would mean that there are no attributes.
            assert!(inode.xattrs(&mut []).unwrap() >= names);
            assert_eq!(inode.xattrs(&mut []), inode.xattrs(&mut [0; 4096]));
            assert_eq!(shown(&Xattrs::some(inode, &mut space, ours).unwrap()), expected);
        }
        let texts = Xattrs::some(Inode::open(&from), &mut space, |name| name == c"user.text").unwrap();
        assert_eq!(shown(&texts), [("user.text", b"x\0y".to_vec())]);

        let xattrs = Xattrs::some(Inode::open(&from), &mut space, ours).unwrap();
        let attributes = Attributes { xattrs: Some(&xattrs), ..Attributes::default() };
        let to = File::options().write(true).open(top.join("by-descriptor")).unwrap();
        for inode in [Inode::open(&to), at("by-name")] {
            attributes.give(inode).unwrap();
            assert_eq!(Xattrs::some(inode, &mut space, ours).unwrap(), xattrs);
        }

        assert!(Xattrs::some(at("plain"), &mut space, ours).unwrap().is_empty());
        // What cannot be opened has attributes too: those of root, by its name.
        mknodat(&directory, "fifo", FileType::Fifo, Mode::RUSR, 0).unwrap();
        if expected.iter().any(|(name, _)| *name == "trusted.test") {
            at("fifo").set_xattr(c"trusted.test", b"f").unwrap();
            let fifo = Xattrs::some(at("fifo"), &mut space, ours).unwrap();
            assert_eq!(shown(&fifo), [("trusted.test", b"f".to_vec())]);
        }
        fs::remove_dir_all(top).unwrap();
    }
}
