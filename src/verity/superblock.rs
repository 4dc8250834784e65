//! The superblock: 512 bytes in front of the hash tree that say how the tree was made.
//!
//! Source: cryptsetup, `lib/verity/verity.c` (read for the format).

use core::fmt;
use std::prelude::v1::*;

use uuid::Uuid;

use super::root_hash::RootHash;
use crate::units::Bytes;

/// Bytes in a superblock.
pub const LENGTH: usize = 512;

/// The layout of salt and digests in the tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HashType {
    /// 0: the salt follows the data, digests are packed. Chromium OS.
    ChromeOs,
    /// 1: the salt precedes the data, digests are padded to powers of two.
    Normal,
}

impl HashType {
    /// As it stands in superblock and table.
    pub fn number(self) -> u32 {
        match self {
            Self::ChromeOs => 0,
            Self::Normal => 1,
        }
    }
}

/// The hash functions that are accepted. SHA-1 and all others of the kernel are refused: the root hash alone protects
/// /usr against a stranger's disk, and a preimage of a weak one would defeat it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    /// SHA-256, what every image builder uses.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// The kernel's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// Bytes in a digest, and so in the root hash.
    pub fn digest_length(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

/// The parameters of a hash tree. Every field was checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Superblock {
    /// The tree's layout.
    pub hash_type: HashType,
    /// The tree's identity; part of the device's uuid in device-mapper.
    pub uuid: Uuid,
    /// The hash function.
    pub algorithm: Algorithm,
    /// Bytes in a block of data: a power of two from 512 to 4096.
    pub data_block_size: u32,
    /// Bytes in a block of the tree: likewise.
    pub hash_block_size: u32,
    /// Blocks of data under the tree, never 0.
    pub data_blocks: u64,
    /// At most 256 bytes.
    pub salt: Vec<u8>,
}

/// The reason why a superblock is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum VerityError {
    /// Fewer than 512 bytes, or no `verity` at their beginning.
    NoSuperblock,
    /// A field has a value that it cannot have, or that we do not accept.
    Field {
        /// The field.
        field: &'static str,
        /// Its offset in the superblock.
        offset: usize,
        /// Its value.
        value: u64,
    },
    /// A hash function that we do not accept; its name with everything unprintable replaced.
    Algorithm(String),
    /// The root hash has not as many bytes as the hash function gives.
    RootHashLength {
        /// The length that the hash function gives, in bytes.
        expected: usize,
        /// The length of the root hash, in bytes.
        found: usize,
    },
    /// The device is smaller than the superblock requires.
    TooSmall {
        /// `data` or `hash`.
        device: &'static str,
        /// The least size that is needed.
        needed: Bytes,
        /// The size that was found.
        found: Bytes,
    },
}

impl fmt::Display for VerityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuperblock => f.write_str(
                "no dm-verity superblock at the beginning of the hash partition; write the image again",
            ),
            Self::Field { field, offset, value } => {
                write!(f, "dm-verity superblock: {field} (offset {offset}) is {value}; write the image again")
            }
            Self::Algorithm(name) => write!(
                f,
                "dm-verity superblock: hash {name:?} is not accepted; make the tree with sha256, sha384 or sha512"
            ),
            Self::RootHashLength { expected, found } => write!(
                f,
                "the root hash has {found} bytes, the hash of the superblock gives {expected}; boot the kernel that belongs to this image"
            ),
            Self::TooSmall { device, needed, found } => write!(
                f,
                "the {device} partition has {found}, its dm-verity superblock describes {needed}; write the image again"
            ),
        }
    }
}

impl core::error::Error for VerityError {}

