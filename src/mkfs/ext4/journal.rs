//! The journal: a superblock that says it is empty, and zeroes behind it or whatever was there.
//! ext4 documentation, "Journal (jbd2)". Everything in it is big-endian.
//!
//! After a crash, recovery reads on behind the last transaction until a block has not the magic number and the next sequence
//! number; one that has both and a wrong checksum ends the mount when its commit is the later one (`do_one_pass` of the kernel's
//! fs/jbd2/recovery.c). A block that an earlier file system has left there must be neither.

use uuid::Uuid;

use super::{Params, geometry::Geometry, image::Image, layout::Layout, record::Record};

const MAGIC: u32 = 0xc03b_3998;
/// h_blocktype of a superblock, version 2.
const SUPERBLOCK: u32 = 4;
/// Sequence number of the first transaction of a journal of zeroes.
const FIRST_SEQUENCE: u32 = 1;
/// Block of the journal where the log begins: behind its superblock.
const FIRST_BLOCK: u32 = 1;

/// The blocks of a new journal behind its superblock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Journal {
    /// They are zeroed. The journal has the UUID of its file system: when that is derived from a seed, so is that of the file system
    /// that was here before, and its transactions would be valid here.
    Zeroed,
    /// They stay as they are, and no transaction that is there is one of this journal. The random bytes are known to nobody before: they
    /// are its UUID, which seeds the checksums (`s_uuid` of the journal's own superblock; the `s_journal_uuid` of ext4's is that of
    /// a journal on another device), and its first sequence number.
    Fresh([u8; 16]),
}

impl Journal {
    /// The UUID and the first sequence number in a file system of this UUID.
    fn identity(self, file_system: Uuid) -> (Uuid, u32) {
        match self {
            Self::Zeroed => (file_system, FIRST_SEQUENCE),
            Self::Fresh(random) => {
                let [a, b, c, d, ..] = random;
                let uuid = uuid::Builder::from_random_bytes(random).into_uuid();
                // From the lower half: no journal lives to see the numbers wrap.
                (uuid, u32::from_be_bytes([a, b, c, d]) >> 1)
            }
        }
    }
}

/// Writes the superblock, and zeroes where the journal wants them.
pub(super) fn write(image: &mut Image, geometry: &Geometry, layout: &Layout, params: &Params) {
    let (uuid, sequence) = params.journal.identity(params.uuid);
    let mut superblock = Record::zeroed(geometry.block);
    superblock.be32(0x00, MAGIC).be32(0x04, SUPERBLOCK);
    superblock.be32(0x0c, geometry.block as u32).be32(0x10, geometry.journal_blocks as u32);
    superblock.be32(0x14, FIRST_BLOCK).be32(0x18, sequence);
    // s_start at 0x1c stays 0: nothing to recover. One file system uses it.
    superblock.bytes(0x30, uuid.as_bytes()).be32(0x40, 1);

    let start = layout.journal.start();
    image.data(start, superblock.into_bytes());
    if params.journal != Journal::Zeroed {
        return;
    }
    for (from, length) in layout.journal.runs() {
        let skipped = u64::from(from == start);
        if length > skipped {
            image.zero(from + skipped, length - skipped);
        }
    }
}
