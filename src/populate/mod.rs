//! Puts the content of a definition into a new file system: directories, files and links of an image, and blocks of a
//! device.
//!
//! The same result as systemd-repart 257: `CopyFiles=`, then `MakeDirectories=`, then `MakeSymlinks=`; modes, owners,
//! extended attributes, times and hard links as in the source; of two sources the later one counts, and an existing
//! directory stays as it is, also its times. Everything works below directory descriptors that the caller opened; links
//! are followed by the kernel inside of them (openat2(2), `RESOLVE_IN_ROOT`), so that neither tree leads out of itself.
//! Nothing here syncs: the caller flushes the file system once.
//!
//! Used by the boot on the mounted partition that no table names yet, and by `hermetic repart`. A caller makes a
//! [`Content`] of the definition and calls [`populate`]:
//!
//! ```no_run
//! # use std::{fs::File, os::fd::AsFd};
//! use hermetic_init::populate::{Content, CopyFiles, populate};
//! # fn example(mounted: File, image: File) -> Result<(), Box<dyn std::error::Error>> {
//! let copies = [CopyFiles { source: "/usr/share/var".into(), target: "/var".into(), fs_verity: false }];
//! let content = Content { copy_files: &copies, ..Content::default() };
//! let report = populate(mounted.as_fd(), image.as_fd(), &content)?;
//! println!("{} files", report.files);
//! # Ok(())
//! # }
//! ```
//!
//! | module | content |
//! |---|---|
//! | `content` | the requested content, as values |
//! | `deny` | exclusions |
//! | `chase` | paths inside of a tree |
//! | `copy` | one tree into another |
//! | [`blocks`] | `CopyBlocks=` |

pub mod blocks;
mod chase;
mod content;
mod copy;
mod deny;
mod error;
mod file;

pub use crate::{
    disk::types::mount_points,
    repart::{CopyFiles, Symlink},
};
pub use content::{Content, Report};
pub use error::PopulateError;

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd},
};

use rustix::{
    fs::{self, FileType, OFlags, XattrFlags},
    io::Errno,
};

use crate::disk::validatefs::Constraint;

use chase::Tree;
use copy::Copier;
use deny::Denied;

/// The mode of directories that are made on the way (repart.d(5), `MakeDirectories=`).
const DIRECTORY: u32 = 0o755;

/// Puts all of `content` into the file system mounted at `target`, from the tree `source`.
///
/// # Errors
/// A source that cannot be read, a target that cannot be written. A missing source is not an error: it is left out and
/// counted ([`Report::missing`]), as in systemd.
pub fn populate(
    target: BorrowedFd<'_>,
    source: BorrowedFd<'_>,
    content: &Content<'_>,
) -> Result<Report, PopulateError> {
    let (target, source) = (Tree::target(target).at(content.epoch), Tree::source(source));
    let mut report = Report::default();
    top_directory(&target, &source, content)?;
    for copy in content.copy_files {
        let Some(denied) = Denied::of(&source, content, copy)? else { continue };
        copy_files(&target, &source, copy, &denied, &mut report)?;
    }
    for path in content.make_directories {
        target.make_directories(path)?;
    }
    for link in content.make_symlinks {
        target.make_link(&link.target, &link.path)?;
    }
    Ok(report)
}

/// Sets the attributes that name the place of a file system on its open top directory ([`crate::repart::constraints`]).
///
/// # Errors
/// The attributes cannot be set.
pub fn constrain(top: BorrowedFd<'_>, constraints: &[(Constraint, String)]) -> io::Result<()> {
    constraints.iter().try_for_each(|(constraint, value)| {
        fs::fsetxattr(top, constraint.attribute(), value.as_bytes(), XattrFlags::empty())
            .map_err(io::Error::from)
    })
}

/// The top directory was made by mkfs: it takes after the first source that goes there, except in its owner.
fn top_directory(target: &Tree<'_>, source: &Tree<'_>, content: &Content<'_>) -> Result<(), PopulateError> {
    for copy in content.copy_files.iter().filter(|copy| chase::names(&copy.target).next().is_none()) {
        match source.open(&copy.source, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(from) => {
                let to = target
                    .open("/", OFlags::RDONLY | OFlags::DIRECTORY)
                    .map_err(target.failed("open", "/"))?;
                return file::likeness(&from, &to, false, source, &copy.source, "/");
            }
            Err(Errno::NOTDIR | Errno::NOENT) => {}
            Err(errno) => return Err(source.failed("open", &copy.source)(errno)),
        }
    }
    Ok(())
}

/// Carries out one `CopyFiles=`.
fn copy_files(
    target: &Tree<'_>,
    source: &Tree<'_>,
    copy: &CopyFiles,
    denied: &Denied,
    report: &mut Report,
) -> Result<(), PopulateError> {
    let from = match source.open(&copy.source, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
        Ok(from) => from,
        Err(Errno::NOENT) => {
            report.missing.push(copy.source.clone());
            return Ok(());
        }
        Err(errno) => return Err(source.failed("open", &copy.source)(errno)),
    };
    let stat = fs::fstat(&from).map_err(source.failed("look at", &copy.source))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            let (to, made) = match target.open(&copy.target, OFlags::RDONLY | OFlags::DIRECTORY) {
                Ok(there) => (there, false),
                Err(Errno::NOENT) => (target.make_directories(&copy.target)?, true),
                Err(errno) => return Err(target.failed("open directory", &copy.target)(errno)),
            };
            let mut copier = Copier::new(to.as_fd(), copy, denied, report)?;
            copier.tree(&from, &to)?;
            if made {
                file::likeness(&from, &to, true, source, &copy.source, &copy.target)?;
            }
            Ok(())
        }
        FileType::RegularFile if denied.whole(&stat) => Ok(()),
        FileType::RegularFile => {
            let Some((above, name)) = copy.target.rsplit_once('/').filter(|(_, name)| !name.is_empty())
            else {
                return Err(PopulateError::FileOverDirectory {
                    from: copy.source.clone(),
                    to: copy.target.clone(),
                });
            };
            let parent = target.make_directories(above)?;
            let mut copier = Copier::new(parent.as_fd(), copy, denied, report)?;
            copier.one(&from, &stat, name)?;
            target.date(&parent, &copy.target)
        }
        _ => Err(PopulateError::NeitherFileNorDirectory { path: copy.source.clone() }),
    }
}
