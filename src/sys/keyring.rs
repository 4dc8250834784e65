//! The kernel's keyring: how a volume key reaches dm-crypt without standing in a table.
//!
//! References: Documentation/security/keys/core.rst, Documentation/admin-guide/device-mapper/dm-crypt.rst.

use std::{ffi::CString, io};

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
        let name = CString::new(description)?;
        let payload = payload.expose();
        // SAFETY: type and description are NUL-terminated strings, the payload is readable for its length; the kernel
        // copies all three before it returns.
        let serial = unsafe {
            libc::syscall(
                libc::SYS_add_key,
                c"logon".as_ptr(),
                name.as_ptr(),
                payload.as_ptr(),
                payload.len(),
                KEY_SPEC_THREAD_KEYRING,
            )
        };
        match serial {
            -1 => Err(io::Error::last_os_error()),
            serial => Ok(Self { serial, description: description.into() }),
        }
    }

    /// The name by which a table refers to it.
    pub fn description(&self) -> &str {
        &self.description
    }
}

impl Drop for LogonKey {
    fn drop(&mut self) {
        // SAFETY: both operations take integers only. They can fail only if the key is gone, which is the aim.
        unsafe {
            libc::syscall(libc::SYS_keyctl, KEYCTL_REVOKE, self.serial);
            libc::syscall(libc::SYS_keyctl, KEYCTL_UNLINK, self.serial, KEY_SPEC_THREAD_KEYRING);
        }
    }
}
