//! Debian trees: which archive this machine uses, and mmdebstrap making a tree of a release that we prove against.

use crate::command;
use anyhow::{Context, Result, bail};
use std::borrow::Cow;
use std::fs;
use std::path::Path;
use std::process::Command;

/// A release whose systemd, kernel and tools we prove against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// Debian 13: systemd 257, Linux 6.12.
    Trixie,
    /// The releases to come, as they are when a tree is made: systemd 262 or newer.
    Sid,
}

impl Suite {
    /// The name in Debian's archive.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Trixie => "trixie",
            Self::Sid => "sid",
        }
    }

    /// The options that apt needs for it. A release to come promises a week; a mirror may keep an older state of it, which is
    /// signed as well.
    #[must_use]
    pub fn options(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Trixie => &[],
            Self::Sid => &[("Acquire::Check-Valid-Until", "false")],
        }
    }
}

/// A tree to be made of packages.
#[derive(Debug)]
pub struct Tree {
    /// The release.
    pub suite: Suite,
    /// mmdebstrap's `--variant`: its content besides the packages and their dependencies.
    pub variant: &'static str,
    /// Names of the packages.
    pub packages: Cow<'static, [&'static str]>,
    /// Patterns of paths that dpkg leaves out (dpkg(1), `--path-exclude`).
    pub excluded: &'static [&'static str],
}

impl Tree {
    /// Makes the tree in an empty or missing directory, with progress.
    ///
    /// # Errors
    /// No archive is configured on this machine, or mmdebstrap fails.
    pub fn make(&self, place: &Path) -> Result<()> {
        let archive = archive()?;
        let mut mmdebstrap = Command::new("mmdebstrap");
        mmdebstrap.args(["--mode=root", "--format=directory"]);
        mmdebstrap.arg(format!("--variant={}", self.variant));
        if !self.packages.is_empty() {
            mmdebstrap.arg(format!("--include={}", self.packages.join(",")));
        }
        for (option, value) in self.suite.options() {
            mmdebstrap.arg(format!("--aptopt={option} \"{value}\""));
        }
        for path in self.excluded {
            mmdebstrap.arg(format!("--dpkgopt=path-exclude={path}"));
        }
        let suite = self.suite.name();
        mmdebstrap.arg(suite).arg(place).arg(&archive);
        command::show(&mut mmdebstrap)
            .with_context(|| format!("cannot make a Debian {suite} tree from {archive}"))
    }

    /// Everything that decides the content of the tree, for its cache key.
    #[must_use]
    pub fn inputs(&self) -> String {
        let suite = self.suite.name();
        format!("{suite}\n{}\n{}\n{}", self.variant, self.packages.join(" "), self.excluded.join(" "))
    }
}

/// The address of the archive from which this machine installs its own release; it has ours as well.
///
/// # Errors
/// apt is not configured for it.
pub fn archive() -> Result<String> {
    let codename = codename(&fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?)?;
    let targets = command::output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(REPO_URI) $(RELEASE)",
        "Created-By: Packages",
        "Component: main",
    ]))?;
    choose(&targets, &codename)
}

/// The value of `VERSION_CODENAME=` (os-release(5)).
fn codename(os_release: &str) -> Result<String> {
    let value = os_release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let value =
        value.context("/etc/os-release has no VERSION_CODENAME: the set-up knows Debian 12 and later")?;
    Ok(value.trim_matches('"').to_owned())
}

/// The address of the line whose release is exactly `codename`: not its updates, not its security archive.
fn choose(targets: &str, codename: &str) -> Result<String> {
    for line in targets.lines() {
        if let Some((uri, release)) = line.split_once(' ')
            && release == codename
        {
            return Ok(uri.to_owned());
        }
    }
    bail!(
        "apt's configuration names no archive with the main component of {codename}; add one to /etc/apt/sources.list"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archive_is_the_release_itself() {
        let targets = "http://security.example/ bookworm-security\nhttp://a.example/debian/ bookworm-updates\n\
                       http://b.example/debian/ bookworm\n";
        assert_eq!(choose(targets, "bookworm").unwrap(), "http://b.example/debian/");
        assert!(choose(targets, "trixie").is_err());
    }

    #[test]
    fn codename_with_and_without_quotes() {
        assert_eq!(codename("ID=debian\nVERSION_CODENAME=bookworm\n").unwrap(), "bookworm");
        assert_eq!(codename("VERSION_CODENAME=\"trixie\"\n").unwrap(), "trixie");
        assert!(codename("ID=debian\n").is_err());
    }
}
