//! System users: sysusers.d definitions → passwd, group, shadow, gshadow.
//!
//! Does what systemd-sysusers 257 does with `--root=` (sysusers.d(5)): same files, same order of allocation, same lines.
//! The tests run both and compare byte for byte. Where we differ on purpose: comments and empty lines of existing
//! databases are kept (the tool loses them), a line of a database that cannot be read as an entry is an error (the tool drops
//! it), and an existing entry is copied as it is, never printed anew. And paths are looked up inside the root: the tool's `--root=`
//! follows absolute links out of it.
//!
//! | module | what belongs there |
//! |---|---|
//! | [`definition`] | lines of sysusers.d → [`Definitions`] |
//! | [`names`] | which names, ids, texts and paths are valid |
//! | [`range`] | the pool that free ids come from |
//! | [`database`] | the entries of the four files |
//! | [`allocate`] | who gets which id |
//! | [`mod@plan`] | the new content of the four files |
//! | [`search`] | reading the files of sysusers.d (std) |
//! | [`apply`] | reading and replacing the four files (std) |

pub mod allocate;
pub mod database;
pub mod definition;
pub mod names;
pub mod plan;
pub mod range;

#[cfg(feature = "std")]
pub mod apply;
#[cfg(feature = "std")]
pub mod search;

#[cfg(feature = "std")]
pub use apply::{Flush, Report, SysusersError, populate};
pub use database::{DatabaseError, Databases};
pub use definition::Definitions;
pub use plan::{Credentials, Plan, plan};

pub use crate::fragments::{Facts, LineError};
