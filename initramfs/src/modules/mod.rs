//! The kernel modules of one kernel, as depmod describes them: their names, their dependencies, and their bytes.
//!
//! | file | content |
//! |---|---|
//! | [`name`] | a module's name, for which `-` and `_` are one letter |
//! | [`index`] | modules.dep, modules.alias, modules.softdep, modules.builtin as one index |
//! | [`closure`] | the modules that must be loaded for a module, in load order |
//! | [`mod@file`] | a module's bytes, decompressed and checked |

pub mod closure;
pub mod file;
pub mod index;
pub mod name;

use std::{fmt, io, path::PathBuf};

pub use index::{Found, Index};
pub use name::ModuleName;

/// The reason why the modules of a kernel cannot be used.
#[derive(Debug)]
pub enum Error {
    /// A file of depmod or a module cannot be read.
    Read {
        /// Which file.
        path: PathBuf,
        /// The error of the system.
        error: io::Error,
    },
    /// The file modules.dep is missing.
    NoDep {
        /// The path at which it was looked for.
        path: PathBuf,
        /// The kernel's release, for the advice.
        release: String,
    },
    /// A line of depmod's files is not what depmod writes.
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, the first is 1.
        line: usize,
        /// The fault.
        why: &'static str,
    },
    /// modules.dep makes a module depend on one that it does not list.
    Dangling {
        /// The module that needs.
        module: ModuleName,
        /// The module that is not there.
        needs: ModuleName,
    },
    /// A module cannot be decompressed, or is not a module of this kernel.
    Content {
        /// Which file.
        path: PathBuf,
        /// The fault, and the remedy.
        why: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, error } => {
                write!(f, "read {}: {error}: check that it is there and readable", path.display())
            }
            Self::NoDep { path, release } => {
                write!(f, "read {}: not there: run `depmod {release}` on that tree first", path.display())
            }
            Self::Line { path, line, why } => {
                write!(f, "read {}, line {line}: {why}: run depmod on that tree again", path.display())
            }
            Self::Dangling { module, needs } => {
                write!(
                    f,
                    "modules.dep: {module} needs {needs}, which it does not list: run depmod on that tree again"
                )
            }
            Self::Content { path, why } => write!(f, "module {}: {why}", path.display()),
        }
    }
}

impl core::error::Error for Error {}
