//! The errors of a run.

use core::fmt;

use rustix::io::Errno;

use super::DatabaseError;
use crate::fragments::search::SearchError;

/// The reason that the databases were left as they were.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SysusersError {
    /// A system call failed.
    Call {
        /// The step that failed.
        step: &'static str,
        /// Its path, as seen from the root.
        path: String,
        /// The error of the call.
        errno: Errno,
    },
    /// A database is not understood.
    Database(DatabaseError),
}

impl SysusersError {
    pub(super) fn call(step: &'static str, path: impl fmt::Display) -> impl FnOnce(Errno) -> Self {
        move |errno| Self::Call { step, path: path.to_string(), errno }
    }
}

impl fmt::Display for SysusersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call { step, path, errno: errno @ Errno::LOOP } => {
                write!(
                    f,
                    "cannot {step} {path} of the root: it is a symbolic link ({errno}), put a real file there"
                )
            }
            Self::Call { step: step @ "lock", path, errno: errno @ (Errno::AGAIN | Errno::ACCESS) } => {
                write!(
                    f,
                    "cannot {step} {path} of the root: another program changes users right now ({errno})"
                )
            }
            Self::Call { step: "lock", path, errno: Errno::INVAL } => {
                write!(f, "cannot lock {path} of the root: it is not a regular file, remove it")
            }
            Self::Call { step, path, errno } => write!(f, "cannot {step} {path} of the root: {errno}"),
            Self::Database(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for SysusersError {}

impl From<DatabaseError> for SysusersError {
    fn from(error: DatabaseError) -> Self {
        Self::Database(error)
    }
}

impl From<SearchError> for SysusersError {
    fn from(SearchError { step, path, errno }: SearchError) -> Self {
        Self::Call { step, path, errno }
    }
}
