//! System users: sysusers.d definitions → passwd, group, shadow, gshadow.
//!
//! Does what systemd-sysusers 257 does with `--root=` (sysusers.d(5)): same files, same order of allocation, same lines.
//! The tests run both and compare byte for byte. Where we differ on purpose: comments and empty lines of existing
//! databases are kept (the tool loses them), a line of a database that cannot be read as an entry is an error (the tool drops
//! it), and an existing entry is copied as it is, never printed anew. And paths are looked up inside the root: the tool's `--root=`
//! follows absolute links out of it.
//!
//! | module | content |
//! |---|---|
//! | [`definition`] | what all files ask for: [`Definitions`] |
//! | [`item`] | the user, group, member or range that a line asks for |
//! | `line` | one line |
//! | [`message`] | what is said on the way, in the tool's words |
//! | [`names`] | which names, ids, texts and paths are valid |
//! | [`range`] | the pool that free ids come from |
//! | [`database`] | the entries of the four files |
//! | [`allocate`] | who gets which id |
//! | [`surroundings`], [`password`] | what new entries take from the machine: credentials, owners, shells |
//! | [`mod@plan`] | the new content of the four files |
//! | [`search`] | which files of sysusers.d count (std) |
//! | `lock` | the lock of lckpwdf(3), and waiting for it (std) |
//! | [`apply`] | reading and replacing the four files (std) |

pub mod allocate;
pub mod database;
pub mod definition;
pub mod item;
mod line;
pub mod message;
pub mod names;
pub mod password;
pub mod plan;
pub mod range;
pub mod surroundings;

#[cfg(feature = "std")]
pub mod apply;
#[cfg(feature = "std")]
mod error;
#[cfg(feature = "std")]
mod lock;
#[cfg(feature = "std")]
pub mod search;

#[cfg(feature = "std")]
pub use apply::{Options, Report, add, add_defined};
pub use database::{DatabaseError, Databases};
pub use definition::Definitions;
#[cfg(feature = "std")]
pub use error::SysusersError;
#[cfg(feature = "std")]
pub use lock::Waiting;
pub use message::Message;
pub use plan::{Plan, plan};
pub use surroundings::{Credentials, Surroundings};

pub use crate::fragments::Facts;
