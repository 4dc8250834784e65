//! Extended attributes told apart by a digest, without the labels that say nothing about who changed a file.

use std::ffi::CStr;

use super::entry::{Digest, Digester};
use crate::tree::xattr::Xattrs;

/// Labels that the security modules of the running system set by themselves.
const LABELS: [&[u8]; 4] = [b"security.selinux", b"security.SMACK64", b"security.ima", b"security.evm"];

/// Tells if a security module sets this attribute by itself.
pub(super) fn is_label(name: &CStr) -> bool {
    LABELS.contains(&name.to_bytes())
}

/// The digest that tells these attributes from others; None when there are none but labels.
pub(super) fn digest(xattrs: &Xattrs) -> Option<Digest> {
    let mut digester = Digester::default();
    let mut any = false;
    for (name, value) in xattrs.iter().filter(|(name, _)| !is_label(name)) {
        any = true;
        digester.update(name.to_bytes_with_nul());
        digester.update(&(value.len() as u64).to_le_bytes());
        digester.update(value);
    }
    any.then(|| digester.finish())
}
