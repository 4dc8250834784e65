//! The place of every block: the order in which structures take their places, and the place each one looks for first.
//! The same order and the same first places as mke2fs, because the kernel's allocator was tuned on them, and because a
//! layout that is equal to the last block has been proved on disks for twenty years.

use std::prelude::v1::*;

use super::{
    Ext4Error,
    extent::Extents,
    geometry::{FLEX, Geometry},
    space::Space,
};

/// Blocks of the root directory.
const ROOT_BLOCKS: u64 = 1;
/// Bytes of lost+found: room for the finds of an e2fsck that must not allocate.
const LOST_FOUND_BYTES: u64 = 16 << 10;
/// lost+found has directly mapped blocks only, from the days of block maps.
const LOST_FOUND_MOST_BLOCKS: u64 = 12;
/// Blocks in one extent, at most. ext4 documentation, "Extent Tree".
const LONGEST_EXTENT: u64 = 32768;

/// The first blocks of a group's metadata.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Tables {
    pub block_bitmap: u64,
    pub inode_bitmap: u64,
    pub inode_table: u64,
}

/// The places of all structures.
pub(super) struct Layout {
    /// For each group.
    pub groups: Vec<Tables>,
    /// The root directory.
    pub root: Extents,
    /// lost+found.
    pub lost_found: Extents,
    /// The doubly indirect block of the resize inode.
    pub resize: u64,
    /// The journal.
    pub journal: Extents,
    /// The block with the journal's extents, when they do not fit into its inode.
    pub journal_node: Option<u64>,
    /// The orphan file.
    pub orphan: Extents,
    /// The blocks that no file can ever use: statfs subtracts them.
    pub overhead: u64,
    /// The blocks in use.
    pub space: Space,
}

impl Layout {
    /// Finds a place for everything.
    pub fn new(geometry: &Geometry) -> Result<Self, Ext4Error> {
        let mut space = Space::new(geometry);
        space.take(geometry.first, geometry.backup_blocks(0));
        for group in geometry.backups() {
            // The last group may end within the reserve.
            space.take(geometry.start(group), geometry.backup_blocks(group).min(geometry.length(group)));
        }
        let groups = tables(geometry, &mut space).ok_or(Ext4Error::NoRoom { what: "group tables" })?;
        let overhead = space.used() + geometry.journal_blocks + geometry.first;

        let no_room = |what| Ext4Error::NoRoom { what };
        let root = file(&mut space, ROOT_BLOCKS).ok_or(no_room("root directory"))?;
        let lost_found_blocks = (LOST_FOUND_BYTES / geometry.block).min(LOST_FOUND_MOST_BLOCKS);
        let lost_found = file(&mut space, lost_found_blocks).ok_or(no_room("lost+found"))?;
        let behind_tables =
            geometry.first + geometry.gdt_blocks + geometry.reserved_gdt + 2 + geometry.table_blocks;
        let resize = space.take_one(behind_tables).ok_or(no_room("resize inode"))?;
        let (journal, journal_node) = journal(geometry, &mut space).ok_or(no_room("journal"))?;
        let orphan = file(&mut space, geometry.orphan_blocks).ok_or(no_room("orphan file"))?;
        if !orphan.fit_inode() || !lost_found.fit_inode() {
            return Err(no_room("orphan file in one piece"));
        }
        Ok(Self { groups, root, lost_found, resize, journal, journal_node, orphan, overhead, space })
    }
}

/// A file that grows block by block from the first free block of the file system on.
fn file(space: &mut Space, blocks: u64) -> Option<Extents> {
    let mut extents = Extents::default();
    let mut goal = 0;
    for _ in 0..blocks {
        goal = space.take_one(goal)?;
        extents.grow(goal, 1);
    }
    Some(extents)
}

/// The bitmaps and inode tables of all groups. With flex_bg those of 16 groups stand side by side, bitmaps first, at the
/// start of the first of the 16: an empty file system is then one long free run.
fn tables(geometry: &Geometry, space: &mut Space) -> Option<Vec<Tables>> {
    let mut all: Vec<Tables> = Vec::with_capacity(geometry.groups as usize);
    for group in 0..geometry.groups {
        let flex = Flex::of(group, geometry);
        let before = if group == flex.first { None } else { all.last().copied() };
        let near = |goal: u64, each: u64, space: &Space| flex.place(goal, each, space, geometry);

        // Room for the bitmaps of all 16 is left even if the groups are fewer, unless this is the last flex group: a
        // group that cannot grow needs no gaps. (Fewer than 16 but more than one: a single group has the gaps again.)
        let stride = match flex.last - flex.first {
            span if flex.last + 1 == geometry.groups && span > 0 => span + 1,
            _ => FLEX,
        };

        let goal = before.map_or(0, |tables| tables.block_bitmap + 1);
        let block_bitmap = flex.take(near(goal, 1, space)?, 1, space, geometry)?;

        let goal = before.map_or(block_bitmap + stride, |tables| tables.inode_bitmap + 1);
        let inode_bitmap = flex.take(near(goal, 1, space)?, 1, space, geometry)?;

        let goal = before.map_or(inode_bitmap + stride, |tables| tables.inode_table + geometry.table_blocks);
        let start = near(goal, geometry.table_blocks, space)?;
        let inode_table = flex.take(start, geometry.table_blocks, space, geometry)?;

        all.push(Tables { block_bitmap, inode_bitmap, inode_table });
    }
    Some(all)
}

