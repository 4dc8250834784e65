//! The hash tree, walked from the root hash down to every block of data: what the kernel's dm-verity does block by block as they
//! are read, and `veritysetup verify` all at once.
//!
//! Levels stand on the hash partition from the root down; a block of the tree holds the digests of the blocks below it, padded to
//! a power of two (packed in format 0), and zeroes behind the last.
//!
//! Source: the kernel's `Documentation/admin-guide/device-mapper/verity.rst`, "Hash Tree".

use std::prelude::v1::*;

use sha2::{Digest as _, Sha256, Sha384, Sha512};

use super::{
    root_hash::RootHash,
    superblock::{Algorithm, HashType, Superblock},
};
use crate::{units::Bytes, writes::ReadAt};

/// Bytes that are read at once.
const CHUNK: usize = 1 << 20;

/// The first fault of a tree or of the data below it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault<E> {
    /// A block of the tree is not what the block above it, or the root hash, says.
    Hash {
        /// Its offset on the hash partition.
        offset: Bytes,
    },
    /// A block of data is not what the tree says.
    Data {
        /// Its offset on the data partition.
        offset: Bytes,
    },
    /// A partition cannot be read.
    Read(E),
}

/// A tree and the data below it.
pub struct Tree<'a, E> {
    /// The parameters of the tree.
    pub superblock: &'a Superblock,
    /// The root hash.
    pub root_hash: &'a RootHash,
    /// The data partition.
    pub data: &'a dyn ReadAt<Error = E>,
    /// The hash partition, from its superblock on.
    pub hash: &'a dyn ReadAt<Error = E>,
}

/// Blocks of one kind beside each other.
#[derive(Clone, Copy, Debug)]
struct Level {
    /// The offset of the first.
    start: u64,
    /// The number of them.
    blocks: u64,
    /// Bytes in one.
    size: u32,
}

impl<E> Tree<'_, E> {
    /// Verifies the first block of data, and the blocks of the tree above it: what is read before anything is mounted.
    ///
    /// # Errors
    /// The first fault.
    pub fn verify_first(&self) -> Result<(), Fault<E>> {
        self.walk(1, &mut |_| {})
    }

    /// Verifies the whole tree and all data. `progress` hears how many bytes of data are done.
    ///
    /// # Errors
    /// The first fault.
    pub fn verify(&self, progress: &mut dyn FnMut(Bytes)) -> Result<(), Fault<E>> {
        self.walk(u64::MAX, progress)
    }

    /// Verifies the first blocks of every level, `most` of them.
    fn walk(&self, most: u64, progress: &mut dyn FnMut(Bytes)) -> Result<(), Fault<E>> {
        let mut above: Option<Level> = None;
        for level in self.levels() {
            self.check(above, Level { blocks: level.blocks.min(most), ..level }, self.hash, &mut |_| {})
                .map_err(|fault| fault.map_or_else(Fault::Read, |offset| Fault::Hash { offset }))?;
            above = Some(level);
        }
        let size = self.superblock.data_block_size;
        let data = Level { start: 0, blocks: self.superblock.data_blocks.min(most), size };
        self.check(above, data, self.data, progress)
            .map_err(|fault| fault.map_or_else(Fault::Read, |offset| Fault::Data { offset }))
    }

    /// The levels of the tree, from the root down. None above a single block of data.
    fn levels(&self) -> Vec<Level> {
        let size = self.superblock.hash_block_size;
        let (mut blocks, mut counts) = (self.superblock.data_blocks, Vec::new());
        while blocks > 1 {
            blocks = blocks.div_ceil(self.superblock.fan_out());
            counts.push(blocks);
        }
        let mut start = self.superblock.hash_start().saturating_mul(u64::from(size));
        let level = |blocks: u64| {
            let level = Level { start, blocks, size };
            start = start.saturating_add(blocks.saturating_mul(u64::from(size)));
            level
        };
        counts.into_iter().rev().map(level).collect()
    }

    /// Checks the blocks of a level against the level above it, or the root hash. The inner error is the offset of one that is
    /// wrong.
    fn check(
        &self,
        above: Option<Level>,
        level: Level,
        on: &dyn ReadAt<Error = E>,
        progress: &mut dyn FnMut(Bytes),
    ) -> Result<(), Result<Bytes, E>> {
        let (size, per_parent) = (level.size as usize, self.superblock.fan_out());
        let length = self.superblock.algorithm.digest_length();
        let stride = match self.superblock.hash_type {
            HashType::Normal => length.next_power_of_two(),
            HashType::ChromeOs => length,
        };
        let mut parent = vec![0; above.map_or(0, |above| above.size as usize)];
        let mut chunk = vec![0; (CHUNK / size).max(1) * size];
        let mut number = 0;
        while number < level.blocks {
            let offset = level.start.saturating_add(number.saturating_mul(size as u64));
            let left = usize::try_from((level.blocks - number).saturating_mul(size as u64)).unwrap_or(CHUNK);
            let bytes = chunk.get_mut(..left.min(CHUNK.max(size))).unwrap_or_default();
            on.read_exact_at(Bytes(offset), bytes).map_err(Err)?;
            for (block, offset) in bytes.chunks_exact(size).zip((offset..).step_by(size)) {
                let expected = match above {
                    None => self.root_hash.bytes(),
                    Some(above) => {
                        let (block, slot) = (number / per_parent, (number % per_parent) as usize);
                        if slot == 0 {
                            let at = above.start.saturating_add(block.saturating_mul(u64::from(above.size)));
                            self.hash.read_exact_at(Bytes(at), &mut parent).map_err(Err)?;
                        }
                        let begin = slot.saturating_mul(stride);
                        parent.get(begin..begin.saturating_add(length)).unwrap_or_default()
                    }
                };
                if self.superblock.digest(block) != expected {
                    return Err(Ok(Bytes(offset)));
                }
                number += 1;
            }
            progress(Bytes(number.saturating_mul(size as u64)));
        }
        Ok(())
    }
}

