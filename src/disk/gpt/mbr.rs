//! The protective MBR: the first block of a GPT disk, which tells old tools that the disk is taken.
//!
//! Source: UEFI specification 2.10, section 5.2.3.

use std::fmt::Display;

use super::Geometry;
use crate::{units::Bytes, writes::ReadAt};

/// The part of the block that has a meaning here, with any block size.
pub(super) const LENGTH: usize = 512;
const ENTRIES: usize = 446;
const ENTRY: usize = 16;
const PROTECTIVE: u8 = 0xee;

/// The kinds of content that the first 512 bytes of the disk can have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mbr {
    /// A protective entry that covers the disk, alone or beside others (hybrid): left alone.
    Protective,
    /// A protective entry alone, but it has the length of another disk.
    OtherLength,
    /// No partition at all; the boot code area may still hold something.
    Empty,
    /// Partitions of the old style and no protective entry: the GPT, if there is one, is a leftover.
    Partitioned,
}

/// Reads and classifies the first 512 bytes; an unreadable block counts as empty.
pub(super) fn read<R>(disk: &R, geometry: Geometry) -> ([u8; LENGTH], Mbr)
where
    R: ReadAt + ?Sized,
    R::Error: Display,
{
    let mut block = [0; LENGTH];
    if disk.read_exact_at(Bytes(0), &mut block).is_err() {
        block = [0; LENGTH];
    }
    let kind = classify(&block, geometry);
    (block, kind)
}

fn classify(block: &[u8; LENGTH], geometry: Geometry) -> Mbr {
    if block.last_chunk() != Some(&[0x55, 0xaa]) {
        return Mbr::Empty;
    }
    let entries = block.get(ENTRIES..ENTRIES + 4 * ENTRY).unwrap_or_default();
    let (mut protective, mut others) = (None, 0);
    for entry in entries.chunks_exact(ENTRY) {
        match entry.get(4) {
            Some(&PROTECTIVE) => protective = entry.get(12..16),
            Some(&0) | None => {}
            Some(_) => others += 1,
        }
    }
    match protective {
        None if others == 0 => Mbr::Empty,
        None => Mbr::Partitioned,
        // Tools disagree about disks that need more than 32 bits and about images that grew: the largest value always
        // means "all of it".
        Some(length)
            if others == 0 && length != length_field(geometry) && length != u32::MAX.to_le_bytes() =>
        {
            Mbr::OtherLength
        }
        Some(_) => Mbr::Protective,
    }
}

/// The length of the disk behind the MBR in blocks, as the protective entry says it.
fn length_field(geometry: Geometry) -> [u8; 4] {
    u32::try_from(geometry.blocks.saturating_sub(1)).unwrap_or(u32::MAX).to_le_bytes()
}

/// The same block with one protective entry over the whole disk; the boot code area stays as it was.
pub(super) fn protect(mut block: [u8; LENGTH], geometry: Geometry) -> [u8; LENGTH] {
    let mut entries = [0; 4 * ENTRY + 2];
    // Not bootable, from CHS 0/0/2 (block 1) to the end of what CHS can say, then the same in blocks.
    let entry: [u8; 12] = [0, 0, 2, 0, PROTECTIVE, 0xff, 0xff, 0xff, 1, 0, 0, 0];
    for (to, from) in entries.iter_mut().zip(entry.into_iter().chain(length_field(geometry))) {
        *to = from;
    }
    if let Some(tail) = block.last_chunk_mut::<{ 4 * ENTRY + 2 }>() {
        *tail = entries;
        if let Some(signature) = tail.last_chunk_mut() {
            *signature = [0x55, 0xaa];
        }
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISK: Geometry = Geometry { block_size: 512, blocks: 2048 };

    #[test]
    fn what_we_write_is_what_we_read_and_boot_code_stays() {
        let block = protect([7; LENGTH], DISK);
        assert_eq!(classify(&block, DISK), Mbr::Protective);
        assert_eq!(&block[..446], &[7; 446]);
        assert_eq!(classify(&block, Geometry { blocks: 4096, ..DISK }), Mbr::OtherLength);
        assert_eq!(
            block[446..],
            *[&[0, 0, 2, 0, 0xee, 255, 255, 255, 1, 0, 0, 0, 255, 7, 0, 0][..], &[0; 48], &[0x55, 0xaa]]
                .concat()
        );
    }

    #[test]
    fn foreign_tables_are_seen() {
        let mut block = [0; LENGTH];
        assert_eq!(classify(&block, DISK), Mbr::Empty);
        block[510..].copy_from_slice(&[0x55, 0xaa]);
        assert_eq!(classify(&block, DISK), Mbr::Empty);
        block[ENTRIES + ENTRY + 4] = 0x83;
        assert_eq!(classify(&block, DISK), Mbr::Partitioned);
        block[ENTRIES + 4] = PROTECTIVE;
        assert_eq!(classify(&block, DISK), Mbr::Protective);
    }
}
