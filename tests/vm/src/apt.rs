//! apt on a release: downloads packages and sources without installing anything, with its own lists and cache, so
//! that this machine's release, lists and installed packages do not matter.

use crate::command;
use crate::debian::{self, Suite};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The keys that Debian signs its releases with; package debian-archive-keyring, which the set-up installs.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// apt with its own directory.
#[derive(Debug)]
pub struct Apt {
    place: PathBuf,
    suite: Suite,
}

impl Apt {
    /// Fetches the lists of a release's packages and sources into an empty directory.
    ///
    /// # Errors
    /// No archive is configured on this machine, or it cannot be reached.
    pub fn open(place: &Path, suite: Suite) -> Result<Self> {
        let apt = Self { place: place.to_owned(), suite };
        for directory in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(place.join(directory))?;
        }
        let archive = debian::archive()?;
        let line = |kind| format!("{kind} [signed-by={KEYRING}] {archive} {} main\n", suite.name());
        fs::write(place.join("sources.list"), line("deb") + &line("deb-src"))?;
        command::run(apt.get().arg("update"))
            .with_context(|| format!("cannot fetch the lists of {} from {archive}", suite.name()))?;
        Ok(apt)
    }

    /// Downloads these packages into an empty or missing directory. Returns each name with its file, sorted by name.
    ///
    /// # Errors
    /// The release has no such package, or it cannot be fetched.
    pub fn packages(&self, names: &[&str], into: &Path) -> Result<Vec<(String, PathBuf)>> {
        fs::create_dir_all(into)?;
        command::run(self.get().arg("download").args(names).current_dir(into))?;
        let mut files = Vec::new();
        for entry in fs::read_dir(into)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let package = name.split('_').next().unwrap_or_default().to_owned();
            files.push((package, entry.path()));
        }
        files.sort();
        Ok(files)
    }

    /// Downloads a source package into an empty or missing directory. Returns its upstream archive.
    ///
    /// # Errors
    /// The release has no such source, or it cannot be fetched.
    pub fn source(&self, name: &str, into: &Path) -> Result<PathBuf> {
        fs::create_dir_all(into)?;
        command::run(self.get().args(["source", "--download-only", name]).current_dir(into))?;
        for entry in fs::read_dir(into)? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().contains(".orig.tar.")) {
                return Ok(path);
            }
        }
        bail!("the source package of {name} has no upstream archive")
    }

    fn get(&self) -> Command {
        let mut command = Command::new("apt-get");
        command.arg("--quiet");
        let place = |name: &str| self.place.join(name).display().to_string();
        for (option, value) in [
            ("Dir::Etc::SourceList", place("sources.list")),
            ("Dir::Etc::SourceParts", "/dev/null".to_owned()),
            ("Dir::State::Lists", place("lists")),
            // Nothing is installed as far as this apt knows.
            ("Dir::State::Status", "/dev/null".to_owned()),
            ("Dir::Cache", place("cache")),
            ("Acquire::Languages", "none".to_owned()),
            // Its user could not write into our directories.
            ("APT::Sandbox::User", "root".to_owned()),
        ] {
            command.arg("--option").arg(format!("{option}={value}"));
        }
        for (option, value) in self.suite.options() {
            command.arg("--option").arg(format!("{option}={value}"));
        }
        command
    }
}
