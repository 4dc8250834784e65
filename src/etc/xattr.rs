//! Extended attributes: read from an open file, told apart by a digest.

use std::{ffi::CStr, os::fd::AsFd};

use rustix::{fs, io::Errno};

use super::entry::{Digest, Digester};
use crate::arrange::Arrange as _;

/// The kernel's limit for a list of attribute names and for a value (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
pub(super) const MAX: usize = 64 << 10;

/// Labels that the security modules of the running system set by themselves: they say nothing about who changed a file.
const LABELS: [&[u8]; 4] = [b"security.selinux", b"security.SMACK64", b"security.ima", b"security.evm"];

/// Whether a security module sets this attribute by itself.
pub(super) fn is_label(name: &CStr) -> bool {
    LABELS.contains(&name.to_bytes())
}

/// The attributes of a file: names with their NUL, and values.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Xattrs(Vec<(Vec<u8>, Vec<u8>)>);

impl Xattrs {
    /// Reads all attributes of an open file; a file system without attributes has none. `space` grows to [`MAX`] bytes when
    /// there is one.
    pub(super) fn read(file: impl AsFd, space: &mut Vec<u8>) -> Result<Self, Errno> {
        let mut attributes = Self::default();
        // Nearly none has any, and the kernel makes room for as much as it is offered: so it is asked for the length first.
        match fs::flistxattr_query(&file) {
            Err(Errno::NOTSUP) | Ok(0) => return Ok(attributes),
            length => length?,
        };
        space.resize(MAX, 0);
        let length = fs::flistxattr(&file, &mut *space)?;
        for name in space.get(..length).unwrap_or_default().to_vec().split_inclusive(|&byte| byte == 0) {
            let Ok(text) = CStr::from_bytes_with_nul(name) else { continue };
            let length = fs::fgetxattr(&file, text, &mut *space)?;
            let value = space.get(..length).unwrap_or_default();
            attributes.0.push((name.to_vec(), value.to_vec()));
        }
        attributes.0.arrange();
        Ok(attributes)
    }

    /// The names and values.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&CStr, &[u8])> {
        self.0
            .iter()
            .filter_map(|(name, value)| Some((CStr::from_bytes_with_nul(name).ok()?, value.as_slice())))
    }

    /// What tells them from others; None when there are none but labels.
    pub(super) fn digest(&self) -> Option<Digest> {
        let mut digester = Digester::default();
        let mut any = false;
        for (name, value) in &self.0 {
            if LABELS.contains(&name.strip_suffix(b"\0").unwrap_or(name)) {
                continue;
            }
            any = true;
            digester.update(name);
            digester.update(&(value.len() as u64).to_le_bytes());
            digester.update(value);
        }
        any.then(|| digester.finish())
    }
}
