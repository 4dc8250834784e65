//! The appliance: a Debian tree as an image builder would take it, before any variant of /usr is made of it.
//!
//! One change is made by hand: Debian's /etc becomes /usr/share/factory/etc, without what belongs to one machine. There
//! is no root file system in it; the first boot makes that.

use crate::cache::{Cache, Key};
use crate::debian::{Suite, Tree};
use crate::{command, progress};
use anyhow::{Context, Result};
use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const fn of(suite: Suite) -> Tree {
    Tree {
        suite,
        variant: "essential",
        packages: Cow::Borrowed(&[
            "cryptsetup-bin",
            "dbus",
            "dmsetup",
            "e2fsprogs",
            "fdisk",
            "kmod",
            "libpam-systemd",
            "linux-image-cloud-amd64",
            "systemd",
            "systemd-sysv",
            "udev",
            "util-linux",
        ]),
        excluded: &["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*"],
    }
}

/// dpkg's record of the packages: sid has others on another day.
const PACKAGES: &str = "packages";

/// Changes whenever the code below makes something else of the same tree.
const VERSION: &str = "1";

/// Files of /etc that belong to the machine that made the tree. Backups (`passwd-`) go as well.
const OF_ONE_MACHINE: [&str; 5] = ["machine-id", "hostname", "resolv.conf", "mtab", ".pwd.lock"];

/// The appliance's tree in the cache. Never changed after it was made.
#[derive(Clone, Debug)]
pub struct Appliance {
    path: PathBuf,
    version: String,
}

impl Appliance {
    /// The appliance of this cache with the system of a release, made when it is missing.
    ///
    /// # Errors
    /// The tree cannot be made, or has no kernel.
    pub fn get(cache: &Cache, suite: Suite) -> Result<Self> {
        let what = match suite {
            Suite::Trixie => "the appliance: Debian's systemd and kernel",
            Suite::Sid => "the appliance of Debian sid: the newest systemd and kernel",
        };
        let path = cache.artefact(kind(suite), &key(suite), |place| {
            progress::step(&format!("making {what} (about a minute, once)"), || {
                let tree = place.join("tree");
                of(suite).make(&tree)?;
                fs::copy(tree.join("var/lib/dpkg/status"), place.join(PACKAGES))?;
                fs::rename(tree.join("usr"), place.join("usr"))?;
                fs::rename(tree.join("boot"), place.join("boot"))?;
                move_factory(&tree.join("etc"), &place.join("usr/share/factory/etc"))?;
                fs::remove_dir_all(&tree).context("cannot remove the rest of the appliance's tree")
            })
        })?;
        let version = only_entry(&path.join("usr/lib/modules"))?;
        Ok(Self { path, version })
    }

    /// Returns true when the appliance is in this cache.
    #[must_use]
    pub fn is_made(cache: &Cache, suite: Suite) -> bool {
        cache.has(kind(suite), &key(suite))
    }

    /// The tree: `usr`, and `boot` with the kernel.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tree that becomes /usr.
    #[must_use]
    pub fn usr(&self) -> PathBuf {
        self.path.join("usr")
    }

    /// Debian's kernel.
    #[must_use]
    pub fn kernel(&self) -> PathBuf {
        self.path.join("boot").join(format!("vmlinuz-{}", self.version))
    }

    /// The kernel's version, as `uname -r` prints it.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The kernel's modules (the directory with `modules.dep`).
    #[must_use]
    pub fn modules(&self) -> PathBuf {
        self.usr().join("lib/modules").join(&self.version)
    }

    /// A name for its content, for the keys of artefacts that are made from it.
    #[must_use]
    pub fn identity(&self) -> String {
        let name = self.path.file_name().map(|name| name.to_string_lossy().into_owned());
        // One that an older driver made has no record.
        let packages = fs::read(self.path.join(PACKAGES)).unwrap_or_default();
        let packages =
            if packages.is_empty() { String::new() } else { Key::default().with("", packages).hex() };
        format!("{} {}{packages}", name.unwrap_or_default(), self.version)
    }
}

/// The kind in the cache: each release has a lock of its own.
fn kind(suite: Suite) -> &'static str {
    match suite {
        Suite::Trixie => "appliance",
        Suite::Sid => "appliance-sid",
    }
}

fn key(suite: Suite) -> Key {
    Key::default().with("tree", of(suite).inputs()).with("version", VERSION)
}

/// Lays Debian's /etc over the factory tree that systemd's package brought.
fn move_factory(etc: &Path, factory: &Path) -> Result<()> {
    for entry in fs::read_dir(etc)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if OF_ONE_MACHINE.contains(&name.as_str()) || name.ends_with('-') {
            fs::remove_file(etc.join(&name))
                .with_context(|| format!("cannot remove /etc/{name} of the appliance"))?;
        }
    }
    fs::create_dir_all(factory)?;
    command::run(Command::new("cp").arg("--archive").arg(etc.join(".")).arg(factory))
}

/// The name of the only entry in a directory.
fn only_entry(directory: &Path) -> Result<String> {
    let mut entries =
        fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let entry = entries.next().with_context(|| format!("nothing is in {}", directory.display()))??;
    Ok(entry.file_name().to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factory_has_no_file_of_one_machine() {
        let place = std::env::temp_dir().join(format!("hermetic-factory-{}", std::process::id()));
        let (etc, factory) = (place.join("etc"), place.join("factory"));
        fs::create_dir_all(etc.join("pam.d")).unwrap();
        fs::create_dir_all(&factory).unwrap();
        for name in ["passwd", "passwd-", "machine-id", "hostname", ".pwd.lock", "pam.d/login"] {
            fs::write(etc.join(name), name).unwrap();
        }
        fs::write(factory.join("locale.conf"), "systemd's").unwrap();
        move_factory(&etc, &factory).unwrap();
        let mut names: Vec<_> =
            fs::read_dir(&factory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["locale.conf", "pam.d", "passwd"]);
        fs::remove_dir_all(place).unwrap();
    }
}
