//! The structures on a disk that describe it: the partition table, the discoverable types, the slots of /usr,
//! superblocks.
//!
//! Everything here is untrusted input until dm-verity or dm-crypt vouches for it: parsed by total functions, with
//! bounded memory, once.

pub mod filter;
#[cfg(feature = "std")]
pub mod gpt;
pub mod label;
pub mod label_version;
pub mod partition;
pub mod probe;
pub mod slot;
#[cfg(feature = "std")]
pub mod transaction;
mod type_table;
pub mod types;
pub mod validatefs;
