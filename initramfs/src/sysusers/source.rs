//! Which lines count: with words they are all there is, unless they stand in for a file of the search path.

use std::{
    ffi::{OsStr, OsString},
    fs,
    io::{self, Read as _},
    os::unix::ffi::OsStrExt as _,
};

use hermetic_init::{
    fragments::search::Found,
    sysusers::{
        Definitions, Facts,
        apply::{Sentence, read_found},
        search,
    },
};

use super::{Root, failure, machine::Credentials, simplified};
use crate::mirror::{cat, log};

/// How messages name a word that is a line itself.
const ARGUMENT: &str = "(argument)";
/// The largest file that is read, in bytes.
const LARGEST: u64 = 4 << 20;

/// Where definitions come from.
pub(super) struct Source<'a> {
    pub root: &'a Root,
    pub facts: &'a Facts,
    /// The words are lines.
    pub inline: bool,
    pub words: &'a [OsString],
    /// The words stand in for this file.
    pub replace: Option<&'a str>,
    pub credentials: Option<&'a Credentials>,
}

impl Source<'_> {
    /// Reads all that counts. A wrong line of the search path is passed over, one of the words is the end.
    ///
    /// # Errors
    /// Why nothing is to be done; empty if a message of the definitions says it.
    pub fn read(&self, definitions: &mut Definitions) -> Result<(), String> {
        if self.replace.is_none() && !self.words.is_empty() {
            self.words(definitions)?;
        } else {
            for found in listed(self.root, self.replace)? {
                match self.replace {
                    Some(replaced) if found.path == replaced => self.words(definitions)?,
                    _ => {
                        let label = self.root.label(&found.path);
                        read_found(&self.root.tree(), definitions, &found, &label, self.facts);
                    }
                }
            }
        }
        if let Some((label, extra)) = self.credentials.and_then(|all| all.file("sysusers.extra")) {
            definitions.parse(&label, extra, self.facts);
        }
        Ok(())
    }

    fn words(&self, definitions: &mut Definitions) -> Result<(), String> {
        for (number, word) in self.words.iter().enumerate() {
            let right = match self.inline {
                true => definitions.parse_line(ARGUMENT, number + 1, word.as_bytes(), self.facts),
                false => {
                    let (label, content) = self.file(word)?;
                    definitions.parse(&label, &content, self.facts)
                }
            };
            if !right {
                return Err(String::new());
            }
        }
        Ok(())
    }

    /// A file that a word names: `-`, a path of this machine, or a name in the search path.
    fn file(&self, word: &OsStr) -> Result<(String, Vec<u8>), String> {
        if word == "-" {
            let content = read(io::stdin().lock());
            return content.map(|content| ("<stdin>".to_owned(), content)).map_err(unreadable("<stdin>"));
        }
        if word.as_bytes().contains(&b'/') {
            let path = simplified(word.as_ref())?;
            let label = path.display().to_string();
            let content = fs::File::open(&path).and_then(read).map_err(unreadable(&label))?;
            return Ok((label, content));
        }
        let name = word.to_string_lossy();
        let tree = self.root.tree();
        for directory in search::DIRECTORIES {
            let path = format!("{directory}/{name}");
            match Found::at(&path).read(&tree) {
                Ok(Some(content)) => return Ok((self.root.label(&path), content)),
                Ok(None) => {}
                Err(errno) => return Err(format!("Failed to read '{name}': {}", Sentence(errno))),
            }
        }
        Err(format!("Failed to read '{name}': No such file or directory"))
    }
}

fn listed(root: &Root, replace: Option<&str>) -> Result<Vec<Found>, String> {
    let mut files = search::list(&root.tree()).map_err(|error| failure(root, error))?;
    if let Some(path) = replace {
        search::insert(&mut files, path);
    }
    Ok(files)
}

fn read(file: impl io::Read) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut content)?;
    match content.len() as u64 > LARGEST {
        true => Err(io::ErrorKind::FileTooLarge.into()),
        false => Ok(content),
    }
}

fn unreadable(label: &str) -> impl FnOnce(io::Error) -> String {
    move |error| format!("Failed to read '{label}': {}", log::sentence(&error))
}

/// Prints the search path's files.
pub(super) fn cat(root: &Root, tldr: bool) -> Result<(), String> {
    let tree = root.tree();
    let mut files = Vec::new();
    for found in listed(root, None)? {
        let label = root.label(&found.path);
        match found.read(&tree) {
            Ok(content) => files.push((label, content.unwrap_or_default())),
            Err(errno) => return Err(format!("Failed to cat {label}: {}", Sentence(errno))),
        }
    }
    let files = files.iter().map(|(label, content)| (label.as_str(), content.as_slice()));
    cat::print(files, tldr).map_err(|error| format!("Failed to write: {}", log::sentence(&error)))
}
