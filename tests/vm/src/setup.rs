//! The host: the packages that have to be installed before a build, and their installation.

use crate::{command, progress};
use anyhow::{Context, Result, bail};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

/// Debian packages that building and tree-making need; the tools that tests run come with the tool root instead.
const PACKAGES: [&str; 6] = [
    "build-essential",
    "libclang-dev",
    "libdevmapper-dev",
    "pkg-config",
    "mmdebstrap",
    "debian-archive-keyring",
];

/// Targets that the proof builds for.
const TARGETS: [&str; 3] = ["x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl", "x86_64-unknown-none"];

/// Parts of the toolchain that rustup's minimal profile lacks, with a command that works when they are there.
const COMPONENTS: [(&str, &[&str]); 2] =
    [("rustfmt", &["fmt", "--version"]), ("clippy", &["clippy", "--version"])];

/// Installs missing packages on this machine; prints nothing when none is missing.
///
/// # Errors
/// The machine is not a Debian system, we are not root, or an installation fails.
pub fn prepare() -> Result<()> {
    require_root()?;
    packages()?;
    toolchain()
}

fn require_root() -> Result<()> {
    let uid = std::fs::metadata("/proc/self").context("cannot look at /proc/self")?.uid();
    if uid != 0 {
        bail!("this needs root: it installs packages and makes file system trees with their owners");
    }
    Ok(())
}

fn packages() -> Result<()> {
    let missing: Vec<&str> = PACKAGES.into_iter().filter(|name| !is_installed(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!("no apt-get here: install the equivalents of {} by hand", missing.join(", "));
    }
    progress::step(&format!("installing Debian packages: {}", missing.join(" ")), || {
        command::run(Command::new("apt-get").args(["--quiet", "update"]))?;
        command::run(
            Command::new("apt-get")
                .env("DEBIAN_FRONTEND", "noninteractive")
                .args(["--quiet", "--yes", "--no-install-recommends", "install"])
                .args(&missing),
        )
    })
}

/// dpkg's word on a package. No dpkg: then it is not installed as a package.
fn is_installed(package: &str) -> bool {
    let status =
        Command::new("dpkg-query").args(["--show", "--showformat=${db:Status-Status}", package]).output();
    status.is_ok_and(|result| result.stdout == b"installed")
}

/// Returns true when the toolchain can build for `target`.
#[must_use]
pub fn has_target(target: &str) -> bool {
    let libraries =
        command::output(Command::new("rustc").args(["--print", "target-libdir", "--target", target]));
    libraries.is_ok_and(|directory| Path::new(directory.trim()).is_dir())
}

fn toolchain() -> Result<()> {
    for target in TARGETS.into_iter().filter(|target| !has_target(target)) {
        let added = progress::step(&format!("installing the Rust target {target}"), || {
            command::run(Command::new("rustup").args(["target", "add", target]))
        });
        // Machines then run programs of glibc; a check that needs the target fails by itself.
        if let Err(error) = added {
            eprintln!("    {target} cannot be had: {error:#}");
        }
    }
    for (component, probe) in COMPONENTS {
        if command::run(Command::new("cargo").args(probe)).is_err() {
            progress::step(&format!("installing {component}"), || {
                command::run(Command::new("rustup").args(["component", "add", component]))
            })?;
        }
    }
    Ok(())
}
