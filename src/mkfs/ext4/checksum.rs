//! The checksum of all ext4 metadata: crc32c, chained over several pieces and never inverted at the end.
//! ext4 documentation, "Checksums".

use uuid::Uuid;

use crate::mkfs::crc32c::Crc32c;

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
    pub fn checksum(self) -> Crc32c {
        Crc32c::from(self.0)
    }

    /// A checksum of something that belongs to an inode: begins with the inode's number and generation, the latter
    /// always zero here.
    pub fn of_inode(self, number: u32) -> Crc32c {
        self.checksum().with(&number.to_le_bytes()).with(&0u32.to_le_bytes())
    }
}

/// The checksum of `bytes` alone, from all ones.
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    Crc32c::from(u32::MAX).with(bytes).end()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "Checksum seed" as dumpe2fs prints it for a file system that mke2fs made with this UUID.
    #[test]
    fn seeds_as_mke2fs_does() {
        let uuid = Uuid::parse_str("11111111-2222-3333-4444-555555555555").unwrap();
        assert_eq!(Seed::of(uuid), Seed(0x643d_bf5b));
    }
}
