//! The encrypted range of a volume, and the table by which dm-crypt opens it (LUKS2 specification section 3.3, Linux'
//! Documentation/admin-guide/device-mapper/dm-crypt.rst).

use std::prelude::v1::*;

use core::fmt::Write as _;

use super::{error::LuksError, json::Node};
use crate::units::{Bytes, DeviceNumber, Sector512};

/// The cipher that is opened here: what cryptsetup and systemd make on every machine with AES.
pub(super) const CIPHER: &str = "aes-xts-plain64";

/// The encrypted range of a volume.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Its number, by which digests refer to it.
    pub number: u32,
    /// The start on the device, in bytes, a multiple of 512.
    pub offset: Bytes,
    /// The length.
    pub size: SegmentSize,
    /// The number of the first sector, for the initialisation vector.
    pub iv_tweak: u64,
    /// The cipher, in the words of dm-crypt.
    pub cipher: &'static str,
    /// The unit of encryption in bytes: 512, 1024, 2048 or 4096.
    pub sector_size: u32,
}

/// The length of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SegmentSize {
    /// Up to the end of the device.
    Dynamic,
    /// So many bytes.
    Fixed(Bytes),
}

/// Options of dm-crypt that a header or a policy asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flags {
    /// Discards reach the device; they show which sectors are in use.
    pub allow_discards: bool,
    /// Encrypt on the CPU that asked.
    pub same_cpu_crypt: bool,
    /// Submits writes from the encrypting thread instead of the one that sorts them.
    pub submit_from_crypt_cpus: bool,
    /// Decrypt without a workqueue.
    pub no_read_workqueue: bool,
    /// Encrypt without a workqueue.
    pub no_write_workqueue: bool,
    /// The workqueues are of high priority.
    pub high_priority: bool,
}

impl Segment {
    /// Checks a segment of a volume whose header and keyslots end at `data_start`.
    pub(super) fn parse(number: u32, node: &Node, data_start: u64) -> Result<Self, LuksError> {
        let kind = node.get("type")?;
        let (offset, size) = (node.get("offset")?, node.get("size")?);
        let start = offset.long()?;
        if start < data_start || !start.is_multiple_of(512) {
            return Err(offset.invalid("not a multiple of 512 behind the keyslots area"));
        }
        let length = match size.text()? {
            "dynamic" => SegmentSize::Dynamic,
            _ => SegmentSize::Fixed(Bytes(size.long()?)),
        };
        // Marks of a re-encryption, and their future values: only their form is checked.
        if let Some(flags) = node.find("flags") {
            flags.texts()?;
        }
        if kind.text()? != "crypt" {
            return Err(kind.unsupported());
        }
        if let Some(integrity) = node.find("integrity") {
            return Err(LuksError::Unsupported { path: integrity.path(), value: "set".into() });
        }
        let encryption = node.get("encryption")?;
        if is_null(encryption.text()?) {
            return Err(LuksError::NullCipher { path: encryption.path() });
        }
        if encryption.text()? != CIPHER {
            return Err(encryption.unsupported());
        }
        let sector_node = node.get("sector_size")?;
        let sector_size = sector_node.number()?;
        if !matches!(sector_size, 512 | 1024 | 2048 | 4096) {
            return Err(sector_node.invalid("not 512, 1024, 2048 or 4096"));
        }
        if let SegmentSize::Fixed(Bytes(length)) = length {
            let end = start.checked_add(length);
            if length == 0 || !length.is_multiple_of(u64::from(sector_size)) || end.is_none() {
                return Err(size.invalid("not a number of whole sectors"));
            }
        }
        Ok(Self {
            number,
            offset: Bytes(start),
            size: length,
            iv_tweak: node.get("iv_tweak")?.long()?,
            cipher: CIPHER,
            sector_size,
        })
    }

    /// The length of the open volume on a device of `device` bytes.
    ///
    /// # Errors
    /// The device ends before the segment does, or not at a sector's end: dm-crypt would refuse the table.
    pub fn sectors(&self, device: Bytes) -> Result<Sector512, LuksError> {
        let wrong = |problem| LuksError::DeviceSize { device, problem };
        let room = device.0.checked_sub(self.offset.0).filter(|room| *room > 0);
        let room = room.ok_or_else(|| wrong("ends before the encrypted data begins"))?;
        let length = match self.size {
            SegmentSize::Dynamic => room,
            SegmentSize::Fixed(Bytes(length)) if length <= room => length,
            SegmentSize::Fixed(_) => return Err(wrong("ends within the encrypted data")),
        };
        if !length.is_multiple_of(u64::from(self.sector_size)) {
            return Err(wrong("does not end with a whole encryption sector"));
        }
        Bytes(length).sectors().ok_or_else(|| wrong("does not end with a whole sector"))
    }

