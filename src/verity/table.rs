//! The device-mapper table of a verity device, and the name that cryptsetup gives such a device.

use std::prelude::v1::*;

use uuid::Uuid;

use super::{
    options::Options,
    root_hash::{Hex, RootHash},
    superblock::Superblock,
};
use crate::units::{DeviceNumber, Sector512};

/// One line of a device-mapper table: `0 <sectors> verity <params>`. The device is to be created read-only.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Table {
    /// The device's length.
    pub sectors: Sector512,
    /// The parameters behind the target type.
    pub params: String,
}

impl Table {
    /// The target type.
    pub const TARGET: &'static str = "verity";

    /// The table for `data` under the tree on `hash`, whose superblock is at its beginning. With the name of a key in the kernel's
    /// keyring that is the root hash's signature, the kernel refuses the table unless a certificate of its own vouches for it.
    ///
    /// Source: the kernel's `Documentation/admin-guide/device-mapper/verity.rst`, "Construction Parameters".
    pub fn new(
        superblock: &Superblock,
        root_hash: &RootHash,
        data: DeviceNumber,
        hash: DeviceNumber,
        options: &Options,
        signature: Option<&str>,
    ) -> Self {
        let salt = match superblock.salt.as_slice() {
            [] => "-".into(),
            salt => Hex(salt).to_string(),
        };
        let mut params = format!(
            "{} {data} {hash} {} {} {} {} {} {root_hash} {salt}",
            superblock.hash_type.number(),
            superblock.data_block_size,
            superblock.hash_block_size,
            superblock.data_blocks,
            superblock.hash_start(),
            superblock.algorithm.name(),
        );
        let mut words: Vec<&str> = options.words().collect();
        words.extend(signature.map(|key| ["root_hash_sig_key_desc", key]).into_iter().flatten());
        if !words.is_empty() {
            params.push_str(&format!(" {} {}", words.len(), words.join(" ")));
        }
        Self { sectors: Sector512(superblock.data_length().0 / 512), params }
    }
}

/// The uuid of a verity device in device-mapper, as cryptsetup forms it and other tools recognise it: at most 128 bytes.
pub fn dm_uuid(uuid: Uuid, name: &str) -> String {
    let mut text = match uuid.is_nil() {
        true => format!("CRYPT-VERITY-{name}"),
        false => format!("CRYPT-VERITY-{}-{name}", uuid.simple()),
    };
    // The kernel's field has 129 bytes with the final zero.
    let end = (0..=128.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.truncate(end);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verity::{Algorithm, HashType, OnCorruption, OnError, Signature};

    /// The example of the kernel's documentation ("Set up a device"): `0 2097152 verity 1 /dev/sda1 /dev/sda2 4096 4096
    /// 262144 1 sha256 4392… 1234…`, with numbers for the devices.
    #[test]
    fn the_table_is_that_of_the_kernels_documentation() {
        let root = "4392712ba01368efdf14b05c76f9e4df0d53664630b5d48632ed17a137f39076";
        let superblock = Superblock {
            hash_type: HashType::Normal,
            uuid: Uuid::nil(),
            algorithm: Algorithm::Sha256,
            data_block_size: 4096,
            hash_block_size: 4096,
            data_blocks: 262_144,
            salt: [vec![0x12, 0x34], vec![0; 30]].concat(),
        };
        let device = |minor| DeviceNumber { major: 8, minor };
        let table = |superblock: &Superblock, options| {
            Table::new(superblock, &root.parse().unwrap(), device(1), device(2), &options, None)
        };
        let salt = format!("1234{}", "0".repeat(60));
        let plain = format!("1 8:1 8:2 4096 4096 262144 1 sha256 {root} {salt}");
        assert_eq!(
            table(&superblock, Options::default()),
            Table { sectors: Sector512(2_097_152), params: plain.clone() }
        );
        let options =
            Options { on_corruption: OnCorruption::Panic, on_error: OnError::Panic, ..Options::default() };
        assert_eq!(
            table(&superblock, options).params,
            format!("{plain} 2 panic_on_corruption panic_on_error")
        );
        let key = Signature::key_description(Uuid::from_bytes([0xab; 16]), "usr");
        let root = root.parse().unwrap();
        assert_eq!(
            Table::new(&superblock, &root, device(1), device(2), &Options::default(), Some(&key)).params,
            format!("{plain} 2 root_hash_sig_key_desc cryptsetup:abababab-abab-abab-abab-abababababab-usr")
        );
        let unsalted = Superblock { salt: vec![], ..superblock };
        assert_eq!(
            table(&unsalted, Options::default()).params,
            format!("1 8:1 8:2 4096 4096 262144 1 sha256 {root} -")
        );
    }

    #[test]
    fn the_uuid_is_that_of_cryptsetup() {
        let uuid = Uuid::from_bytes([0xab; 16]);
        assert_eq!(dm_uuid(uuid, "usr"), format!("CRYPT-VERITY-{}-usr", "ab".repeat(16)));
        assert_eq!(dm_uuid(Uuid::nil(), "usr"), "CRYPT-VERITY-usr");
        assert_eq!(dm_uuid(uuid, &"x".repeat(200)).len(), 128);
        assert_eq!(dm_uuid(uuid, &"ä".repeat(200)).len(), 128);
    }
}
