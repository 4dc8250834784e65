//! Empty file systems, made by us: each is a pure function from a few parameters to a plan of writes
//! ([`crate::writes::Writes`]). Nothing here touches a device, so the same code runs in PID 1, in the host tool and in
//! a test. One folder or file per file system belongs here, with its formats and its layout.
//!
//! [`Recipe`] serves callers that learn the format at run time: its name in repart.d or on a command line.

pub mod btrfs;
pub mod ext4;
pub mod swap;
pub mod vfat;

mod crc32c;
mod error;
mod label;
mod recipe;
mod record;

pub use error::MkfsError;
pub use recipe::{Params, Recipe};
