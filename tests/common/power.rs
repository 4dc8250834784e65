//! The power switch: a disk in memory, and every state in which a power failure during a plan of writes may leave it.
#![allow(dead_code)]

use std::ops::Range;

use hermetic_init::writes::{Write, Writes};

/// The number of bytes that a drive writes at once or not at all, if it keeps its promise.
const SECTOR: usize = 512;
/// Up to so many sectors between two barriers the power fails after every one; of more it is about so many, evenly spread,
/// and the end of every write.
const PREFIXES: usize = 512;
/// Arbitrary subsets of the sectors between two barriers: a drive's cache keeps no order.
const SUBSETS: usize = 100;
/// The same where there are more sectors than [`PREFIXES`].
const FEW_SUBSETS: usize = 8;

/// A disk, and what may be written on it.
pub struct Power {
    /// The content now.
    pub image: Vec<u8>,
    /// The only bytes that may ever change.
    pub writable: Vec<Range<usize>>,
    /// States that were looked at.
    pub states: usize,
    random: u64,
}

impl Power {
    /// A disk with this content.
    pub fn new(image: Vec<u8>, writable: Vec<Range<usize>>) -> Self {
        Self { image, writable, states: 0, random: 0x9e37_79b9_7f4a_7c15 }
    }

    /// A disk with this content, all of which may change.
    pub fn everywhere(image: Vec<u8>) -> Self {
        let whole = 0..image.len();
        Self::new(image, std::iter::once(whole).collect())
    }

    /// A number that is the same in every run.
    pub fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// Fills a range with noise: the state that an opaque step leaves until it is over.
    pub fn noise(&mut self, range: Range<usize>) {
        self.permitted(range.start, range.len());
        for at in range.step_by(8) {
            let noise = self.random().to_le_bytes();
            self.image[at..at + 8].copy_from_slice(&noise);
        }
    }

    /// Carries a plan out, its offsets counted from `base`, and lets `check` look at every state on the way: before and
    /// after each sector, each sector torn in its middle, and of the sectors between two barriers arbitrary subsets.
    pub fn carry_out(&mut self, plan: &Writes, base: usize, check: &mut dyn FnMut(&[u8], &str)) {
        assert!(matches!(plan.0.last(), None | Some(Write::Barrier)), "a plan ends with a barrier");
        for (index, group) in plan.0.split(|write| *write == Write::Barrier).enumerate() {
            let sectors = sectors(group, base);
            for sector in &sectors {
                self.permitted(sector.at, SECTOR);
            }
            // The old content, to undo by: a copy of the image for every state would take minutes.
            let old: Vec<Vec<u8>> =
                sectors.iter().map(|sector| self.image[sector.bytes()].to_vec()).collect();
            self.look(check, &format!("before group {index}"));
            let stride = (sectors.len() / PREFIXES).max(1);
            for (count, sector) in sectors.iter().enumerate() {
                let look = count % stride == 0 || sector.ends_write;
                if look {
                    let half = sector.at..sector.at + SECTOR / 2;
                    self.image[half].copy_from_slice(&sector.new[..SECTOR / 2]);
                    self.look(check, &format!("group {index}, sector {count} torn"));
                }
                self.image[sector.bytes()].copy_from_slice(&sector.new);
                if look {
                    self.look(check, &format!("group {index}, first {} sectors", count + 1));
                }
            }
            let subsets = match sectors.len() {
                0 => 0,
                1..=PREFIXES => SUBSETS,
                _ => FEW_SUBSETS,
            };
            for round in 0..subsets {
                for (sector, old) in sectors.iter().zip(&old) {
                    let chosen = if self.random() & 1 == 1 { &sector.new } else { old };
                    self.image[sector.bytes()].copy_from_slice(chosen);
                }
                self.look(check, &format!("group {index}, subset {round}"));
            }
            for sector in &sectors {
                self.image[sector.bytes()].copy_from_slice(&sector.new);
            }
        }
    }

    fn look(&mut self, check: &mut dyn FnMut(&[u8], &str), when: &str) {
        self.states += 1;
        check(&self.image, when);
    }

    fn permitted(&self, at: usize, length: usize) {
        let inside = |range: &Range<usize>| range.start <= at && at + length <= range.end;
        assert!(
            self.writable.iter().any(inside),
            "a write of {length} bytes at {at} outside {:?}",
            self.writable
        );
    }
}

/// A sector that is written.
struct Sector {
    at: usize,
    new: Vec<u8>,
    ends_write: bool,
}

impl Sector {
    fn bytes(&self) -> Range<usize> {
        self.at..self.at + SECTOR
    }
}

/// Every sector that a group of writes writes, in its order.
fn sectors(group: &[Write], base: usize) -> Vec<Sector> {
    let mut sectors = Vec::new();
    for write in group {
        let (offset, bytes) = match write {
            Write::Data { offset, data } => (offset.0 as usize, data.to_vec()),
            Write::Zero { offset, length } => (offset.0 as usize, vec![0; length.0 as usize]),
            Write::Barrier => continue,
        };
        assert!(offset % SECTOR == 0 && bytes.len() % SECTOR == 0, "a write of {} at {offset}", bytes.len());
        let count = bytes.len() / SECTOR;
        sectors.extend(bytes.chunks(SECTOR).enumerate().map(|(index, chunk)| Sector {
            at: base + offset + index * SECTOR,
            new: chunk.to_vec(),
            ends_write: index + 1 == count,
        }));
    }
    sectors
}
