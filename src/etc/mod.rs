//! What must lie in a new root before systemd starts: its base directories, its /etc, its machine id.
//!
//! Everything here works below directory descriptors that the caller opened and never follows a symbolic link that a
//! stranger's root could hold. Nothing here syncs: the caller flushes the whole file system once, at its commit.
//!
//! | module | what belongs there |
//! |---|---|
//! | [`base`] | directories and links without which nothing can be executed |
//! | [`factory`] | the complete copy of the factory's /etc |
//! | [`machine_id`] | the states of /etc/machine-id, and the id that is kept beside it |
//! | [`tree`] | looking up paths in a root whose /usr is mounted elsewhere |

pub mod base;
mod copy;
mod error;
pub mod factory;
pub mod machine_id;
pub mod tree;

pub use error::{EtcError, Side};
