//! The writes of a file system, gathered in any order and returned as one sweep from the start of the device to its
//! end, with neighbours joined: few, large, sequential writes.

use std::prelude::v1::*;

use super::extent::Extents;
use crate::sort;
use crate::{
    units::Bytes,
    writes::{Data, Write, Writes},
};

/// Bytes at the end of the device that are wiped, together with those before them up to a multiple of the same size:
/// software RAID (metadata 0.90 and 1.0) keeps its superblock there, and a scanner would take the device for a member.
const RAID: u64 = 64 << 10;

/// Neighbours of so many bytes are a write of their own: to join them would cost more than the call it saves.
const LARGE: usize = 256 << 10;

/// The blocks that are written.
pub(super) struct Image {
    block: u64,
    wiped: Option<(u64, u64)>,
    pieces: Vec<(u64, Piece)>,
}

enum Piece {
    Data(Data),
    /// So many blocks.
    Zero(u64),
}

impl Image {
    /// Nothing yet; `block` is the size of a block in bytes.
    pub fn new(block: u64) -> Self {
        Self { block, wiped: None, pieces: Vec::new() }
    }

    /// Wipes the superblocks of other formats at the end of a device of `blocks` blocks, before anything else is
    /// written.
    pub fn wipe_end(&mut self, blocks: u64) {
        let unit = RAID / self.block;
        let start = (blocks / unit * unit).saturating_sub(unit);
        self.wiped = Some((start, blocks - start));
    }

    /// Data from the start of `block` on.
    pub fn data(&mut self, block: u64, data: impl Into<Data>) {
        self.pieces.push((block, Piece::Data(data.into())));
    }

    /// A file whose first block is the first one of `content` and all others the second.
    pub fn data_over(&mut self, file: &Extents, content: [Vec<u8>; 2]) {
        let [first, others] = content;
        let mut blocks = file.each();
        if let Some(block) = blocks.next() {
            self.data(block, first);
        }
        for block in blocks {
            self.data(block, others.clone());
        }
    }

    /// Zeroes in `length` blocks from `block` on.
    pub fn zero(&mut self, block: u64, length: u64) {
        self.pieces.push((block, Piece::Zero(length)));
    }

    /// The bytes that are written, zeroes included.
    pub fn volume(&self) -> u64 {
        let wiped = self.wiped.map_or(0, |(_, length)| length * self.block);
        self.pieces.iter().fold(wiped, |sum, (_, piece)| {
            sum + match piece {
                Piece::Data(data) => data.len() as u64,
                Piece::Zero(blocks) => blocks * self.block,
            }
        })
    }

    /// The plan.
    pub fn into_writes(mut self) -> Writes {
        let mut writes = Writes::new();
        if let Some((start, length)) = self.wiped {
            writes.zero(Bytes(start * self.block), Bytes(length * self.block));
        }
        sort::by_key(&mut self.pieces, |&(block, _)| block);
        for (block, piece) in self.pieces {
            let offset = Bytes(block * self.block);
            match (piece, writes.0.last_mut()) {
                (Piece::Data(more), Some(Write::Data { offset: start, data }))
                    if start.0 + data.len() as u64 == offset.0 && more.len() < LARGE =>
                {
                    data.append(&more);
                }
                (Piece::Data(data), _) => writes.data(offset, data),
                (Piece::Zero(blocks), _) => writes.zero(offset, Bytes(blocks * self.block)),
            }
        }
        writes.barrier();
        writes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_joined_and_all_is_in_order() {
        let mut image = Image::new(2);
        image.data(7, vec![7; 2]);
        image.data(1, vec![1; 4]);
        image.zero(4, 2);
        image.data(3, vec![3; 2]);
        let writes = image.into_writes();
        let mut expected = Writes::new();
        expected.data(Bytes(2), vec![1, 1, 1, 1, 3, 3]);
        expected.zero(Bytes(8), Bytes(4));
        expected.data(Bytes(14), vec![7; 2]);
        expected.barrier();
        assert_eq!(writes, expected);
    }
}
