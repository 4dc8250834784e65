//! dm-verity: the superblock in front of a hash tree, the root hash that vouches for it and its signature, the device-mapper table.
//!
//! The superblock is input from a stranger and is not covered by the root hash. It decides nothing that the root hash
//! does not check afterwards: a wrong salt, algorithm or size gives hashes that do not match. The checks here keep a
//! forged one from reaching the kernel with absurd numbers.
//!
//! Sources: cryptsetup's on-disk format ("DMVerity" in its wiki), the kernel's
//! `Documentation/admin-guide/device-mapper/verity.rst`.

mod options;
mod root_hash;
mod signature;
mod superblock;
mod table;
mod tree;

pub use options::{OnCorruption, OnError, Options};
pub use root_hash::{RootHash, RootHashError};
pub use signature::{SIGNATURE_PARTITION_MAX, Signature, SignatureError, SignatureSource};
pub use superblock::{Algorithm, HashType, LENGTH, Superblock, VerityError};
pub use table::{Table, dm_uuid};
pub use tree::{Fault, Tree};
