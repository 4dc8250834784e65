//! The files that a root needs before systemd starts: its base directories, its /etc, its machine id.
//!
//! Everything here works below directory descriptors that the caller opened and never follows a symbolic link that a
//! stranger's root could hold, but for /var and /etc/machine-id, which are resolved inside the root. Writes into a root in use are crash-safe ([`atomic`], [`follow`]); those into one that
//! the first boot is making are not flushed: the caller flushes the whole file system once, at its commit.
//!
//! | module | content |
//! |---|---|
//! | [`base`] | directories and links without which no program can be executed |
//! | [`rules`] | the strategy for each path: track, copy, symlink, none |
//! | [`entry`] | the description of one file of a tree |
//! | [`manifest`] | the factory's entries, as a file on the root |
//! | [`users`] | merging passwd, group, shadow and gshadow by entry |
//! | [`mod@plan`] | given before × present × given now → steps |
//! | [`compare`] | the deviations of /etc from the factory |
//! | [`factory`] | the factory's place, and the complete copy of it (std) |
//! | [`follow`] | bringing a root to another factory (std) |
//! | [`store`] | files kept on the root (std) |
//! | [`atomic`] | files that are old or new, never in between (std) |
//! | [`machine_id`] | the states of /etc/machine-id, and the id that is kept beside it (std) |

pub mod compare;
pub mod entry;
pub mod manifest;
pub mod plan;
pub mod rules;
pub mod users;

#[cfg(feature = "std")]
mod apply;
#[cfg(feature = "std")]
pub mod atomic;
#[cfg(feature = "std")]
pub mod base;
#[cfg(feature = "std")]
mod copy;
#[cfg(feature = "std")]
mod error;
#[cfg(feature = "std")]
pub mod factory;
#[cfg(feature = "std")]
pub mod follow;
#[cfg(feature = "std")]
mod label;
#[cfg(feature = "std")]
pub mod machine_id;
#[cfg(feature = "std")]
mod room;
#[cfg(feature = "std")]
pub mod scan;
#[cfg(feature = "std")]
pub mod store;

#[cfg(feature = "std")]
pub use error::{EtcError, Side};
pub use plan::{Deviation, Plan, Step, plan};
pub use rules::{Rules, Strategy};

/// The directory in /etc where an update stages new files.
#[cfg(feature = "std")]
const STAGED: &str = ".hermetic-init";
