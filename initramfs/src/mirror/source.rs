//! Which lines count: with words they are all there is, unless they stand in for a file of the search path.

use std::{
    ffi::{OsStr, OsString},
    fmt::Display,
    fs,
    io::{self, Read as _},
    os::unix::ffi::OsStrExt as _,
};

use hermetic_init::{
    fragments::search::{DIRECTORIES, Found, SearchError, find_in},
    strerror::strerror,
};

use super::{
    cat,
    root::{Root, absolute},
};

/// The largest file that is read, in bytes.
const MAX_SIZE: u64 = 4 << 20;

/// The source of lines.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The root whose search path counts.
    pub root: &'a Root,
    /// The search path, the strongest directory first.
    pub directories: &'a [String],
    /// The words of the command line.
    pub words: &'a [OsString],
    /// The words stand in for this file.
    pub replace: Option<&'a str>,
}

/// The system's search path for fragments of this kind (`sysusers.d`).
pub fn system(kind: &str) -> Vec<String> {
    DIRECTORIES.iter().map(|directory| format!("{directory}/{kind}")).collect()
}

/// The file or directory that is read next.
pub enum Piece {
    /// All words.
    Words,
    /// A file of the search path.
    File(Found),
}

impl Source<'_> {
    /// All that counts, in order.
    ///
    /// # Errors
    /// A directory of the search path that exists and cannot be read.
    pub fn pieces(&self) -> Result<Vec<Piece>, SearchError> {
        if self.replace.is_none() && !self.words.is_empty() {
            return Ok(vec![Piece::Words]);
        }
        let mut files = self.files()?;
        if let Some(path) = self.replace {
            insert(&mut files, path, self.directories);
        }
        let piece = |found: Found| match self.replace == Some(found.path.as_str()) {
            true => Piece::Words,
            false => Piece::File(found),
        };
        Ok(files.into_iter().map(piece).collect())
    }

    fn files(&self) -> Result<Vec<Found>, SearchError> {
        find_in(&self.root.tree(), self.directories)
    }

    /// A file that a word names, and how messages call it: `-`, a path of this machine, or a name in the search path.
    ///
    /// # Errors
    /// One line that says why it cannot be read.
    pub fn named(&self, word: &OsStr) -> Result<(String, Vec<u8>), String> {
        if word == "-" {
            let content = read(io::stdin().lock());
            return content.map(|content| ("<stdin>".to_owned(), content)).map_err(unreadable("<stdin>"));
        }
        if word.as_bytes().contains(&b'/') {
            let path = absolute(word.as_ref())?;
            let label = path.display().to_string();
            let content = fs::File::open(&path).and_then(read).map_err(unreadable(&label))?;
            return Ok((label, content));
        }
        let name = word.to_string_lossy();
        for directory in self.directories {
            let path = format!("{directory}/{name}");
            match Found::at(&path).read(&self.root.tree()) {
                Ok(Some(content)) => return Ok((self.root.label(&path), content)),
                Ok(None) => {}
                Err(errno) => return Err(unreadable(&name)(errno.into())),
            }
        }
        Err(format!("Failed to read '{name}': No such file or directory"))
    }

    /// Prints the search path's files; `tldr` leaves comments and empty lines out.
    ///
    /// # Errors
    /// One line that names the step that failed; `failed` words that of a directory.
    pub fn cat(&self, tldr: bool, failed: impl FnOnce(SearchError) -> String) -> Result<(), String> {
        let mut files = Vec::new();
        for found in self.files().map_err(failed)? {
            let label = self.root.label(&found.path);
            match found.read(&self.root.tree()) {
                Ok(content) => files.push((label, content.unwrap_or_default())),
                Err(errno) => return Err(format!("Failed to cat {label}: {}", strerror(&errno.into()))),
            }
        }
        let files = files.iter().map(|(label, content)| (label.as_str(), content.as_slice()));
        cat::print(files, tldr).map_err(|error| format!("Failed to write: {}", strerror(&error)))
    }
}

fn unreadable(label: &(impl Display + ?Sized)) -> impl FnOnce(io::Error) -> String {
    move |error| format!("Failed to read '{label}': {}", strerror(&error))
}

fn read(file: impl io::Read) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    file.take(MAX_SIZE + 1).read_to_end(&mut content)?;
    match content.len() as u64 > MAX_SIZE {
        true => Err(io::ErrorKind::FileTooLarge.into()),
        false => Ok(content),
    }
}

/// Puts a path, existing or not, at the place of its name and directory (`--replace=`): it takes the place of a weaker
/// file of its name, and is left out beside a stronger one.
fn insert(files: &mut Vec<Found>, path: &str, directories: &[String]) {
    let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let rank = |path: &str| {
        let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        directories.iter().position(|known| known == directory).unwrap_or(directories.len())
    };
    let at = files.partition_point(|found| name(&found.path) < name(path));
    match files.get_mut(at).filter(|found| name(&found.path) == name(path)) {
        Some(found) if rank(&found.path) <= rank(path) => {}
        Some(found) => *found = Found::at(path),
        None => files.insert(at, Found::at(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_put_where_its_name_has_it() {
        let directories = ["/etc/x.d", "/run/x.d", "/usr/lib/x.d"].map(str::to_owned);
        let listed = |paths: &[&str], new: &str| {
            let mut files: Vec<Found> = Vec::new();
            for path in paths {
                insert(&mut files, path, &directories);
            }
            insert(&mut files, new, &directories);
            files.into_iter().map(|found| found.path).collect::<Vec<_>>()
        };
        let (etc, run, lib) = ("/etc/x.d/b.conf", "/run/x.d/b.conf", "/usr/lib/x.d/b.conf");
        for (paths, new, all) in [
            (&[][..], etc, &[etc][..]),
            (&["/etc/x.d/a.conf", "/run/x.d/c.conf"], lib, &["/etc/x.d/a.conf", lib, "/run/x.d/c.conf"]),
            (&[lib], etc, &[etc]),
            (&[etc], run, &[etc]),
            (&[etc], etc, &[etc]),
            (&[lib], "/else/b.conf", &[lib]),
        ] {
            assert_eq!(listed(paths, new), all, "{paths:?} {new}");
        }
    }
}
