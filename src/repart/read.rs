//! Reads the definition files below a root directory.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{Dir, Mode, OFlags, ResolveFlags, openat2, readlinkat},
    io::Errno,
};

use super::{Definitions, RepartError, Source};

/// Where an image has its definitions, the first directory first: a file there hides those of the same name further on.
const DIRECTORIES: [&str; 2] = ["usr/local/lib/repart.d", "usr/lib/repart.d"];
/// No definition file is anywhere near this long.
const MAX_LENGTH: u64 = 1 << 20;

impl Definitions {
    /// Reads all `*.conf` files, with their drop-ins, of repart.d in /usr/lib and /usr/local/lib below `root`. Links
    /// are resolved as if `root` were the root directory. A link to /dev/null or an empty file masks.
    ///
    /// # Errors
    /// A directory or file that is there and cannot be read, and whatever [`Definitions::parse`] refuses.
    pub fn read(root: BorrowedFd<'_>) -> Result<Self, RepartError> {
        let mut sources: BTreeMap<String, Source> = BTreeMap::new();
        for directory in DIRECTORIES {
            for (name, text) in texts(root, directory)? {
                let drop_ins = texts(root, &format!("{directory}/{name}.d"))?
                    .into_iter()
                    .map(|(drop_in, text)| (format!("{name}.d/{drop_in}"), text))
                    .collect();
                sources.entry(name.clone()).or_insert(Source { name, text, drop_ins });
            }
        }
        Self::parse(&sources.into_values().collect::<Vec<_>>())
    }
}

/// Name and text of every `*.conf` in a directory, by name. A directory that is not there has none.
fn texts(root: BorrowedFd<'_>, directory: &str) -> Result<BTreeMap<String, String>, RepartError> {
    let unreadable = |path: &str, reason: String| RepartError::Unreadable { path: path.into(), reason };
    let handle = match open(root, directory, OFlags::DIRECTORY) {
        Ok(handle) => handle,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(BTreeMap::new()),
        Err(errno) => return Err(unreadable(directory, errno.to_string())),
    };
    let mut texts = BTreeMap::new();
    for entry in Dir::read_from(&handle).map_err(|errno| unreadable(directory, errno.to_string()))? {
        let entry = entry.map_err(|errno| unreadable(directory, errno.to_string()))?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        if !name.ends_with(".conf") || name.starts_with('.') {
            continue;
        }
        let path = format!("{directory}/{name}");
        let masked =
            readlinkat(&handle, name, Vec::new()).is_ok_and(|target| target.as_bytes() == b"/dev/null");
        let text = if masked {
            String::new()
        } else {
            read(root, &path).map_err(|reason| unreadable(&path, reason))?
        };
        texts.insert(name.to_owned(), text);
    }
    Ok(texts)
}

fn read(root: BorrowedFd<'_>, path: &str) -> Result<String, String> {
    // A fifo would wait for a writer.
    let file = open(root, path, OFlags::NONBLOCK).map_err(|errno| errno.to_string())?;
    let file = File::from(file);
    if !file.metadata().map_err(|error| error.to_string())?.is_file() {
        return Err("not a regular file".into());
    }
    let mut text = String::new();
    file.take(MAX_LENGTH + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > MAX_LENGTH {
        return Err("longer than 1 MiB".into());
    }
    Ok(text)
}

fn open(root: BorrowedFd<'_>, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | flags;
    openat2(root.as_fd(), path, flags, Mode::empty(), ResolveFlags::IN_ROOT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn files_hide_mask_and_link_within_the_root() {
        let root = std::env::temp_dir().join(format!("hermetic-repart-{}", std::process::id()));
        let (vendor, local) = (root.join("usr/lib/repart.d"), root.join("usr/local/lib/repart.d"));
        std::fs::create_dir_all(vendor.join("10-a.conf.d")).unwrap();
        std::fs::create_dir_all(&local).unwrap();
        let text = |weight: u32| format!("[Partition]\nType=root\nFormat=ext4\nWeight={weight}\n");
        for (name, weight) in [("10-a.conf", 1), ("20-b.conf", 2), ("30-c.conf", 3), ("readme.txt", 4)] {
            std::fs::write(vendor.join(name), text(weight)).unwrap();
        }
        std::fs::write(vendor.join("10-a.conf.d/x.conf"), "[Partition]\nWeight=10\n").unwrap();
        symlink("/dev/null", local.join("20-b.conf")).unwrap();
        std::fs::write(local.join("30-c.conf"), text(30)).unwrap();
        symlink("/usr/lib/repart.d/readme.txt", vendor.join("40-d.conf")).unwrap();
        std::fs::write(vendor.join("50-e.conf"), "").unwrap();
        let handle = File::open(&root).unwrap();
        let found = Definitions::read(handle.as_fd());
        symlink("/nowhere", vendor.join("60-f.conf")).unwrap();
        let dangling = Definitions::read(handle.as_fd());
        std::fs::remove_dir_all(&root).unwrap();
        let found: Vec<_> = found.unwrap().list.iter().map(|d| (d.file.clone(), d.weight)).collect();
        let expected = [("10-a.conf", 10), ("30-c.conf", 30), ("40-d.conf", 4)];
        assert_eq!(found, expected.map(|(name, weight)| (name.to_owned(), weight)));
        assert!(matches!(dangling, Err(RepartError::Unreadable { .. })));
        // No directory at all asks for nothing.
        let empty = File::open("/proc").unwrap();
        assert_eq!(Definitions::read(empty.as_fd()), Ok(Definitions::default()));
    }
}
