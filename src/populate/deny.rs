//! The parts of a source that are not copied. As in systemd, an entry is known by its inode, so that it is found by any
//! path of the copy.

use rustix::{
    fs::{OFlags, Stat, fstat},
    io::Errno,
};

use super::{
    Content, CopyFiles, PopulateError,
    chase::{Tree, below},
};
use crate::{map::Map, tree::inode};

/// Directories of the running system whose content belongs into no image (systemd: `APIVFS_TMP_DIRS_NULSTR`).
const RUNNING: [&str; 6] = ["/proc", "/sys", "/dev", "/tmp", "/run", "/var/tmp"];

/// The extent of an exclusion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Deny {
    /// All of it.
    Whole,
    /// The content of the directory.
    Content,
}

/// The inodes that are left out, by device and number.
#[derive(Default)]
pub(super) struct Denied(Map<Deny>);

impl Denied {
    /// The exclusions of one `CopyFiles=`; None when it is left out altogether.
    pub fn of(
        source: &Tree<'_>,
        content: &Content<'_>,
        copy: &CopyFiles,
    ) -> Result<Option<Self>, PopulateError> {
        let mut denied = Self::default();
        for path in RUNNING {
            denied.add(source, path, Deny::Content)?;
        }
        let how = |path: &str| if path.ends_with('/') { Deny::Content } else { Deny::Whole };
        for path in content.exclude_files {
            if below(&copy.source, path).is_some() {
                return Ok(None);
            }
            denied.add(source, path, how(path))?;
        }
        for path in content.exclude_files_target {
            if below(&copy.target, path).is_some() {
                return Ok(None);
            }
            if let Some(rest) = below(path, &copy.target) {
                denied.add(source, &join(&copy.source, rest), how(path))?;
            }
        }
        // A root gets the mount points of the others, and of the kernel's file systems, empty.
        if let Some(others) = content.root_of.filter(|_| copy.target.trim_matches('/').is_empty()) {
            for path in others.iter().filter(|path| **path != "/").chain(&RUNNING) {
                denied.add(source, &join(&copy.source, path), Deny::Content)?;
            }
        }
        Ok(Some(denied))
    }

    /// Leaves out the entry at `path` of the source, if it exists. The first word counts.
    fn add(&mut self, source: &Tree<'_>, path: &str, deny: Deny) -> Result<(), PopulateError> {
        match source.open(path, OFlags::PATH).and_then(fstat) {
            Ok(stat) => {
                self.0.insert_new(inode::name(&stat), deny);
                Ok(())
            }
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(source.failed("look at", path)(errno)),
        }
    }

    /// Returns true when this inode is not copied.
    pub fn whole(&self, stat: &Stat) -> bool {
        self.0.get(&inode::name(stat)) == Some(&Deny::Whole)
    }

    /// Returns true when this directory is copied without its content.
    pub fn content(&self, stat: &Stat) -> bool {
        self.0.get(&inode::name(stat)) == Some(&Deny::Content)
    }
}

fn join(above: &str, path: &str) -> String {
    format!("{}/{}", above.trim_end_matches('/'), path.trim_start_matches('/'))
}
