//! Key files. That of the initramfs locks the root on the first boot and opens it on every boot.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use crate::{
    boot::failure::{Failure, OrFail as _},
    config::Config,
    secret::Secret,
    sys::rootfs::OldRoot,
};

/// The longest key file that cryptsetup takes by default (8 MiB, DEFAULT_KEYFILE_SIZE_MAXKB).
const MAX_LENGTH: u64 = 8 << 20;

/// The directory of the initramfs for key files that are found by the name of a volume (systemd-cryptsetup-generator(8)).
pub const BY_NAME: &str = "/etc/cryptsetup-keys.d";

/// The key file, at the path that the command line names.
pub struct KeyFile {
    path: PathBuf,
    /// Those that the command line gives to a volume of its choice.
    others: Vec<PathBuf>,
}

impl KeyFile {
    /// The key files that `config` names.
    pub fn new(config: &Config) -> Self {
        let others = config.luks.key_files().map(PathBuf::from).collect();
        Self { path: config.key_file.clone().into(), others }
    }

    /// Its content, whole: cryptsetup's `--key-file` also takes every byte, a newline at the end included.
    ///
    /// # Errors
    /// The file is missing, empty, or longer than cryptsetup would take.
    pub fn read(&self) -> Result<Secret, Failure> {
        let path = self.path.display();
        match read(&self.path, 0, None) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Failure::new(format!("key file {path} is missing; build the initramfs with --key-file")))
            }
            other => other.or_fail(|| format!("key file {path}")),
        }
    }

    /// Overwrites every key file of the initramfs in place, then unlinks it: the initramfs is page cache, and pages go back
    /// to the kernel as they are. On a root= partition (`init=` without initramfs) there is only this one, and the next boot
    /// needs it.
    ///
    /// # Errors
    /// A file that cannot be overwritten, a directory that cannot be read.
    pub fn shred(&self) -> io::Result<()> {
        if !OldRoot::is_temporary()? {
            return Ok(());
        }
        shred_all(Path::new(BY_NAME))?;
        [&self.path].into_iter().chain(&self.others).try_for_each(|path| shred(path))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The content of a key file from byte `offset` on, at most `size` bytes of it.
///
/// # Errors
/// The file is missing, empty, or longer than cryptsetup would take.
pub fn read(path: &Path, offset: u64, size: Option<u64>) -> io::Result<Secret> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len().saturating_sub(offset);
    let length = size.map_or(length, |size| size.min(length));
    match length {
        0 => return Err(io::Error::other("is empty; build the initramfs with another")),
        1..=MAX_LENGTH => {}
        _ => return Err(io::Error::other("is longer than 8 MiB; build the initramfs with another")),
    }
    file.seek(SeekFrom::Start(offset))?;
    // Sized before it is filled: a buffer that grows would leave copies behind.
    let mut secret = Secret::zeroed(length as usize);
    file.read_exact(secret.expose_mut())?;
    Ok(secret)
}

/// Does it to every file of a directory that may be missing.
fn shred_all(directory: &Path) -> io::Result<()> {
    match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        entries => entries?.try_for_each(|entry| shred(&entry?.path())),
    }
}

fn shred(path: &Path) -> io::Result<()> {
    let mut file = match OpenOptions::new().write(true).open(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory) => {
            return Ok(());
        }
        other => other?,
    };
    if !file.metadata()?.is_file() {
        return Ok(());
    }
    let zeroes = [0; 4096];
    let mut left = file.metadata()?.len();
    while left > 0 {
        let chunk = zeroes.get(..left.min(4096) as usize).unwrap_or(&zeroes);
        file.write_all(chunk)?;
        left -= chunk.len() as u64;
    }
    file.sync_data()?;
    drop(file);
    fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shredded_is_overwritten_before_it_is_gone() {
        let directory = std::env::temp_dir().join(format!("hermetic-init-shred-{}", std::process::id()));
        fs::create_dir_all(directory.join("inside")).unwrap();
        let path = directory.join("root.key");
        fs::write(&path, [0x5a; 10_000]).unwrap();
        let mut still_open = File::open(&path).unwrap();
        shred(&path).unwrap();
        assert!(!path.exists());
        let mut left = Vec::new();
        still_open.read_to_end(&mut left).unwrap();
        assert_eq!(left, [0; 10_000]);
        // A directory is not a key file, and a missing file needs no work.
        shred(&directory.join("inside")).unwrap();
        shred(&path).unwrap();
        assert!(directory.join("inside").is_dir());
        // All keys of a directory go, and one that cannot be read is not a directory without keys.
        fs::write(&path, "key").unwrap();
        shred_all(&directory).unwrap();
        assert!(!path.exists());
        shred_all(&directory.join("missing")).unwrap();
        fs::write(&path, "key").unwrap();
        assert!(shred_all(&path).is_err());
        fs::remove_dir_all(directory).unwrap();
    }
}
