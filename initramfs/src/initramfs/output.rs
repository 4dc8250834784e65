//! Writes the result: a file or a directory that appears complete or not at all. It is written beside its place under
//! another name, flushed, and renamed; a failure before that removes the unfinished one.

use std::{
    fs, io,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use super::tree::{Entry, Kind, Tree};

/// Something unfinished, removed on drop unless it was renamed into its place.
struct Unfinished {
    path: PathBuf,
    done: bool,
}

impl Unfinished {
    fn beside(target: &Path) -> io::Result<Self> {
        let name = target.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
        let hidden = format!(".{}.{}.unfinished", name.to_string_lossy(), std::process::id());
        Ok(Self { path: target.with_file_name(hidden), done: false })
    }

    fn rename(mut self, target: &Path) -> io::Result<()> {
        fs::rename(&self.path, target)?;
        self.done = true;
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.done {
            // The failure that led here is the one to report; this is only tidying up after it.
            let _ =
                if self.path.is_dir() { fs::remove_dir_all(&self.path) } else { fs::remove_file(&self.path) };
        }
    }
}

/// Writes `bytes` to `target`. `private` keeps others from reading it: it holds a key.
///
/// # Errors
/// The error of the system; there is then no new file.
pub fn file(target: &Path, bytes: &[u8], private: bool) -> io::Result<()> {
    let unfinished = Unfinished::beside(target)?;
    let mode = if private { 0o600 } else { 0o644 };
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&unfinished.path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    unfinished.rename(target)
}

/// Writes `tree` to the directory `target`, which must be missing or empty. Device nodes are left out: they need root,
/// and a kernel that boots from such a tree without an initramfs takes /dev/console from its own rootfs.
///
/// # Errors
/// The error of the system; `target` is then as before.
pub fn directory(target: &Path, tree: &Tree) -> io::Result<()> {
    let unfinished = Unfinished::beside(target)?;
    let root = unfinished.path.as_path();
    fs::DirBuilder::new().mode(0o755).create(root)?;
    for (path, Entry { mode, kind }) in tree.iter() {
        let path = root.join(path);
        match kind {
            Kind::Directory => fs::create_dir(&path)?,
            Kind::File(content) => {
                fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(&path)?
                    .write_all(content)?;
            }
            Kind::Symlink(to) => symlink(to, &path)?,
            Kind::CharDevice { .. } => continue,
        }
        if !matches!(kind, Kind::Symlink(_)) {
            // Directories stay writable for their owner until all is in them; no directory here lacks that bit in the
            // end.
            fs::set_permissions(&path, fs::Permissions::from_mode(*mode))?;
        }
    }
    fs::set_permissions(root, fs::Permissions::from_mode(0o755))?;
    // Times last: making a file changes its directory's.
    for (path, entry) in tree.iter().filter(|(_, entry)| !matches!(entry.kind, Kind::CharDevice { .. })) {
        age(&root.join(path), matches!(entry.kind, Kind::Symlink(_)))?;
    }
    age(root, false)?;
    // rename(2) replaces an empty directory and refuses a full one.
    unfinished.rename(target)
}

/// Sets access and modification time to the epoch.
fn age(path: &Path, link: bool) -> io::Result<()> {
    let epoch = Timespec { tv_sec: 0, tv_nsec: 0 };
    let flags = if link { AtFlags::SYMLINK_NOFOLLOW } else { AtFlags::empty() };
    Ok(utimensat(CWD, path, &Timestamps { last_access: epoch, last_modification: epoch }, flags)?)
}
