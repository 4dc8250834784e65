//! What repart.d asks for, and where it goes: definitions and a partition table in, new partitions out.
//!
//! Same files, same meaning, same result as systemd-repart 257, for the part that the first boot needs: partitions of
//! type root. A word of policy that is not understood refuses before anything is written; an unknown key only warns.
//! Partitions that exist are never moved, resized or removed.
//!
//! Source: repart.d(5); for sizes, places and UUIDs the behaviour of systemd-repart, which the tests compare with.

mod definition;
mod derive;
mod error;
mod ini;
mod place;
mod plan;
#[cfg(feature = "std")]
mod read;
mod size;

pub use definition::{Definition, Definitions, Encrypt, Format, Source, Warning};
pub use derive::{file_system_uuid, luks_uuid, partition_uuid};
pub use error::RepartError;
pub use plan::{NewPartition, Plan, plan};