    /// The parameters of dm-crypt's table line: `<cipher> <key> <iv offset> <device> <offset> [<n> <option>...]`. The key is
    /// named, never given: `:<bytes>:logon:<description>`, see [`key_description`](super::key_description).
    pub fn table_params(
        &self,
        key_bytes: usize,
        key_description: &str,
        device: DeviceNumber,
        flags: &Flags,
    ) -> String {
        let mut table = format!(
            "{} :{key_bytes}:logon:{key_description} {} {device} {}",
            self.cipher,
            self.iv_tweak,
            self.offset.0 / 512
        );
        let sector_size = format!("sector_size:{}", self.sector_size);
        let options: Vec<&str> = [
            ("allow_discards", flags.allow_discards),
            ("same_cpu_crypt", flags.same_cpu_crypt),
            ("submit_from_crypt_cpus", flags.submit_from_crypt_cpus),
            ("no_read_workqueue", flags.no_read_workqueue),
            ("no_write_workqueue", flags.no_write_workqueue),
            ("high_priority", flags.high_priority),
            (sector_size.as_str(), self.sector_size != 512),
        ]
        .into_iter()
        .filter_map(|(option, wanted)| wanted.then_some(option))
        .collect();
        if !options.is_empty() {
            // Writing to a string cannot fail.
            let _ = write!(table, " {} {}", options.len(), options.join(" "));
        }
        table
    }
}

/// Returns true when `encryption` names the cipher that encrypts nothing, in one of its spellings: `cipher_null`,
/// `cipher_null-ecb`, `null`, `capi:ecb(cipher_null)-plain64`.
pub(super) fn is_null(encryption: &str) -> bool {
    encryption.contains("cipher_null") || encryption == "null" || encryption.starts_with("null-")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: DeviceNumber = DeviceNumber { major: 254, minor: 2 };

    fn segment(size: SegmentSize, sector_size: u32) -> Segment {
        Segment { number: 0, offset: Bytes(16 << 20), size, iv_tweak: 0, cipher: CIPHER, sector_size }
    }

    #[test]
    fn the_table_is_the_one_cryptsetup_loads() {
        // In the layout of dm-crypt.rst, with the key by name as libcryptsetup gives it.
        for (segment, flags, table) in [
            (
                segment(SegmentSize::Dynamic, 512),
                Flags::default(),
                "aes-xts-plain64 :64:logon:cryptsetup:u-d0 0 254:2 32768",
            ),
            (
                segment(SegmentSize::Dynamic, 4096),
                Flags { allow_discards: true, no_read_workqueue: true, ..Flags::default() },
                "aes-xts-plain64 :64:logon:cryptsetup:u-d0 0 254:2 32768 3 allow_discards no_read_workqueue \
                 sector_size:4096",
            ),
        ] {
            assert_eq!(segment.table_params(64, "cryptsetup:u-d0", DEVICE, &flags), table);
        }
    }

    #[test]
    fn the_length_fits_the_device() {
        let start = 16 << 20;
        for (size, sector_size, device, sectors) in [
            (SegmentSize::Dynamic, 4096, start + 8192, Some(16)),
            (SegmentSize::Dynamic, 4096, start + 8192 + 512, None),
            (SegmentSize::Dynamic, 512, start + 512, Some(1)),
            (SegmentSize::Dynamic, 512, start + 100, None),
            (SegmentSize::Dynamic, 512, start, None),
            (SegmentSize::Dynamic, 512, 0, None),
            (SegmentSize::Fixed(Bytes(4096)), 4096, start + 9000, Some(8)),
            (SegmentSize::Fixed(Bytes(4096)), 512, start + 4095, None),
        ] {
            let found = segment(size, sector_size).sectors(Bytes(device)).ok();
            assert_eq!(found, sectors.map(Sector512), "{size:?} {sector_size} {device}");
        }
    }

    #[test]
    fn every_spelling_of_no_encryption_is_known() {
        for encryption in
            ["cipher_null", "cipher_null-ecb", "null", "null-ecb", "capi:ecb(cipher_null)-plain64"]
        {
            assert!(is_null(encryption), "{encryption}");
        }
        assert!(!is_null(CIPHER));
    }
}
