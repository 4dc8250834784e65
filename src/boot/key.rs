//! The key file of the initramfs: what locks the root on the first boot and opens it on every boot.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use super::failure::{Failure, OrFail};
use crate::{config::Config, secret::Secret, sys::rootfs::OldRoot};

/// The longest key file that cryptsetup takes by default (8 MiB, DEFAULT_KEYFILE_SIZE_MAXKB).
const LONGEST: u64 = 8 << 20;

/// The key file, wherever the command line says it is.
pub struct Key(PathBuf);

impl Key {
    /// The key file that `config` names.
    pub fn new(config: &Config) -> Self {
        Self(config.key_file.clone().into())
    }

    /// Its content, whole: cryptsetup's `--key-file` also takes every byte, a newline at the end included.
    ///
    /// # Errors
    /// There is none, or it is empty, or longer than cryptsetup would take.
    pub fn read(&self, stage: &'static str) -> Result<Secret, Failure> {
        let path = self.0.display();
        let fail = |reason: &str| Failure::new(stage, format!("key file {path} {reason}"));
        let mut file = match File::open(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(fail("is missing; build the initramfs with --key-file"));
            }
            other => other.or_fail(stage, || format!("cannot open key file {path}"))?,
        };
        let length = file.metadata().or_fail(stage, || format!("cannot measure key file {path}"))?.len();
        match length {
            0 => return Err(fail("is empty; build the initramfs with another")),
            1..=LONGEST => {}
            _ => return Err(fail("is longer than 8 MiB; build the initramfs with another")),
        }
        // Sized before it is filled: a buffer that grows would leave copies behind.
        let mut secret = Secret::zeroed(length as usize);
        file.read_exact(secret.expose_mut()).or_fail(stage, || format!("cannot read key file {path}"))?;
        Ok(secret)
    }

    /// Overwrites the file in place, then unlinks it: the initramfs is page cache, and pages go back to the kernel as they
    /// are. On a root= partition (`init=` without initramfs) there is only this one, and the next boot needs it.
    ///
    /// # Errors
    /// It can be neither overwritten nor ignored.
    pub fn shred(&self) -> io::Result<()> {
        if !OldRoot::is_temporary()? {
            return Ok(());
        }
        let mut file = match OpenOptions::new().write(true).open(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        let zeroes = [0; 4096];
        let mut left = file.metadata()?.len();
        while left > 0 {
            let chunk = zeroes.get(..left.min(4096) as usize).unwrap_or(&zeroes);
            file.write_all(chunk)?;
            left -= chunk.len() as u64;
        }
        file.sync_data()?;
        drop(file);
        std::fs::remove_file(&self.0)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}
