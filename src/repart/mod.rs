//! The partitions that repart.d asks for, and their places: definitions and a partition table in, new partitions out.
//!
//! Same files, same meaning, same result as systemd-repart 262. A word of policy that is not understood is refused
//! before anything is written, as is one that cannot be carried out; an unknown key only warns. Partitions that exist
//! never shrink, move or go; those that a definition means may grow.
//!
//! Existing partitions that a definition encrypts have to be admitted first (`admission`).
//!
//! The way of a definition: `read` (files) → `ini`, `fields`, `size`, `parse` (lines), `keys` (a row each), `value`
//! (values) → `check` (implications, contradictions) → `element` (beside the partitions of a disk) → `allocate` (gaps)
//! → `grow` (sizes, places) → `plan` → `decide` (the content of each new partition, and the steps). `support` says
//! which of these can be carried out, `making` has the results.
//!
//! Source: repart.d(5); for sizes, places and UUIDs the behaviour of systemd-repart, which the tests compare with.

mod admission;
mod allocate;
mod check;
mod copied;
mod decide;
mod deferred;
mod definition;
mod derive;
mod element;
mod error;
mod fields;
mod grow;
mod ini;
mod keys;
mod making;
mod merge;
mod parse;
mod plan;
#[cfg(feature = "std")]
mod read;
mod size;
mod support;
mod validate;
mod value;
mod vocabulary;
mod volume;

pub use admission::{Protection, admit, encrypted};
pub use copied::{Copied, measure, not_booted};
#[cfg(feature = "std")]
pub use decide::Decision;
pub use decide::{Content, Creation, Filling, Openers, Surroundings, Terms, Unsealed, creations};
pub use deferred::Deferred;
pub use definition::{Definitions, Source, Warning};
pub use derive::{disk_uuid, file_system_uuid, luks_uuid, partition_uuid};
pub use element::matched;
pub use error::RepartError;
pub use keys::{Definition, Maker};
#[cfg(feature = "std")]
pub use making::demand_root;
pub use making::{Course, Room, course, plan_of_boot};
pub use parse::{Filter, Reading};
pub use plan::{Adopted, Dropped, Foreign, NewPartition, Plan, Reason, least_disk, plan};
#[cfg(feature = "std")]
pub use read::Search;
pub use size::parse as parse_size;
pub use support::refuse;
pub use validate::constraints;
pub use vocabulary::{
    CopyBlocks, CopyFiles, Encrypt, EncryptedVolume, Format, MountPoint, Place, Subvolume, Symlink, Verity,
};
pub use volume::{EncryptKdf, Integrity};

#[cfg(test)]
mod tests;
