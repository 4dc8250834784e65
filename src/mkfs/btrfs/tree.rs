//! A tree: items sorted by their keys, cut into leaves, and nodes above them that lead to each. btrfs documentation,
//! "On-disk format", and the checks of the kernel's `fs/btrfs/tree-checker.c`.

use std::{collections::BTreeMap, prelude::v1::*};

use super::{
    Context, GENERATION, NODE,
    checksum::seal,
    key::{KEY, Key},
};
use crate::mkfs::record::Record;

/// Bytes of a block's header.
const HEADER: usize = 101;
/// Bytes of a block behind its header.
const ROOM: usize = NODE as usize - HEADER;
/// Bytes that an item takes beside its data: key, offset, length.
const ITEM: usize = KEY + 8;
/// Bytes of an entry in a node: key, address, generation.
const POINTER: usize = KEY + 16;
/// Entries of a node, at most.
const POINTERS: usize = ROOM / POINTER;
/// Flags of a header: written, and back references as they have been since 2009.
const FLAGS: u64 = 1 | 1 << 56;

/// The items of a tree.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Tree(BTreeMap<Key, Vec<u8>>);

/// The number of blocks of a tree on each level, the leaves first; the last level has one, the root.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Shape(Vec<u64>);

/// The place of a tree's blocks: one behind the other, leaves first and the root last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Place {
    /// The number of the tree.
    pub owner: u64,
    /// The address of the first block.
    pub start: u64,
    /// The number of blocks by level.
    pub shape: Shape,
}

impl Shape {
    /// All blocks.
    pub fn blocks(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The level of the root.
    pub fn level(&self) -> u8 {
        self.0.len().saturating_sub(1) as u8
    }
}

impl Place {
    /// The address of the root.
    pub fn root(&self) -> u64 {
        self.start + (self.shape.blocks() - 1) * NODE
    }

    /// Address and level of each block.
    pub fn blocks(&self) -> impl Iterator<Item = (u64, u8)> + '_ {
        let levels = self.shape.0.iter().enumerate();
        let levels = levels.flat_map(|(level, &blocks)| (0..blocks).map(move |_| level as u8));
        levels.enumerate().map(|(index, level)| (self.start + index as u64 * NODE, level))
    }
}

impl Tree {
    /// Adds an item. Names with the same hash share one item.
    pub fn insert(&mut self, key: Key, data: Vec<u8>) {
        self.0.entry(key).or_default().extend(data);
    }

    /// Adds several items.
    pub fn extend(&mut self, items: impl IntoIterator<Item = (Key, Vec<u8>)>) {
        items.into_iter().for_each(|(key, data)| self.insert(key, data));
    }

    /// Its shape.
    pub fn shape(&self) -> Shape {
        let mut levels = vec![self.leaves().len() as u64];
        while let Some(&blocks) = levels.last()
            && blocks > 1
        {
            levels.push(blocks.div_ceil(POINTERS as u64));
        }
        Shape(levels)
    }

    /// The items, cut into leaves: at least one, each as full as can be.
    fn leaves(&self) -> Vec<Vec<(Key, &[u8])>> {
        let mut leaves = vec![Vec::new()];
        let mut used = 0;
        for (&key, data) in &self.0 {
            let needed = ITEM + data.len();
            if used + needed > ROOM {
                leaves.push(Vec::new());
                used = 0;
            }
            used += needed;
            if let Some(leaf) = leaves.last_mut() {
                leaf.push((key, data.as_slice()));
            }
        }
        leaves
    }

    /// All blocks, in the order of their addresses.
    pub fn blocks(&self, place: &Place, context: &Context) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut at = place.start;
        // First key and address of each block of the level below.
        let mut below: Vec<(Key, u64)> = Vec::new();
        for leaf in self.leaves() {
            below.extend(leaf.first().map(|&(key, _)| (key, at)));
            bytes.extend(leaf_block(&leaf, header(place.owner, at, 0, leaf.len(), context)));
            at += NODE;
        }
        let mut level = 1;
        while below.len() > 1 {
            let mut nodes = Vec::new();
            for pointers in below.chunks(POINTERS) {
                nodes.extend(pointers.first().map(|&(key, _)| (key, at)));
                bytes.extend(node_block(pointers, header(place.owner, at, level, pointers.len(), context)));
                at += NODE;
            }
            below = nodes;
            level += 1;
        }
        bytes
    }
}

/// A block with nothing but its header.
fn header(owner: u64, at: u64, level: u8, items: usize, context: &Context) -> Record {
    let mut block = Record::zeroed(NODE);
    block.bytes(32, context.uuid.as_bytes()).le64(48, at).le64(56, FLAGS);
    block.bytes(64, context.chunk_tree.as_bytes()).le64(80, GENERATION).le64(88, owner);
    block.le32(96, items as u64).u8(100, level);
    block
}

/// Heads grow from the front, data from the end.
fn leaf_block(items: &[(Key, &[u8])], mut block: Record) -> Vec<u8> {
    let mut end = ROOM;
    for (index, (key, data)) in items.iter().enumerate() {
        end -= data.len();
        let at = HEADER + ITEM * index;
        key.put(&mut block, at);
        block.le32(at + KEY, end as u64).le32(at + KEY + 4, data.len() as u64).bytes(HEADER + end, data);
    }
    seal(&mut block);
    block.into_bytes()
}

fn node_block(pointers: &[(Key, u64)], mut block: Record) -> Vec<u8> {
    for (index, &(key, address)) in pointers.iter().enumerate() {
        let at = HEADER + POINTER * index;
        key.put(&mut block, at);
        block.le64(at + KEY, address).le64(at + KEY + 8, GENERATION);
    }
    seal(&mut block);
    block.into_bytes()
}
