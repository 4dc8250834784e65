//! The checksum of all ext4 metadata: crc32c, chained over several pieces and never inverted at the end.
//! ext4 documentation, "Checksums".

use crc::{Algorithm, CRC_32_ISCSI, Crc, Digest, Table};
use uuid::Uuid;

/// crc32c as ext4 chains it: the inversion at the end, which the standard algorithm has, is left out.
const RAW: Algorithm<u32> = Algorithm { xorout: 0, ..CRC_32_ISCSI };
static CRC32C: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&RAW);

/// The checksum of the file system's UUID, with which every other checksum of its metadata begins, except the
/// superblock's. It is stored in the superblock (metadata_csum_seed), so that the UUID can change later.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Seed(pub u32);

impl Seed {
    /// The seed that belongs to a UUID.
    pub fn of(uuid: Uuid) -> Self {
        Self(crc32c(uuid.as_bytes()))
    }

    /// A checksum of the metadata of this file system.
    pub fn checksum(self) -> Checksum {
        // The crate takes the initial value in unreflected bit order.
        Checksum(CRC32C.digest_with_initial(self.0.reverse_bits()))
    }

    /// A checksum of something that belongs to an inode: begins with the inode's number and generation, the latter
    /// always zero here.
    pub fn of_inode(self, number: u32) -> Checksum {
        self.checksum().with(&number.to_le_bytes()).with(&0u32.to_le_bytes())
    }
}

/// A checksum under way.
pub(super) struct Checksum(Digest<'static, u32, Table<1>>);

impl Checksum {
    /// Goes on over `bytes`.
    pub fn with(mut self, bytes: &[u8]) -> Self {
        self.0.update(bytes);
        self
    }

    /// The result.
    pub fn end(self) -> u32 {
        self.0.finalize()
    }
}

/// The checksum of `bytes` alone, from all ones.
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    CRC32C.checksum(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value of crc32c ("123456789", RFC 3720 appendix B.4 algorithm) is 0xe3069283; ours lacks the inversion.
    #[test]
    fn matches_the_check_value_of_crc32c() {
        assert_eq!(crc32c(b"123456789"), !0xe306_9283);
        let chained = Seed(crc32c(b"1234")).checksum().with(b"567").with(b"89").end();
        assert_eq!(chained, !0xe306_9283);
    }

    /// "Checksum seed" as dumpe2fs prints it for a file system that mke2fs made with this UUID.
    #[test]
    fn seeds_as_mke2fs_does() {
        let uuid = Uuid::parse_str("11111111-2222-3333-4444-555555555555").unwrap();
        assert_eq!(Seed::of(uuid), Seed(0x643d_bf5b));
    }
}