impl Superblock {
    /// Parses the first [`LENGTH`] bytes of a hash partition.
    ///
    /// Block sizes above 4096 are refused although the format allows them: the kernel wants them no larger than its
    /// page, and no image would boot everywhere.
    ///
    /// # Errors
    /// The first field that is not acceptable.
    pub fn parse(bytes: &[u8]) -> Result<Self, VerityError> {
        let block: &[u8; LENGTH] = bytes.first_chunk().ok_or(VerityError::NoSuperblock)?;
        if !block.starts_with(b"verity\0\0") {
            return Err(VerityError::NoSuperblock);
        }
        let fault = |field, offset, value| VerityError::Field { field, offset, value };
        let version = u32_at(block, 8);
        if version != 1 {
            return Err(fault("version", 8, version.into()));
        }
        let hash_type = match u32_at(block, 12) {
            0 => HashType::ChromeOs,
            1 => HashType::Normal,
            other => return Err(fault("hash type", 12, other.into())),
        };
        let name = block.get(32..64).unwrap_or_default();
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        let algorithm = [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512]
            .into_iter()
            .find(|algorithm| algorithm.name().as_bytes() == name)
            .ok_or_else(|| VerityError::Algorithm(String::from_utf8_lossy(name).into_owned()))?;
        let block_size = |field, offset| match u32_at(block, offset) {
            size if size.is_power_of_two() && (512..=4096).contains(&size) => Ok(size),
            size => Err(fault(field, offset, size.into())),
        };
        let data_block_size = block_size("data block size", 64)?;
        let hash_block_size = block_size("hash block size", 68)?;
        let data_blocks = u64::from_le_bytes(array_at(block, 72));
        // Device-mapper counts in sectors of 512 bytes and block layer offsets are signed: 2^63 bytes is the end.
        let bytes = data_blocks.checked_mul(data_block_size.into()).filter(|bytes| *bytes < 1 << 63);
        if data_blocks == 0 || bytes.is_none() {
            return Err(fault("number of data blocks", 72, data_blocks));
        }
        let salt_length = u16::from_le_bytes(array_at(block, 80));
        if salt_length > 256 {
            return Err(fault("salt size", 80, salt_length.into()));
        }
        Ok(Self {
            hash_type,
            uuid: Uuid::from_bytes(array_at(block, 16)),
            algorithm,
            data_block_size,
            hash_block_size,
            data_blocks,
            salt: block.get(88..88 + usize::from(salt_length)).unwrap_or_default().to_vec(),
        })
    }

    /// The block of the tree, counted from the beginning of the hash partition, in which the tree begins: the first one
    /// behind the superblock.
    pub fn hash_start(&self) -> u64 {
        (LENGTH as u64).div_ceil(u64::from(self.hash_block_size))
    }

    /// The number of digests in a block of the tree: as many as fit, rounded down to a power of two.
    pub(super) fn fan_out(&self) -> u64 {
        let digest = self.algorithm.digest_length() as u64;
        (u64::from(self.hash_block_size) / digest.next_power_of_two()).max(2)
    }

    /// The size of the data under the tree.
    pub fn data_length(&self) -> Bytes {
        Bytes(self.data_blocks.saturating_mul(u64::from(self.data_block_size)))
    }

    /// The size of superblock and tree on the hash partition.
    pub fn hash_length(&self) -> Bytes {
        let (mut level, mut blocks) = (self.data_blocks, self.hash_start());
        // The root hash covers one block: levels are added until one block is left, and one data block has no level.
        while level > 1 {
            level = level.div_ceil(self.fan_out());
            blocks = blocks.saturating_add(level);
        }
        Bytes(blocks.saturating_mul(u64::from(self.hash_block_size)))
    }

    /// Checks the superblock against the root hash and the sizes of both partitions.
    ///
    /// # Errors
    /// A root hash of another length, a partition that is too small.
    pub fn check(&self, root_hash: &RootHash, data: Bytes, hash: Bytes) -> Result<(), VerityError> {
        let (expected, found) = (self.algorithm.digest_length(), root_hash.bytes().len());
        if expected != found {
            return Err(VerityError::RootHashLength { expected, found });
        }
        for (device, needed, found) in
            [("data", self.data_length(), data), ("hash", self.hash_length(), hash)]
        {
            if needed > found {
                return Err(VerityError::TooSmall { device, needed, found });
            }
        }
        Ok(())
    }
}

