//! Which files of sysusers.d count, and reading them.

use std::{collections::BTreeMap, io::Read};

use rustix::{fs, io::Errno};

use super::{Definitions, Facts, SysusersError};
use crate::etc::tree::Tree;

/// Where definitions lie, the strongest first: a file hides those of its name in the directories after it.
const DIRECTORIES: [&str; 4] =
    ["/etc/sysusers.d", "/run/sysusers.d", "/usr/local/lib/sysusers.d", "/usr/lib/sysusers.d"];
/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 4 << 20;
/// The most files that are read.
const MAX_FILES: usize = 4096;

/// Reads every `*.conf` of the search path, in the order of their names. An empty file, or a link to what the root does not
/// have (as /dev/null), hides one of the same name. Unreadable files are reported on [`Definitions::errors`], as line 0.
///
/// # Errors
/// A directory of the search path that exists and cannot be read.
pub fn read(tree: &Tree<'_>, facts: &Facts) -> Result<Definitions, SysusersError> {
    let mut definitions = Definitions::new();
    for (name, directory) in list(tree)? {
        let path = format!("{directory}/{name}");
        match content(tree, &path) {
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
    fs::FileType::from_raw_mode(stat.st_mode) == fs::FileType::CharacterDevice
}

/// The names of all files and the directory where each counts.
fn list(tree: &Tree<'_>) -> Result<BTreeMap<String, &'static str>, SysusersError> {
    let mut files = BTreeMap::new();
    for directory in DIRECTORIES {
        let opened = match tree.open_read(directory) {
            Ok(opened) => opened,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::INVAL) => continue,
            Err(errno) => return Err(SysusersError::call("open", directory)(errno)),
        };
        for entry in fs::Dir::new(opened).map_err(SysusersError::call("read", directory))? {
            let entry = entry.map_err(SysusersError::call("read", directory))?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if name.ends_with(".conf") && files.len() < MAX_FILES {
                files.entry(name.to_owned()).or_insert(directory);
            }
        }
    }
    Ok(files)
}

/// The content of a regular file of the tree.
fn content(tree: &Tree<'_>, path: &str) -> Result<Vec<u8>, Errno> {
    let mut content = Vec::new();
    let file = std::fs::File::from(tree.open_read(path)?);
    let read = file.take(MAX_FILE + 1).read_to_end(&mut content);
    read.map_err(|error| error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error))?;
    match content.len() as u64 > MAX_FILE {
        true => Err(Errno::FBIG),
        false => Ok(content),
    }
}