/// The groups whose tables stand together, seen from one of them.
struct Flex {
    first: u64,
    last: u64,
    /// Groups from this one to the last.
    remaining: u64,
}

impl Flex {
    fn of(group: u64, geometry: &Geometry) -> Self {
        let first = group / FLEX * FLEX;
        let last = (first + FLEX).min(geometry.groups) - 1;
        Self { first, last, remaining: last - group + 1 }
    }

    /// Returns the place for tables of `each` blocks for the remaining groups: at `goal` or shortly behind it (0: there
    /// is no goal), else where all fit, else where one fits.
    fn place(&self, goal: u64, each: u64, space: &Space, geometry: &Geometry) -> Option<u64> {
        let all = (self.remaining * each).min(geometry.per_group / 4);
        if goal > 0
            && goal < geometry.blocks
            && let Some(start) = space.fit(goal, goal + all, each)
        {
            return Some(start);
        }
        let (start, end) = (geometry.start(self.first), geometry.last(self.last));
        space
            .fit(start, end, all)
            .or_else(|| space.fit(start, end, each))
            .or_else(|| space.fit(geometry.first, end, each))
    }

    /// Takes the first room for `length` blocks from `start` on.
    fn take(&self, start: u64, length: u64, space: &mut Space, geometry: &Geometry) -> Option<u64> {
        let found = space.fit(start, geometry.last(self.last), length)?;
        space.take(found, length);
        Some(found)
    }
}

/// The journal: near the middle of the file system, in extents as long as can be. If they are more than its inode holds,
/// they move into a block of their own, preferably the one before the journal, at the moment when the fifth comes.
fn journal(geometry: &Geometry, space: &mut Space) -> Option<(Extents, Option<u64>)> {
    let mut extents = Extents::default();
    let mut node = None;
    let mut goal = geometry.start(middle(geometry, space));
    let mut left = geometry.journal_blocks;
    while left > 0 {
        let (start, length) = space.run(goal, left.min(LONGEST_EXTENT))?;
        space.take(start, length);
        extents.add(start, length);
        if node.is_none() && !extents.fit_inode() {
            node = Some(space.take_one(extents.start().saturating_sub(1))?);
        }
        left -= length;
        goal = start + length;
    }
    extents.fit_node(geometry).then_some((extents, node))
}

/// The group where the journal begins: in the middle, and of two or three groups there the one with most room.
fn middle(geometry: &Geometry, space: &Space) -> u64 {
    let free = |group| geometry.length(group) - space.used_in(group);
    let half = geometry.group_of((geometry.blocks - geometry.first) / 2);
    let start = if half > FLEX {
        (half / FLEX * FLEX..geometry.groups).find(|&group| free(group) > 0).unwrap_or(0)
    } else {
        half.saturating_sub(1)
    };
    let end = if half > FLEX { start + 1 } else { half + 1 }.min(geometry.groups - 1);
    (start..=end).fold(start, |best, group| if free(group) > free(best) { group } else { best })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{mkfs::ext4::BlockSize, units::Bytes};

    proptest! {
        /// For any size, every structure finds a place, and the blocks counted as used are the blocks that were
        /// allocated.
        #[test]
        fn every_size_has_a_layout(mib in 8u64..100_000, rest in 0u64..1 << 20, small in any::<bool>()) {
            let block_size = if small { BlockSize::B1024 } else { BlockSize::B4096 };
            let geometry = Geometry::new(Bytes((mib << 20) + rest), block_size).unwrap();
            let layout = Layout::new(&geometry).unwrap();
            let backups: u64 = geometry.backups().into_iter().map(|group| geometry.backup_blocks(group)).sum();
            let tables = geometry.groups * (2 + geometry.table_blocks);
            let files = [&layout.root, &layout.lost_found, &layout.journal, &layout.orphan];
            let in_files: u64 = files.iter().map(|file| file.blocks()).sum();
            let single = 1 + u64::from(layout.journal_node.is_some());
            let used = geometry.backup_blocks(0) + backups + tables + in_files + single;
            prop_assert_eq!(layout.space.used(), used);
            let listed: u64 = layout.space.runs_within(0, geometry.blocks).map(|(from, to)| to - from).sum();
            prop_assert_eq!(listed, used);
        }
    }
}
