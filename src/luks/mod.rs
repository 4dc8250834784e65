//! LUKS2: reading a header, unlocking it with a key, and making a new volume.
//!
//! | file | noun |
//! |---|---|
//! | `binary` | the 4096-byte binary header of one copy: layout and checksum |
//! | `header` | the chosen copy of the two, and its content |
//! | `metadata` | the JSON text as checked types: keyslots, digests, segments, configuration |
//! | `segment` | the encrypted range and its dm-crypt table |
//! | `keyslot` | one way to the volume key: area, splitter, key derivation |
//! | `kdf` | Argon2 and PBKDF2 |
//! | `hardened` | a PIN of which Argon2 makes two halves, one of them for a TPM |
//! | `budget` | the memory and the work that an unlock may cost |
//! | `af` | the anti-forensic splitter |
//! | `digest` | the check of a volume key |
//! | `unlock` | from a key to the volume key |
//! | `recovery_key` | the key that systemd-cryptenroll prints for people to keep in a drawer |
//! | `new_keyslot` | a keyslot in the making: its area and its text |
//! | `format` | a new volume as a plan of writes |
//! | `edit` | a change of the header as a plan of writes |
//! | `repair` | a damaged copy written again from its twin |
//! | `erase` | the end of a volume as a plan of writes |
//!
//! A header comes from a disk that anybody may have written. Nothing in it is used before it was checked: text and
//! object counts are bounded, areas lie inside the keyslots area and apart from each other, costs are paid from a
//! [`Budget`] that the caller gives, and a cipher that would quietly switch encryption off (`cipher_null`) is refused.
//!
//! References: LUKS2 On-Disk Format Specification 1.1.3 (gitlab.com/cryptsetup/LUKS2-docs), cryptsetup 2.7.

mod af;
mod binary;
mod budget;
mod content;
mod digest;
mod edit;
mod erase;
mod error;
mod format;
mod hardened;
mod hash;
mod header;
mod json;
mod kdf;
mod keyslot;
mod metadata;
mod new_keyslot;
mod recovery_key;
mod repair;
mod segment;
mod unlock;
mod xts;

use std::prelude::v1::*;

use uuid::Uuid;

pub use binary::LABEL_MAX;
pub use budget::Budget;
pub use content::CONTENT_SECTOR;
pub use edit::AddKeyslot;
pub use erase::erase;
pub use error::{LUKS1, LuksError, Skipped};
pub use format::{DATA_OFFSET, FormatParams, format};
pub use hardened::harden;
pub use header::{Complaint, Header, Origin};
pub use new_keyslot::NewKdf;
pub use recovery_key::RecoveryKey;
pub use segment::{Flags, Segment, SegmentSize};
pub use unlock::VolumeKey;

/// The longest device-mapper UUID the kernel takes (DM_UUID_LEN of linux/dm-ioctl.h without its final NUL).
const DM_UUID_MAX: usize = 128;

/// The description under which libcryptsetup keeps a volume key in the kernel's keyring, key type `logon`:
/// `cryptsetup:<uuid>-d<digest>`. dm-crypt's table names the key by it.
pub fn key_description(uuid: Uuid, digest: u32) -> String {
    format!("cryptsetup:{uuid}-d{digest}")
}

/// The device-mapper UUID of an open LUKS2 volume, `CRYPT-LUKS2-<32 hex digits>-<name>`: udev's rules, lsblk and
/// `cryptsetup status` recognise the volume by it. Cut to the limit of the kernel, as by libcryptsetup.
pub fn dm_uuid(uuid: Uuid, name: &str) -> String {
    let mut text = format!("CRYPT-LUKS2-{}-{name}", uuid.simple());
    let mut end = text.len().min(DM_UUID_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: Uuid = Uuid::from_u128(0xbc5e8cf8_78c9_4eef_a5d6_8f3a59cfb448);

    #[test]
    fn names_are_those_of_libcryptsetup() {
        assert_eq!(key_description(UUID, 0), "cryptsetup:bc5e8cf8-78c9-4eef-a5d6-8f3a59cfb448-d0");
        assert_eq!(dm_uuid(UUID, "root"), "CRYPT-LUKS2-bc5e8cf878c94eefa5d68f3a59cfb448-root");
        assert_eq!(dm_uuid(UUID, &"ä".repeat(99)).len(), 127, "cut at a whole character");
    }
}
