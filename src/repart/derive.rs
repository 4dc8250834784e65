//! UUIDs that follow from the seed: the same seed, the same partitions.
//!
//! Source: repart.d(5), `UUID=`; the messages are those of systemd-repart, so that either can be checked by the other.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use uuid::{Builder, Uuid};

/// The UUID of the `counter`th new or existing partition of a type, from 0.
pub fn partition_uuid(seed: Uuid, type_guid: Uuid, counter: u64) -> Uuid {
    match counter {
        0 => derive(seed, &[type_guid.as_bytes()]),
        _ => derive(seed, &[type_guid.as_bytes(), &counter.to_le_bytes()]),
    }
}

/// The UUID of the file system on the partition `partition`.
pub fn file_system_uuid(partition: Uuid) -> Uuid {
    derive(partition, &[b"file-system-uuid"])
}

/// The UUID of the LUKS header on the partition `partition`.
pub fn luks_uuid(partition: Uuid) -> Uuid {
    derive(partition, &[b"luks-uuid"])
}

/// The GUID of a disk whose table is made.
pub fn disk_uuid(seed: Uuid) -> Uuid {
    derive(seed, &[b"disk-uuid"])
}

/// The first half of HMAC-SHA256, marked as a random (version 4) UUID.
fn derive(key: Uuid, message: &[&[u8]]) -> Uuid {
    // A key of any length is fine for an HMAC; the error exists for other MACs.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.as_bytes()) else {
        return Uuid::nil();
    };
    message.iter().for_each(|part| mac.update(part));
    let digest = mac.finalize().into_bytes();
    Builder::from_random_bytes(digest.first_chunk().copied().unwrap_or_default()).into_uuid()
}
