//! The directories and links without which no program of a new root can be executed.
//!
//! The list is that of systemd's `base_filesystem_create` (src/shared/base-filesystem.c), which PID 1 and its switch
//! root run as well: /root, /usr, /var, /etc, /proc, /sys, /dev, /run; /bin, /sbin and /lib as links into /usr; the
//! link to the ABI's dynamic loader, which must be there before systemd is executed. /tmp, /home, /srv and /mnt are
//! left to tmpfiles.d and tmp.mount, which know the mode that the distribution wants, and so is the content of /var:
//! systemd's `var.conf` creates log, lib, cache, tmp and spool there, with their modes and labels, before anything else
//! looks.

use std::os::fd::BorrowedFd;

use rustix::{
    fs::{self, AtFlags, FileType, Mode},
    io::Errno,
};

use super::EtcError;
use crate::tree::open;

/// Directory and mode. /usr and mount points get the mode of the file system mounted there.
const DIRECTORIES: [(&str, u32); 8] = [
    ("root", 0o750),
    ("usr", 0o755),
    ("var", 0o755),
    ("etc", 0o755),
    ("proc", 0o555),
    ("sys", 0o555),
    ("dev", 0o555),
    ("run", 0o555),
];

/// The place of a dynamic loader, for one architecture.
struct Loader {
    /// As [`std::env::consts::ARCH`] says it.
    architecture: &'static str,
    /// The link in the root.
    link: &'static str,
    /// Its target, and the file that must lie there, both relative to /usr. The first that fits is taken.
    targets: &'static [(&'static str, &'static str)],
    /// The ABI's loader lies below /lib already; the link is made only in a root that was empty, as systemd does, because a
    /// distribution that does without it must not get one.
    only_in_an_empty_root: bool,
}

const LOADERS: [Loader; 3] = [
    Loader {
        architecture: "x86_64",
        link: "lib64",
        targets: &[("lib64", "ld-linux-x86-64.so.2"), ("lib", "ld-linux-x86-64.so.2")],
        only_in_an_empty_root: false,
    },
    Loader {
        architecture: "aarch64",
        link: "lib64",
        targets: &[("lib64", "ld-linux-aarch64.so.1"), ("lib", "ld-linux-aarch64.so.1")],
        only_in_an_empty_root: true,
    },
    Loader {
        architecture: "riscv64",
        link: "lib64",
        targets: &[("lib64", "ld-linux-riscv64-lp64d.so.1"), ("lib", "ld-linux-riscv64-lp64d.so.1")],
        only_in_an_empty_root: true,
    },
];

/// Makes the missing entries in `root`, whose /usr is `usr`. Existing ones are left as they are, so a second run
/// changes nothing. Returns how many entries were made.
///
/// # Errors
/// An entry under the name of a directory that is not a directory, and the error of the file system.
pub fn create(root: BorrowedFd<'_>, usr: BorrowedFd<'_>) -> Result<usize, EtcError> {
    create_for(root, usr, std::env::consts::ARCH)
}

/// [`create`] for a named architecture.
fn create_for(root: BorrowedFd<'_>, usr: BorrowedFd<'_>, architecture: &str) -> Result<usize, EtcError> {
    let mut made = 0;
    let umask = open::umask();
    for (name, mode) in DIRECTORIES {
        match fs::mkdirat(root, name, Mode::from_raw_mode(mode)) {
            Ok(()) => {
                if mode & umask != 0 {
                    // Nothing is followed, the directory is ours.
                    fs::chmodat(root, name, Mode::from_raw_mode(mode), AtFlags::empty())
                        .map_err(EtcError::call("set the mode of", format_args!("/{name}")))?;
                }
                made += 1;
            }
            Err(Errno::EXIST) => {
                let found = fs::statat(root, name, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(EtcError::call("look at", format_args!("/{name}")))?;
                // /root or /var may be kept elsewhere. The others are mounted over or written into, and a link there
                // would lead both astray.
                let link_is_fine = name == "root" || name == "var";
                match FileType::from_raw_mode(found.st_mode) {
                    FileType::Directory => {}
                    FileType::Symlink if link_is_fine => {}
                    _ => return Err(EtcError::NotADirectory { path: format!("/{name}") }),
                }
            }
            Err(errno) => return Err(EtcError::call("create directory", format_args!("/{name}"))(errno)),
        }
    }
    let mut links = 0;
    for name in ["bin", "sbin", "lib"] {
        links += usize::from(link(root, name, &format!("usr/{}", merged(usr, name)))?);
    }
    made += links;
    for loader in LOADERS.iter().filter(|loader| loader.architecture == architecture) {
        if loader.only_in_an_empty_root && links == 0 {
            continue;
        }
        let target = loader.targets.iter().find(|(directory, file)| {
            // The loader may itself be a link, and an absolute one would lead into the initramfs: its presence is enough.
            fs::statat(usr, format!("{directory}/{file}"), AtFlags::SYMLINK_NOFOLLOW).is_ok()
        });
        if let Some((directory, _)) = target {
            made += usize::from(link(root, loader.link, &format!("usr/{directory}"))?);
        }
    }
    Ok(made)
}

/// The target of `/NAME`: usually `usr/NAME`; where /usr/sbin is itself a link to bin (merged sbin), there, as in that
/// distribution's own root.
fn merged(usr: BorrowedFd<'_>, name: &str) -> String {
    match fs::readlinkat(usr, name, Vec::new()) {
        Ok(target) if name == "sbin" && target.to_bytes() == b"bin" => "bin".to_owned(),
        _ => name.to_owned(),
    }
}

/// Makes a symbolic link unless something has that name. Returns whether it made one.
fn link(root: BorrowedFd<'_>, name: &str, target: &str) -> Result<bool, EtcError> {
    if open::exists(root, name).map_err(EtcError::call("look at", format_args!("/{name}")))? {
        return Ok(false);
    }
    fs::symlinkat(target, root, name).map_err(EtcError::call("create link", format_args!("/{name}")))?;
    Ok(true)
}
