//! A new encrypted volume in an image: a LUKS2 header, and behind it an empty file system, encrypted by us because nothing
//! is mapped.

use std::{collections::BTreeMap, io, ops::Range};

use hermetic_init::{
    luks::{self, CONTENT_SECTOR, FormatParams, VolumeKey},
    repart::{EncryptKdf, NewPartition},
    secret::Secret,
    units::Sector512,
    writes::{Write, Writes},
};

use super::{Failure, identity, medium::Output};

/// The unit in which content is settled: as large as the largest sector.
const BLOCK: u64 = CONTENT_SECTOR as u64;

/// A volume that is to be written.
pub struct Volume {
    header: Writes,
    key: VolumeKey,
    /// The content behind the header, before encryption.
    content: Writes,
    /// Bytes of a sector of the volume.
    sector: usize,
}

impl Volume {
    /// Plans the volume of a new partition, with these sectors; `discard` is the default of `Discard=`.
    pub fn new(
        new: &NewPartition,
        sector_size: u32,
        discard: bool,
        passphrase: &Secret,
        content: Writes,
    ) -> Result<Self, Failure> {
        let mut seeded = Ok(());
        let length = passphrase.expose().len();
        let params = FormatParams {
            uuid: new.luks_uuid,
            label: &new.volume_label(),
            subsystem: "",
            sector_size,
            allow_discards: new.definition.discard.unwrap_or(discard),
            passphrase,
            kdf: EncryptKdf::of_key_file(new.definition.encrypt_kdf, length),
            device_size: new.length,
            random: &mut |bytes: &mut [u8]| {
                for chunk in bytes.chunks_mut(16) {
                    match identity::random() {
                        Ok(random) => chunk.iter_mut().zip(random).for_each(|(to, from)| *to = from),
                        Err(error) => seeded = Err(error),
                    }
                }
            },
        };
        let (header, key) = luks::format(params)
            .map_err(|error| Failure::new(format!("{}: {error}", new.definition.file)))?;
        // Key material from a generator that failed must not reach the disk.
        seeded.map(|()| Self { header, key, content, sector: sector_size as usize })
    }

    /// Its key.
    pub fn key(&self) -> &Secret {
        &self.key.key
    }

    /// The header: writes as they are.
    pub fn header(&self) -> &Writes {
        &self.header
    }

    /// Writes the content of the volume that begins at `partition`, encrypted.
    pub fn write_content(&self, disk: &dyn Output, partition: u64) -> io::Result<()> {
        let (zeroed, blocks) = settle(&self.content);
        let base = partition.saturating_add(luks::DATA_OFFSET.0);
        let put = |first: u64, data: &mut [u8]| {
            let unit = Sector512(first.saturating_mul(BLOCK / 512));
            self.key.encrypt(self.sector, unit, data).ok_or(io::ErrorKind::InvalidInput)?;
            disk.put(base.saturating_add(first.saturating_mul(BLOCK)), data)
        };
        let mut buffer = vec![0; 1 << 20];
        for range in zeroed {
            let mut at = range.start;
            while at < range.end {
                let count = (range.end - at).min(buffer.len() as u64 / BLOCK);
                let part = buffer.get_mut(..(count * BLOCK) as usize).unwrap_or_default();
                part.fill(0);
                put(at, part)?;
                at += count;
            }
        }
        for (block, mut data) in blocks {
            put(block, &mut data)?;
        }
        Ok(())
    }
}

/// The result of a plan: the blocks that read as zeroes, and then the content of others. Blocks that no write touches
/// stay undefined, as on a disk.
fn settle(writes: &Writes) -> (Vec<Range<u64>>, BTreeMap<u64, Vec<u8>>) {
    let mut blocks: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let mut zeroed = Vec::new();
    for write in &writes.0 {
        match write {
            Write::Data { offset, data } => overlay(&mut blocks, offset.0, data),
            Write::Zero { offset, length } => {
                let end = offset.0.saturating_add(length.0);
                let whole = offset.0.div_ceil(BLOCK)..end / BLOCK;
                if whole.start < whole.end {
                    blocks.retain(|block, _| !whole.contains(block));
                    overlay(&mut blocks, offset.0, &vec![0; (whole.start * BLOCK - offset.0) as usize]);
                    overlay(&mut blocks, whole.end * BLOCK, &vec![0; (end - whole.end * BLOCK) as usize]);
                    zeroed.push(whole);
                } else {
                    overlay(&mut blocks, offset.0, &vec![0; length.0 as usize]);
                }
            }
            Write::Barrier => {}
        }
    }
    (zeroed, blocks)
}

/// Puts `data` over the content of the blocks; a block that was not written yet holds zeroes.
fn overlay(blocks: &mut BTreeMap<u64, Vec<u8>>, mut at: u64, mut data: &[u8]) {
    while !data.is_empty() {
        let within = (at % BLOCK) as usize;
        let (part, rest) = data.split_at(data.len().min(CONTENT_SECTOR - within));
        let block = blocks.entry(at / BLOCK).or_insert_with(|| vec![0; CONTENT_SECTOR]);
        if let Some(place) = block.get_mut(within..within + part.len()) {
            place.copy_from_slice(part);
        }
        at += part.len() as u64;
        data = rest;
    }
}

#[cfg(test)]
mod tests {
    use hermetic_init::units::Bytes;

    use super::*;

    #[test]
    fn later_writes_count_and_edges_stay() {
        let mut writes = Writes::new();
        writes.data(Bytes(100), vec![1; 9000]);
        writes.zero(Bytes(4000), Bytes(4200));
        writes.data(Bytes(8192), vec![7; 2]);
        let (zeroed, blocks) = settle(&writes);
        assert_eq!((zeroed.len(), zeroed.first()), (1, Some(&(1..2))));
        assert_eq!(blocks.keys().copied().collect::<Vec<_>>(), [0, 2]);
        assert_eq!((blocks[&0][99], blocks[&0][100], blocks[&0][3999], blocks[&0][4000]), (0, 1, 1, 0));
        assert_eq!(
            (blocks[&2][0], blocks[&2][2], blocks[&2][8], blocks[&2][907], blocks[&2][908]),
            (7, 0, 1, 1, 0)
        );
    }
}