fn array_at<const N: usize>(block: &[u8; LENGTH], at: usize) -> [u8; N] {
    block.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

fn u32_at(block: &[u8; LENGTH], at: usize) -> u32 {
    u32::from_le_bytes(array_at(block, at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A superblock as the format's description has it.
    fn block() -> [u8; LENGTH] {
        let mut block = [0; LENGTH];
        block[..6].copy_from_slice(b"verity");
        block[8] = 1;
        block[12] = 1;
        block[16..32].fill(0x11);
        block[32..38].copy_from_slice(b"sha256");
        block[65] = 0x10;
        block[69] = 0x10;
        block[72..74].copy_from_slice(&500_u16.to_le_bytes());
        block[80] = 2;
        block[88..90].fill(0xab);
        block
    }

    #[test]
    fn a_superblock_is_read_field_by_field() {
        let superblock = Superblock::parse(&block()).unwrap();
        assert_eq!(
            superblock,
            Superblock {
                hash_type: HashType::Normal,
                uuid: Uuid::from_bytes([0x11; 16]),
                algorithm: Algorithm::Sha256,
                data_block_size: 4096,
                hash_block_size: 4096,
                data_blocks: 500,
                salt: vec![0xab; 2],
            }
        );
        assert_eq!(superblock.hash_start(), 1);
        // 500 blocks: four blocks of 128 digests, one above them, and the superblock's.
        assert_eq!(superblock.hash_length(), Bytes(6 * 4096));
        let hash: RootHash = "0".repeat(64).parse().unwrap();
        let (data, tree) = (Bytes(500 * 4096), Bytes(6 * 4096));
        assert_eq!(superblock.check(&hash, data, tree), Ok(()));
        assert!(superblock.check(&hash, Bytes(data.0 - 1), tree).is_err());
        assert!(superblock.check(&hash, data, Bytes(tree.0 - 1)).is_err());
        assert!(superblock.check(&"0".repeat(128).parse().unwrap(), data, tree).is_err());
    }

    #[test]
    fn every_field_is_bounded() {
        for (at, bytes, field) in [
            (8, &2_u64.to_le_bytes()[..4], "version"),
            (12, &2_u64.to_le_bytes()[..4], "hash type"),
            (64, &8192_u64.to_le_bytes()[..4], "data block size"),
            (64, &0_u64.to_le_bytes()[..4], "data block size"),
            (68, &256_u64.to_le_bytes()[..4], "hash block size"),
            (68, &1536_u64.to_le_bytes()[..4], "hash block size"),
            (72, &0_u64.to_le_bytes(), "number of data blocks"),
            (72, &(1_u64 << 51).to_le_bytes(), "number of data blocks"),
            (80, &257_u64.to_le_bytes()[..2], "salt size"),
        ] {
            let mut block = block();
            block[at..at + bytes.len()].copy_from_slice(bytes);
            match Superblock::parse(&block) {
                Err(VerityError::Field { field: found, offset, .. }) => {
                    assert_eq!((found, offset), (field, at))
                }
                other => panic!("{field}: {other:?}"),
            }
        }
        let mut weak = block();
        weak[32..38].copy_from_slice(b"sha1\0\0");
        assert_eq!(Superblock::parse(&weak), Err(VerityError::Algorithm("sha1".into())));
        assert_eq!(Superblock::parse(&weak[1..]), Err(VerityError::NoSuperblock));
        assert_eq!(Superblock::parse(&[0; LENGTH]), Err(VerityError::NoSuperblock));
    }

    proptest! {
        #[test]
        fn parsing_is_total(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..600),
            blocks in any::<u64>(),
            mend in any::<bool>(),
        ) {
            if mend && bytes.len() >= 88 {
                bytes[..88].copy_from_slice(&block()[..88]);
                bytes[72..80].copy_from_slice(&blocks.to_le_bytes());
            }
            if let Ok(superblock) = Superblock::parse(&bytes) {
                prop_assert!(superblock.data_length().0 >= 512);
                prop_assert!(superblock.hash_length().0 >= 512);
            }
        }
    }
}
