//! Reads the definition files below a root directory.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::{
    fs::{Dir, Mode, OFlags, ResolveFlags, openat2, readlinkat},
    io::Errno,
};

use super::{Definitions, Reading, RepartError, Source};
use crate::{
    map::Map,
    tree::read::{self, Limit},
};

/// The directories of definitions, the first one first: a file there hides those of the same name further on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Search {
    /// Absolute paths below the root directory.
    pub directories: Vec<String>,
    /// The prefix of paths for readers: the path of the root directory.
    pub prefix: String,
}

impl Search {
    /// repart.d in /etc, /run, /usr/local/lib and /usr/lib.
    pub fn standard() -> Self {
        let directories = ["/etc", "/run", "/usr/local/lib", "/usr/lib"];
        let directories = directories.map(|directory| format!("{directory}/repart.d")).to_vec();
        Self { directories, prefix: String::new() }
    }
}

/// No definition file is anywhere near this long.
const MAX_SIZE: Limit = Limit::mebibytes(1);
/// The largest number of files that is accepted in one directory.
const MOST_FILES: usize = 10_000;

impl Definitions {
    /// Reads all `*.conf` files, with their drop-ins, of the directories of `search` below `root`. Links are resolved
    /// as if `root` were the root directory. A link to /dev/null or an empty file masks; drop-ins
    /// (`NAME.conf.d/*.conf`) hide each other in the same way.
    ///
    /// # Errors
    /// A directory or file that exists and cannot be read, and the errors of [`Definitions::parse`].
    pub fn read(root: BorrowedFd<'_>, search: &Search, reading: Reading<'_>) -> Result<Self, RepartError> {
        let mut sources = Map::new();
        for directory in &search.directories {
            add(&mut sources, root, search, directory)?;
        }
        let mut sources = sources.into_values();
        for source in sources.iter_mut().filter(|source| !source.text.is_empty()) {
            let mut drop_ins = Map::new();
            for directory in &search.directories {
                add(&mut drop_ins, root, search, &format!("{directory}/{}.d", source.name))?;
            }
            let drop_ins = drop_ins.into_values().into_iter().filter(|drop_in| !drop_in.text.is_empty());
            source.drop_ins = drop_ins.map(|drop_in| (drop_in.path, drop_in.text)).collect();
        }
        Self::parse(&sources, reading)
    }
}

/// Adds every `*.conf` in a directory whose name is new. There are none in a missing directory.
fn add(
    sources: &mut Map<Source>,
    root: BorrowedFd<'_>,
    search: &Search,
    directory: &str,
) -> Result<(), RepartError> {
    let unreadable = |path: &str, reason: String| RepartError::Unreadable { path: path.into(), reason };
    let handle = match open(root, directory, OFlags::DIRECTORY) {
        Ok(handle) => handle,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(errno) => return Err(unreadable(directory, errno.to_string())),
    };
    let mut count = 0;
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
        count += 1;
        if count > MOST_FILES {
            return Err(unreadable(directory, "more than 10000 files".into()));
        }
        let path = format!("{}{path}", search.prefix);
        sources.insert_new(name, Source { path, text, name: name.to_owned(), drop_ins: Vec::new() });
    }
    Ok(())
}

fn read(root: BorrowedFd<'_>, path: &str) -> Result<String, String> {
    // A FIFO would wait for a writer.
    let file = open(root, path, OFlags::NONBLOCK).map_err(|errno| errno.to_string())?;
    read::text(file, MAX_SIZE).map_err(|error| error.to_string())
}

fn open(root: BorrowedFd<'_>, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | flags;
    openat2(root.as_fd(), path, flags, Mode::empty(), ResolveFlags::IN_ROOT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fragments::Facts;
    use std::{fs::File, os::unix::fs::symlink};

    #[test]
    fn files_hide_mask_and_link_within_the_root() {
        let root = std::env::temp_dir().join(format!("hermetic-repart-{}", std::process::id()));
        let (vendor, local) = (root.join("usr/lib/repart.d"), root.join("usr/local/lib/repart.d"));
        std::fs::create_dir_all(vendor.join("10-a.conf.d")).unwrap();
        std::fs::create_dir_all(local.join("10-a.conf.d")).unwrap();
        let text = |weight: u32| format!("[Partition]\nType=root\nFormat=ext4\nWeight={weight}\n");
        for (name, weight) in [("10-a.conf", 1), ("20-b.conf", 2), ("30-c.conf", 3), ("readme.txt", 4)] {
            std::fs::write(vendor.join(name), text(weight)).unwrap();
        }
        for (place, name, line) in [
            (&vendor, "w.conf", "Weight=10"),
            (&vendor, "x.conf", "Weight=11"),
            (&vendor, "y.conf", "Weight=12"),
            (&local, "x.conf", "Weight=13\nPriority=5"),
        ] {
            std::fs::write(place.join("10-a.conf.d").join(name), format!("[Partition]\n{line}\n")).unwrap();
        }
        symlink("/dev/null", local.join("10-a.conf.d/y.conf")).unwrap();
        symlink("/dev/null", local.join("20-b.conf")).unwrap();
        std::fs::write(local.join("30-c.conf"), text(30)).unwrap();
        symlink("/usr/lib/repart.d/readme.txt", vendor.join("40-d.conf")).unwrap();
        std::fs::write(vendor.join("50-e.conf"), "").unwrap();
        let handle = File::open(&root).unwrap();
        let facts = Facts::default();
        let read =
            |handle: &File| Definitions::read(handle.as_fd(), &Search::standard(), Reading::new(&facts));
        let found = read(&handle);
        symlink("/nowhere", vendor.join("60-f.conf")).unwrap();
        let dangling = read(&handle);
        std::fs::remove_dir_all(&root).unwrap();
        let found = found.unwrap().list;
        let seen: Vec<_> = found.iter().map(|d| (d.file.as_str(), d.weight)).collect();
        assert_eq!(seen, [("10-a.conf", 13), ("30-c.conf", 30), ("40-d.conf", 4)]);
        assert_eq!(found[0].priority, 5);
        assert_eq!(found[0].path, "/usr/lib/repart.d/10-a.conf");
        let drop_ins = ["/usr/lib/repart.d/10-a.conf.d/w.conf", "/usr/local/lib/repart.d/10-a.conf.d/x.conf"];
        assert_eq!(found[0].drop_ins, drop_ins);
        assert!(matches!(dangling, Err(RepartError::Unreadable { .. })));
        // No directory at all asks for nothing.
        assert_eq!(read(&File::open("/proc").unwrap()), Ok(Definitions::default()));
    }
}
