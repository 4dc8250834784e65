//! The numbers of sectors: arithmetic on the size, with mkfs.fat's rules, so that the result is what the same partition
//! would have got from it.

use crate::{mkfs::MkfsError, units::Bytes};

/// Copies of the table.
pub(super) const FATS: u64 = 2;
/// Sectors before the first table, before they are aligned.
const RESERVED: u64 = 32;
/// The most clusters that 28 bits tell apart.
const MOST_CLUSTERS: u64 = 268_435_446;
/// The most sectors in a cluster.
const MOST_PER_CLUSTER: u64 = 128;
/// Up to this many sectors nothing is aligned to clusters.
const SMALL: u64 = 8192;
/// Sectors of the smallest one: tables, and some room for files.
const LEAST: u64 = 128;

/// The numbers of a file system, in sectors unless stated otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Geometry {
    /// Bytes in a sector.
    pub sector: u64,
    /// All.
    pub sectors: u64,
    /// The sectors of a track and the tracks of a cylinder, for a BIOS.
    pub per_track: u64,
    pub heads: u64,
    /// In a cluster.
    pub per_cluster: u64,
    /// Before the first table.
    pub reserved: u64,
    /// In each table.
    pub fat: u64,
    /// Clusters.
    pub clusters: u64,
}

impl Geometry {
    /// The numbers that follow from the size.
    pub fn new(size: Bytes, sector_size: u32) -> Result<Self, MkfsError> {
        if !matches!(sector_size, 512 | 1024 | 2048 | 4096) {
            return Err(MkfsError::Sector { format: "vfat", sector_size });
        }
        let sector = u64::from(sector_size);
        let whole = size.0 / sector;
        let (heads, per_track) = cylinder(whole);
        // Whole tracks: mtools and DOS need them.
        let sectors = whole.min(u32::MAX.into()) / per_track * per_track;
        let too_small = || MkfsError::TooSmall { format: "vfat", size, minimum: Bytes(LEAST * sector) };
        if whole < LEAST {
            return Err(too_small());
        }
        let mut per_cluster = first_cluster(whole);
        while per_cluster <= MOST_PER_CLUSTER {
            let align =
                |count: u64| if sectors > SMALL { count.next_multiple_of(per_cluster) } else { count };
            let reserved = align(RESERVED);
            let left = sectors.checked_sub(reserved).ok_or_else(too_small)?;
            // An estimate, then the rest when the tables have their whole sectors.
            let most = (left * sector + FATS * 8) / (per_cluster * sector + FATS * 4);
            let fat = align(((most + 2) * 4).div_ceil(sector));
            let clusters = left.checked_sub(FATS * fat).ok_or_else(too_small)? / per_cluster;
            if clusters <= (fat * sector / 4).min(MOST_CLUSTERS) {
                return Ok(Self { sector, sectors, per_track, heads, per_cluster, reserved, fat, clusters });
            }
            per_cluster *= 2;
        }
        Err(MkfsError::TooLarge { format: "vfat", size })
    }
}

/// Heads and sectors per track for so many sectors: up to 256 MiB the SD card association's recommendation, beyond it
/// the BIOS' assisted translation.
fn cylinder(sectors: u64) -> (u64, u64) {
    const TRACKS: u64 = 63 * 1024;
    match sectors {
        0..=4096 => (2, 16),
        4097..=32768 => (2, 32),
        32769..=65536 => (4, 32),
        65537..=262_144 => (8, 32),
        262_145..=524_288 => (16, 32),
        _ => ([16, 32, 64, 128].into_iter().find(|heads| sectors <= heads * TRACKS).unwrap_or(255), 63),
    }
}

/// Sectors per cluster to begin with, as Microsoft's format chooses: the limits are sectors of any size.
fn first_cluster(sectors: u64) -> u64 {
    const MIB: u64 = 2048;
    match sectors {
        count if count > 32 * 1024 * MIB => 64,
        count if count > 16 * 1024 * MIB => 32,
        count if count > 8 * 1024 * MIB => 16,
        count if count > 260 * MIB => 8,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_and_sectors_out_of_bounds_are_refused() {
        for (size, sector, expected) in [
            (0, 512, "vfat: 0 B is too small, at least 64 KiB are needed; make the partition larger"),
            (
                1 << 20,
                520,
                "vfat: sectors of 520 bytes are not known to the format; use a disk with 512 or 4096",
            ),
        ] {
            assert_eq!(Geometry::new(Bytes(size), sector).unwrap_err().to_string(), expected);
        }
        assert!(Geometry::new(Bytes(64 << 10), 512).is_ok());
        assert!(Geometry::new(Bytes(u64::MAX), 512).is_ok(), "what is too large stays unused");
    }

    proptest! {
        /// Everything has its place within the device, and the tables describe every cluster.
        #[test]
        fn parts_fit_into_the_whole(size in any::<u64>(), shift in 0u32..50, sector in prop::sample::select(vec![512, 1024, 2048, 4096])) {
            let size = size >> shift;
            let Ok(g) = Geometry::new(Bytes(size), sector) else { return Ok(()) };
            prop_assert!(g.sectors * g.sector <= size);
            prop_assert!(g.reserved + FATS * g.fat + g.clusters * g.per_cluster <= g.sectors);
            prop_assert!(g.clusters >= 1 && g.clusters <= MOST_CLUSTERS && g.per_cluster <= MOST_PER_CLUSTER);
        }
    }
}
