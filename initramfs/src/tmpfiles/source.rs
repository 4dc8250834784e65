//! Which lines count: with words they are all there is, unless they stand in for a file of the search path.

use std::{
    collections::BTreeMap,
    env,
    ffi::{OsStr, OsString},
    fmt::Display,
    fs,
    io::{self, Read as _, Write as _},
    os::unix::ffi::OsStrExt as _,
    path::Path,
};

use hermetic_init::{
    fragments::search::{Found, content, find_in},
    tmpfiles::{Definitions, Level, Log as _, line::Context},
};

use super::{Root, Stderr, machine};

/// The largest file that is read, in bytes.
const LARGEST: u64 = 4 << 20;

/// Where definitions come from.
pub(super) struct Source<'a> {
    pub root: &'a Root,
    pub directories: &'a [String],
    pub words: &'a [OsString],
    /// The words stand in for this file.
    pub replace: Option<&'a str>,
    pub credentials: &'a BTreeMap<String, Vec<u8>>,
}

/// The search path: that of the system, or of the user's session (systemd: `user_config_paths`).
pub(super) fn directories(is_user: bool) -> Vec<String> {
    if !is_user {
        return ["/etc", "/run", "/usr/local/lib", "/usr/lib"]
            .map(|directory| format!("{directory}/tmpfiles.d"))
            .into();
    }
    let home = machine::home();
    let in_home = |variable: &str, below: &str| {
        machine::directory(variable).or_else(|| home.as_ref().map(|home| format!("{home}/{below}")))
    };
    let list = |variable: &str, default: &str| {
        let list =
            env::var(variable).ok().filter(|list| !list.is_empty()).unwrap_or_else(|| default.to_owned());
        list.split(':').filter(|path| path.starts_with('/')).map(str::to_owned).collect::<Vec<_>>()
    };
    let mut directories: Vec<String> = in_home("XDG_CONFIG_HOME", ".config").into_iter().collect();
    directories.extend(list("XDG_CONFIG_DIRS", "/etc/xdg"));
    directories.extend(machine::directory("XDG_RUNTIME_DIR"));
    directories.extend(in_home("XDG_DATA_HOME", ".local/share"));
    directories.extend(list("XDG_DATA_DIRS", "/usr/local/share:/usr/share"));
    directories.into_iter().map(|directory| format!("{directory}/user-tmpfiles.d")).collect()
}

impl Source<'_> {
    /// Reads all that counts. What cannot be read of the search path is passed over, of the words it is the end.
    ///
    /// # Errors
    /// Why nothing is done; empty if that has been said.
    pub fn read(
        &self,
        definitions: &mut Definitions,
        context: &Context<'_>,
        log: &mut Stderr,
    ) -> Result<(), String> {
        if self.replace.is_none() && !self.words.is_empty() {
            self.words(definitions, context, log)?;
        } else {
            let mut files = found(self.root, self.directories)?;
            if let Some(replaced) = self.replace {
                insert(&mut files, replaced, self.directories);
            }
            for file in files {
                if self.replace == Some(file.path.as_str()) {
                    self.words(definitions, context, log)?;
                    continue;
                }
                let label = self.root.label(&file.path);
                match file.read(&self.root.tree()) {
                    Ok(Some(content)) => definitions.parse(&label, &content, context, log),
                    Ok(None) => {}
                    Err(errno) => {
                        log.say(Level::Error, format!("Failed to read '{label}': {}", reason(&errno)))
                    }
                }
            }
        }
        if let Some(extra) = self.credentials.get("tmpfiles.extra") {
            let directory = env::var("CREDENTIALS_DIRECTORY").unwrap_or_default();
            definitions.parse(&format!("{directory}/tmpfiles.extra"), extra, context, log);
        }
        Ok(())
    }

    fn words(
        &self,
        definitions: &mut Definitions,
        context: &Context<'_>,
        log: &mut Stderr,
    ) -> Result<(), String> {
        for word in self.words {
            let (label, content) = self.file(word)?;
            definitions.parse(&label, &content, context, log);
            if !definitions.failed.is_empty() {
                return Err(String::new());
            }
        }
        Ok(())
    }

    /// A file that a word names: `-`, a path of this machine, or a name in the search path.
    fn file(&self, word: &OsStr) -> Result<(String, Vec<u8>), String> {
        let unreadable =
            |label: &str, error: &dyn Display| format!("Failed to read '{label}': {}", reason(error));
        if word == "-" {
            let read = read(io::stdin().lock()).map_err(|error| unreadable("<stdin>", &error))?;
            return Ok(("<stdin>".to_owned(), read));
        }
        let label = word.to_string_lossy();
        if word.as_bytes().contains(&b'/') {
            let path = std::path::absolute(Path::new(word)).map_err(|error| unreadable(&label, &error))?;
            let label = path.display().to_string();
            let read = fs::File::open(&path).and_then(read).map_err(|error| unreadable(&label, &error))?;
            return Ok((label, read));
        }
        for directory in self.directories {
            let path = format!("{directory}/{label}");
            match self.root.tree().open_read(&path).and_then(content) {
                Ok(content) => return Ok((self.root.label(&path), content)),
                Err(errno) if errno.raw_os_error() == 2 => {}
                Err(errno) => return Err(unreadable(&label, &errno)),
            }
        }
        Err(unreadable(&label, &"No such file or directory"))
    }
}

/// The error in words, without the number that std adds.
fn reason(error: &dyn Display) -> String {
    let text = error.to_string();
    text.split_once(" (os error").map_or(text.clone(), |(words, _)| words.to_owned())
}

fn found(root: &Root, directories: &[String]) -> Result<Vec<Found>, String> {
    find_in(&root.tree(), directories).map_err(|error| {
        format!("Failed to enumerate config files: {}: {}", root.label(&error.path), error.errno)
    })
}

/// Puts a file that may not exist among the others: by its name, and in the place of one of the same name that is weaker.
fn insert(files: &mut Vec<Found>, path: &str, directories: &[String]) {
    let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let strength = |path: &str| {
        let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        directories.iter().position(|known| known == directory).unwrap_or(directories.len())
    };
    let at = files.partition_point(|file| name(&file.path) < name(path));
    match files.get(at).filter(|file| name(&file.path) == name(path)) {
        Some(existing) if strength(&existing.path) <= strength(path) => {}
        Some(_) => {
            if let Some(place) = files.get_mut(at) {
                *place = Found::at(path);
            }
        }
        None => files.insert(at, Found::at(path)),
    }
}

fn read(file: impl io::Read) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut content)?;
    match content.len() as u64 > LARGEST {
        true => Err(io::ErrorKind::FileTooLarge.into()),
        false => Ok(content),
    }
}

/// Prints the search path's files, with `tldr` without comments and empty lines.
pub(super) fn cat(root: &Root, directories: &[String], tldr: bool) -> Result<(), String> {
    let mut text = Vec::new();
    for file in found(root, directories)? {
        let label = root.label(&file.path);
        let content =
            file.read(&root.tree()).map_err(|errno| format!("Failed to cat {label}: {}", reason(&errno)))?;
        if !text.is_empty() {
            text.push(b'\n');
        }
        text.extend_from_slice(format!("# {label}\n").as_bytes());
        for line in content.unwrap_or_default().split_inclusive(|byte| *byte == b'\n') {
            let is_comment = matches!(line.trim_ascii_start().first(), None | Some(b'#' | b';'));
            if !(tldr && is_comment) {
                text.extend_from_slice(line);
            }
        }
    }
    io::stdout().lock().write_all(&text).map_err(|error| format!("Failed to write: {error}"))
}
