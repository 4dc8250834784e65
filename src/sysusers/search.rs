//! Which files of sysusers.d count, and reading them.

use std::{collections::BTreeMap, io::Read, os::fd::OwnedFd, rc::Rc};

use rustix::{
    fs::{self, FileType, Mode, OFlags},
    io::Errno,
};

use super::{Definitions, Facts, SysusersError};
use crate::etc::tree::Tree;

/// Where definitions lie, the strongest first: a file hides those of its name in the directories after it.
const DIRECTORIES: [&str; 4] =
    ["/etc/sysusers.d", "/run/sysusers.d", "/usr/local/lib/sysusers.d", "/usr/lib/sysusers.d"];
/// The largest file that is read, in bytes.
const MAX_FILE: usize = 4 << 20;
/// The most files that are read.
const MAX_FILES: usize = 4096;

/// Reads every `*.conf` of the search path, in the order of their names. An empty file, or a link to what the root does not
/// have (as /dev/null), hides one of the same name. Unreadable files are reported on [`Definitions::errors`], as line 0.
///
/// # Errors
/// A directory of the search path that exists and cannot be read.
pub fn read(tree: &Tree<'_>, facts: &Facts) -> Result<Definitions, SysusersError> {
    let mut definitions = Definitions::new();
    for (name, (path, directory)) in list(tree)? {
        let path = format!("{path}/{name}");
        match content(tree, &directory, &name, &path) {
            Ok(content) => definitions.parse(&path, &content, facts),
            Err(Errno::NOENT) => {}
            // A link to a /dev/null that is there.
            Err(Errno::INVAL) if tree.stat(&path).is_ok_and(|stat| is_device(&stat)) => {}
            Err(errno) => definitions.errors.push(super::LineError {
                file: path,
                line: 0,
                message: format!("cannot be read: {errno}"),
            }),
        }
    }
    Ok(definitions)
}

fn is_device(stat: &fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
}

/// The names of all files, and the directory where each counts.
fn list(tree: &Tree<'_>) -> Result<BTreeMap<String, (&'static str, Rc<OwnedFd>)>, SysusersError> {
    let mut files = BTreeMap::new();
    for path in DIRECTORIES {
        let directory = match tree.open_read(path) {
            Ok(directory) => Rc::new(directory),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::INVAL) => continue,
            Err(errno) => return Err(SysusersError::call("open", path)(errno)),
        };
        for entry in fs::Dir::read_from(&*directory).map_err(SysusersError::call("read", path))? {
            let entry = entry.map_err(SysusersError::call("read", path))?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if name.ends_with(".conf") && files.len() < MAX_FILES {
                files.entry(name.to_owned()).or_insert_with(|| (path, Rc::clone(&directory)));
            }
        }
    }
    Ok(files)
}

/// The content of a regular file: mostly it lies in its directory, a link is followed inside the tree.
fn content(tree: &Tree<'_>, directory: &OwnedFd, name: &str, path: &str) -> Result<Vec<u8>, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match fs::openat(directory, name, flags, Mode::empty()) {
        Err(Errno::LOOP) => tree.open_read(path)?,
        file => file?,
    };
    let stat = fs::fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Errno::INVAL);
    }
    let size = usize::try_from(stat.st_size).ok().filter(|&size| size <= MAX_FILE).ok_or(Errno::FBIG)?;
    let mut content = Vec::with_capacity(size + 1);
    let read = std::fs::File::from(file).take(MAX_FILE as u64 + 1).read_to_end(&mut content);
    read.map_err(|error| error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error))?;
    match content.len() > MAX_FILE {
        true => Err(Errno::FBIG),
        false => Ok(content),
    }
}
