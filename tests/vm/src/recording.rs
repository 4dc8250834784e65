//! The writes of a machine to a disk, in their order ([`crate::disk::Disk::record`]), and the disk as a power failure
//! at any point would have left it.
//!
//! Format: the kernel's `Documentation/admin-guide/device-mapper/log-writes.rst` and `drivers/md/dm-log-writes.c`.

use anyhow::{Context, Result, bail};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

const MAGIC: u64 = 0x006a_7366_7773_6872;

/// The sector that the log counts in, as [`crate::disk::Disk::record`] asks for.
pub const SECTOR: u64 = 512;

/// `LOG_FUA_FLAG`: on the medium without a flush.
const FUA: u64 = 1 << 1;

/// `LOG_DISCARD_FLAG`: no data follow.
const DISCARD: u64 = 1 << 2;

/// One write, flush or discard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The first sector on the disk.
    pub sector: u64,
    /// The number of sectors; 0: a flush.
    pub sectors: u64,
    /// The place of the data in the log in bytes; None without data.
    data: Option<u64>,
    /// True when it is on the medium when it is done, without a flush.
    forced: bool,
}

impl Entry {
    /// Returns true when everything before it is on the medium when it is done.
    #[must_use]
    pub fn is_flush(&self) -> bool {
        self.sectors == 0
    }

    /// Returns true when it writes below `end` and at or behind `start`, sectors.
    #[must_use]
    pub fn touches(&self, start: u64, end: u64) -> bool {
        self.data.is_some() && self.sector < end && self.sector + self.sectors > start
    }
}

/// A finished recording.
#[derive(Debug)]
pub struct Recording {
    log: File,
    /// The writes and flushes, in order.
    pub entries: Vec<Entry>,
}

impl Recording {
    /// Reads a log. Its end is where no entry follows: the count in its head may be an old one.
    ///
    /// # Errors
    /// It is not a log.
    pub fn open(path: &Path) -> Result<Self> {
        let log = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        let length = log.metadata()?.len();
        let mut head = [0; 32];
        log.read_exact_at(&mut head, 0).with_context(|| format!("{} has no head", path.display()))?;
        if word(&head, 0) != MAGIC || word(&head, 24) & 0xffff_ffff != SECTOR {
            bail!("{} is no log of writes in sectors of {SECTOR} bytes", path.display());
        }
        let mut entries = Vec::new();
        let mut at = SECTOR;
        while at + SECTOR <= length {
            log.read_exact_at(&mut head, at)?;
            let (sector, sectors, flags) = (word(&head, 0), word(&head, 8), word(&head, 16));
            at += SECTOR;
            if head == [0; 32] {
                break;
            }
            let has_data = sectors > 0 && flags & DISCARD == 0;
            let forced = flags & FUA != 0;
            entries.push(Entry { sector, sectors, data: has_data.then_some(at), forced });
            at += if has_data { sectors * SECTOR } else { 0 };
        }
        Ok(Self { log, entries })
    }

    /// Leaves `disk` as this power failure would have. Discards are left out: a disk need not obey them.
    ///
    /// # Errors
    /// The disk cannot be written.
    pub fn replay(&self, disk: &Path, cut: &Cut) -> Result<()> {
        let disk = OpenOptions::new().write(true).open(disk)?;
        let done = self.entries.iter().take(cut.count);
        // Up to the last flush everything is on the medium; of later writes the drive may have written any part.
        let safe = done.clone().rposition(Entry::is_flush).unwrap_or(0);
        let mut lost = cut.lost;
        for (index, entry) in self.entries.iter().enumerate().take(cut.count + 1) {
            let sectors = if index == cut.count { cut.torn.min(entry.sectors) } else { entry.sectors };
            let Some(data) = entry.data.filter(|_| sectors > 0) else { continue };
            if cut.lost != 0 && index > safe && index < cut.count && !entry.forced {
                // xorshift64: another subset for every number, the same one in every run.
                lost ^= lost << 13;
                lost ^= lost >> 7;
                lost ^= lost << 17;
                if lost & 1 == 1 {
                    continue;
                }
            }
            let mut bytes = vec![0; usize::try_from(sectors * SECTOR)?];
            self.log.read_exact_at(&mut bytes, data).context("the log of writes is cut off")?;
            disk.write_all_at(&bytes, entry.sector * SECTOR)?;
        }
        Ok(())
    }
}

/// A power failure: where in a recording, and what of the drive's cache it takes with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// So many entries were begun and ended.
    pub count: usize,
    /// So many sectors of the one behind them were written.
    pub torn: u64,
    /// Of the writes since the last flush an arbitrary half is lost, another one for every number; 0: none.
    pub lost: u64,
}

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "after {} writes and {} sectors", self.count, self.torn)?;
        match self.lost {
            0 => Ok(()),
            number => write!(f, ", cache loss {number}"),
        }
    }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_replayed_up_to_a_point_and_without_what_the_cache_lost() {
        let place = std::env::temp_dir().join(format!("hermetic-recording-{}", std::process::id()));
        std::fs::create_dir_all(&place).unwrap();
        let sector = |words: &[u64]| -> Vec<u8> {
            let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            bytes.resize(512, 0);
            bytes
        };
        let log = [
            sector(&[MAGIC, 1, 99, SECTOR]),
            sector(&[1, 2, 0, 0]),
            vec![7; 1024],
            sector(&[0, 0, 1, 0]),
            sector(&[0, 3, DISCARD, 0]),
            sector(&[0, 2, 0, 0]),
            vec![8; 1024],
        ];
        std::fs::write(place.join("log"), log.concat()).unwrap();
        let recording = Recording::open(&place.join("log")).unwrap();
        let kinds: Vec<_> =
            recording.entries.iter().map(|e| (e.sector, e.sectors, e.data.is_some())).collect();
        assert_eq!(kinds, [(1, 2, true), (0, 0, false), (0, 3, false), (0, 2, true)]);
        assert!(recording.entries[0].touches(2, 3) && !recording.entries[0].touches(3, 9));
        let disk = place.join("disk");
        let after = |cut: Cut| {
            std::fs::write(&disk, [0; 3 * 512]).unwrap();
            recording.replay(&disk, &cut).unwrap();
            let bytes = std::fs::read(&disk).unwrap();
            [bytes[0], bytes[512], bytes[1024]]
        };
        for (count, torn, expected) in
            [(0, 0, [0, 0, 0]), (1, 0, [0, 7, 7]), (3, 1, [8, 7, 7]), (4, 0, [8, 8, 7])]
        {
            let cut = Cut { count, torn, lost: 0 };
            assert_eq!(after(cut), expected, "{cut}");
        }
        // Flushed data stays; the last write is there or not.
        let mut seen: Vec<_> = (1..20).map(|lost| after(Cut { count: 4, torn: 0, lost })).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, [[0, 7, 7], [8, 8, 7]]);
        std::fs::remove_dir_all(place).unwrap();
    }
}