impl Superblock {
    /// The digest of a block, of data or of the tree.
    fn digest(&self, block: &[u8]) -> Vec<u8> {
        let (first, last) = match self.hash_type {
            HashType::Normal => (self.salt.as_slice(), block),
            HashType::ChromeOs => (block, self.salt.as_slice()),
        };
        match self.algorithm {
            Algorithm::Sha256 => Sha256::new().chain_update(first).chain_update(last).finalize().to_vec(),
            Algorithm::Sha384 => Sha384::new().chain_update(first).chain_update(last).finalize().to_vec(),
            Algorithm::Sha512 => Sha512::new().chain_update(first).chain_update(last).finalize().to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::writes::ShortImage;

    struct Image(Vec<u8>);

    impl ReadAt for Image {
        type Error = ShortImage;

        fn read_exact_at(&self, offset: Bytes, buffer: &mut [u8]) -> Result<(), ShortImage> {
            self.0.read_exact_at(offset, buffer)
        }
    }

    proptest! {
        /// However large a stranger's superblock says that things are: the walk ends with what is there.
        #[test]
        fn any_tree_is_walked_to_an_end(
            blocks in any::<u64>(),
            sizes in (9..=12u32, 9..=12u32),
            kind in 0..6u8,
            salt in proptest::collection::vec(any::<u8>(), 0..9),
            data in proptest::collection::vec(any::<u8>(), 0..9000),
            hash in proptest::collection::vec(any::<u8>(), 0..9000),
        ) {
            let superblock = Superblock {
                hash_type: if kind % 2 == 0 { HashType::Normal } else { HashType::ChromeOs },
                uuid: Uuid::nil(),
                algorithm: [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512][usize::from(kind / 2)],
                data_block_size: 1 << sizes.0,
                hash_block_size: 1 << sizes.1,
                data_blocks: blocks.max(1),
                salt,
            };
            let length = superblock.algorithm.digest_length();
            let root_hash: RootHash = "00".repeat(length).parse().unwrap();
            let tree = Tree { superblock: &superblock, root_hash: &root_hash, data: &Image(data), hash: &Image(hash) };
            prop_assert!(tree.verify_first().is_err());
            let whole = tree.verify(&mut |_| {});
            prop_assert!(whole.is_err());
        }
    }
}
