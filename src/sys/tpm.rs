//! The TPM's character device, behind the kernel's resource manager: objects and sessions of a descriptor are gone when
//! it is closed.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
};

use zeroize::Zeroizing;

use crate::{progress, tpm::Transport};

/// Its node.
pub const DEVICE: &str = "/dev/tpmrm0";
/// No response is longer (the kernel's TPM_BUFSIZE).
const MAX_LENGTH: usize = 4096;

/// An open TPM.
pub struct Device(File);

impl Device {
    /// Opens the machine's TPM 2.0; None when the machine has none.
    ///
    /// # Errors
    /// The TPM exists and cannot be opened.
    pub fn open() -> io::Result<Option<Self>> {
        match OpenOptions::new().read(true).write(true).open(DEVICE) {
            Ok(file) => Ok(Some(Self(file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Transport for Device {
    fn transmit(&mut self, command: &[u8]) -> Result<Zeroizing<Vec<u8>>, String> {
        let fail = |error: io::Error| format!("{DEVICE}: {error}");
        // One write is one command, one read is one response.
        self.0.write_all(command).map_err(fail)?;
        let mut response = Zeroizing::new(vec![0; MAX_LENGTH]);
        let length = self.0.read(&mut response).map_err(fail)?;
        response.truncate(length);
        progress::step();
        Ok(response)
    }
}
