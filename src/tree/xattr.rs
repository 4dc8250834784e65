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
