//! The two uses of crc32c: over blocks, as the standard has it, and over names, raw and from another initial value.
//! Kernel, `fs/btrfs/disk-io.c` (csum_tree_block) and `fs/btrfs/ctree.h` (btrfs_name_hash).

use crate::mkfs::{crc32c::Crc32c, record::Record};

/// Bytes at the start of a block or superblock that are kept for its checksum, and are not covered by it.
const FIELD: usize = 32;

/// Puts the checksum of a finished block into it.
pub(super) fn seal(block: &mut Record) {
    let covered = block.as_slice().get(FIELD..).unwrap_or_default();
    let checksum = !Crc32c::from(u32::MAX).with(covered).end();
    block.le32(0, checksum.into());
}

/// The hash of a name, by which a directory finds its entry.
pub(super) fn name_hash(name: &[u8]) -> u64 {
    Crc32c::from(!1).with(name).end().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Offsets of DIR_ITEMs as `btrfs inspect-internal dump-tree` prints them for file systems of mkfs.btrfs.
    #[test]
    fn names_hash_as_in_btrfs_progs() {
        for (name, hash) in [("default", 2_378_154_706), ("home", 2_651_688_704), ("var", 3_195_381_536)] {
            assert_eq!(name_hash(name.as_bytes()), hash, "{name}");
        }
    }
}
