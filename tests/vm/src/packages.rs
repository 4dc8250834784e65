//! Debian packages of what this workspace builds: `hermetic-init` with PID 1 and its manual pages, and `hermetic` with the host tool,
//! its completions, the plugin of kernel-install and the folder for mkosi. The same programs give the same bytes.

mod judge;
mod package;

pub use judge::{judge, release, same_bytes};
pub use package::Package;

use crate::cargo;
use crate::command;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The programs that are packed for an architecture of Debian.
#[derive(Clone, Debug)]
pub struct Programs {
    /// Debian's name of the architecture.
    pub architecture: &'static str,
    /// PID 1.
    pub init: PathBuf,
    /// The host tool; None where it is not built.
    pub hermetic: Option<PathBuf>,
}

/// Makes the packages of these programs in a directory, and returns their paths. `tool` is the host tool of the machine that this
/// runs on: it writes the manual pages.
///
/// # Errors
/// A file is missing, or dpkg-deb fails.
pub fn make(programs: &[Programs], tool: &Path, into: &Path) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(into).with_context(|| format!("cannot make {}", into.display()))?;
    let work = into.join("work");
    let manual = work.join("manual");
    command::run(Command::new(tool).arg("manual").arg(&manual))?;
    let mut made = Vec::new();
    for programs in programs {
        made.push(init(programs, &manual)?.build(&work, into)?);
        if let Some(hermetic) = &programs.hermetic {
            made.push(host(programs.architecture, hermetic, &manual)?.build(&work, into)?);
        }
    }
    fs::remove_dir_all(&work)?;
    Ok(made)
}

fn init(programs: &Programs, manual: &Path) -> Result<Package> {
    let mut package = Package::new(
        "hermetic-init",
        programs.architecture,
        "static PID 1 of an initramfs for systems with a verified /usr",
        "It takes a machine from the kernel to the real systemd on a verified /usr\nand a private, writable root, which the first boot makes. It is packed into\nan initramfs and never runs on the machine that it is installed on.",
    );
    package.program(&programs.init, "usr/bin/hermetic-init")?;
    for page in ["man8/hermetic-init.8", "man7/hermetic-init.cmdline.7", "man5/hermetic-etc.conf.5"] {
        package.manual(&manual.join("man").join(page))?;
    }
    Ok(package)
}

fn host(architecture: &'static str, hermetic: &Path, manual: &Path) -> Result<Package> {
    let mut package = Package::new(
        "hermetic",
        architecture,
        "builder of initramfs images around hermetic-init",
        "It makes the initramfs, shows what a first boot would do to a disk, and\nhas the engines of the boot: repart, mkfs, LUKS2, sysusers, tmpfiles, and an\n/etc that follows its factory. A plugin of kernel-install and a folder for\nmkosi run it.",
    );
    package.needs(&format!("hermetic-init (= {})", package::VERSION));
    package.program(hermetic, "usr/bin/hermetic")?;
    let pages = manual.join("man/man1");
    let mut names: Vec<PathBuf> =
        fs::read_dir(&pages)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    names.sort();
    for page in names {
        package.manual(&page)?;
    }
    for (source, place) in [
        ("bash/hermetic", "usr/share/bash-completion/completions/hermetic"),
        ("zsh/_hermetic", "usr/share/zsh/vendor-completions/_hermetic"),
        ("fish/hermetic.fish", "usr/share/fish/vendor_completions.d/hermetic.fish"),
    ] {
        package.file(fs::read(manual.join("completions").join(source))?, place, 0o644);
    }
    let sources = cargo::repository().join("initramfs");
    for (source, place, mode) in [
        ("kernel-install/58-hermetic.install", "usr/lib/kernel/install.d/58-hermetic.install", 0o755),
        ("mkosi/mkosi.conf", "usr/share/hermetic/mkosi/mkosi.conf", 0o644),
        ("mkosi/mkosi.finalize", "usr/share/hermetic/mkosi/mkosi.finalize", 0o755),
    ] {
        package.file(fs::read(sources.join(source))?, place, mode);
    }
    for name in ["hermetic", "hermetic-init"] {
        package.link(&format!("usr/share/hermetic/mkosi/bin/{name}"), &format!("../../../../bin/{name}"));
    }
    Ok(package)
}
