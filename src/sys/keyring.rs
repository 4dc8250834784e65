//! The kernel's keyring: how a volume key reaches dm-crypt without standing in a table, and a signature dm-verity.
//!
//! References: Documentation/security/keys/core.rst, Documentation/admin-guide/device-mapper/dm-crypt.rst.

use std::{
    ffi::{CStr, CString},
    io,
};

use crate::secret::Secret;

/// The keyring of the calling thread; it vanishes with the thread's exec (uapi/linux/keyctl.h).
const KEY_SPEC_THREAD_KEYRING: libc::c_long = -1;
const KEYCTL_REVOKE: libc::c_long = 3;
const KEYCTL_UNLINK: libc::c_long = 9;

/// A key of type `logon` in the thread keyring: the kernel may use it, but no program can read it back. Revoked and
/// unlinked on drop; a table that was loaded keeps its own copy.
pub struct LogonKey {
    serial: libc::c_long,
    description: String,
}

impl LogonKey {
    /// Adds the key. `description` has the form `prefix:name`, as the type demands.
    ///
    /// # Errors
    /// No keyrings in this kernel, quota, or a description without a prefix.
    pub fn add(description: &str, payload: &Secret) -> io::Result<Self> {
        let serial = add(c"logon", description, payload.expose())?;
        Ok(Self { serial, description: description.into() })
    }

    /// The name by which a table refers to it.
    pub fn description(&self) -> &str {
        &self.description
    }
}

impl Drop for LogonKey {
    fn drop(&mut self) {
        remove(self.serial);
    }
}

/// A key of type `user` in the thread keyring, for what is not a secret: the signature of a root hash, which dm-verity looks up by
/// its name. Revoked and unlinked on drop.
pub struct UserKey(libc::c_long);

impl UserKey {
    /// Adds the key.
    ///
    /// # Errors
    /// No keyrings in this kernel, quota, more than 32,767 bytes.
    pub fn add(description: &str, payload: &[u8]) -> io::Result<Self> {
        add(c"user", description, payload).map(Self)
    }
}

impl Drop for UserKey {
    fn drop(&mut self) {
        remove(self.0);
    }
}

fn add(kind: &CStr, description: &str, payload: &[u8]) -> io::Result<libc::c_long> {
    let name = CString::new(description)?;
    // SAFETY: type and description are NUL-terminated strings, the payload is readable for its length; the kernel
    // copies all three before it returns.
    let serial = unsafe {
        libc::syscall(
            libc::SYS_add_key,
            kind.as_ptr(),
            name.as_ptr(),
            payload.as_ptr(),
            payload.len(),
            KEY_SPEC_THREAD_KEYRING,
        )
    };
    match serial {
        -1 => Err(io::Error::last_os_error()),
        serial => Ok(serial),
    }
}

fn remove(serial: libc::c_long) {
    // SAFETY: both operations take integers only. They can fail only if the key is gone, which is the aim.
    unsafe {
        libc::syscall(libc::SYS_keyctl, KEYCTL_REVOKE, serial);
        libc::syscall(libc::SYS_keyctl, KEYCTL_UNLINK, serial, KEY_SPEC_THREAD_KEYRING);
    }
}
