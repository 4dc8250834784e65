//! All trees, and where each one's blocks are: the chunk tree at the beginning of the system chunk, the others one behind
//! the other from the beginning of the metadata chunk.

use std::prelude::v1::*;

use uuid::Uuid;

use super::{
    BtrfsError, Context, NODE,
    checksum::name_hash,
    item::{self, RootKind},
    key::{Key, kind, object},
    tree::{Place, Shape, Tree},
    volume::{Volume, Volumes},
};
use crate::mkfs::record::Record;

/// The part of the metadata chunk that an empty file system may fill: the rest is for files.
const SHARE: u64 = 4;
/// The entry of the root tree's directory that leads to the default subvolume.
const DEFAULT: &[u8] = b"default";

/// All trees in their places.
pub(super) struct Forest {
    /// The chunk tree.
    pub chunk: (Place, Tree),
    /// All others, the root tree first.
    pub trees: Vec<(Place, Tree)>,
}

/// A tree that the root tree leads to.
struct Planted {
    owner: u64,
    kind: RootKind,
    tree: Tree,
}

impl Forest {
    /// Grows all trees.
    pub fn new(context: &Context, volumes: &Volumes) -> Result<Self, BtrfsError> {
        let chunk_tree = chunk_tree(context);
        let chunk = Place {
            owner: object::CHUNK_TREE,
            start: context.chunks.system.start,
            shape: chunk_tree.shape(),
        };
        let mut planted = planted(context, volumes);
        // A root item has the same length for any place of its tree: this decides the shape of the root tree.
        let nowhere = |planted: &Planted| place(planted.owner, 0, planted.tree.shape());
        let unplaced: Vec<Place> = planted.iter().map(nowhere).collect();
        let root_shape = root_tree(context, volumes, &planted, &unplaced).shape();

        // The extent tree lists its own blocks too, so it may need one more than before they were counted.
        let (places, extents) = loop {
            let shapes = planted.iter().map(|planted| (planted.owner, planted.tree.shape()));
            let root = (object::ROOT_TREE, root_shape.clone());
            let places = side_by_side(context.chunks.metadata.start, std::iter::once(root).chain(shapes));
            let extents = extent_tree(context, &chunk, &places);
            let Some(of_extents) = planted.iter_mut().find(|planted| planted.owner == object::EXTENT_TREE)
            else {
                break (places, extents);
            };
            let settled = of_extents.tree.shape() == extents.shape();
            of_extents.tree = extents.clone();
            if settled {
                break (places, extents);
            }
        };
        if blocks(&places) * NODE > context.chunks.metadata.length / SHARE {
            return Err(BtrfsError::NoRoom { subvolumes: volumes.list.len().saturating_sub(1) });
        }
        for planted in &mut planted {
            match planted.owner {
                object::EXTENT_TREE => planted.tree = extents.clone(),
                object::FREE_SPACE_TREE => planted.tree = free_space_tree(context, &chunk, &places),
                _ => {}
            }
        }
        let mut places = places.into_iter();
        let root_place = places.next();
        let places: Vec<Place> = places.collect();
        let root = root_tree(context, volumes, &planted, &places);
        let mut trees: Vec<(Place, Tree)> = root_place.map(|place| (place, root)).into_iter().collect();
        trees.extend(places.into_iter().zip(planted.into_iter().map(|planted| planted.tree)));
        Ok(Self { chunk: (chunk, chunk_tree), trees })
    }

    /// The place of a tree; None when there is no such tree.
    pub fn place(&self, owner: u64) -> Option<&Place> {
        let all = std::iter::once(&self.chunk).chain(&self.trees);
        all.map(|(place, _)| place).find(|place| place.owner == owner)
    }

    /// The blocks of the trees in the metadata chunk.
    pub fn metadata(&self, context: &Context) -> Vec<u8> {
        self.trees.iter().flat_map(|(place, tree)| tree.blocks(place, context)).collect()
    }

    /// The blocks of the chunk tree.
    pub fn system(&self, context: &Context) -> Vec<u8> {
        self.chunk.1.blocks(&self.chunk.0, context)
    }
}

fn place(owner: u64, start: u64, shape: Shape) -> Place {
    Place { owner, start, shape }
}

fn side_by_side(start: u64, shapes: impl Iterator<Item = (u64, Shape)>) -> Vec<Place> {
    let mut at = start;
    shapes
        .map(|(owner, shape)| {
            let start = at;
            at += shape.blocks() * NODE;
            place(owner, start, shape)
        })
        .collect()
}

fn blocks(places: &[Place]) -> u64 {
    places.iter().map(|place| place.shape.blocks()).sum()
}

/// All trees but root tree and chunk tree. Those of extents and free space are completed when all have their places.
fn planted(context: &Context, volumes: &Volumes) -> Vec<Planted> {
    let internal = |owner, tree| Planted { owner, kind: RootKind::Internal, tree };
    let mut relocation = Tree::default();
    root_directory(&mut relocation, object::FIRST_FREE, context.now);
    let nothing = place(object::CHUNK_TREE, 0, Tree::default().shape());
    let mut planted = vec![
        internal(object::EXTENT_TREE, Tree::default()),
        internal(object::DEV_TREE, device_tree(context)),
        internal(object::CSUM_TREE, Tree::default()),
        internal(object::UUID_TREE, uuid_tree(context, volumes)),
        internal(object::FREE_SPACE_TREE, free_space_tree(context, &nothing, &[])),
        Planted { owner: object::DATA_RELOC_TREE, kind: RootKind::Relocation, tree: relocation },
    ];
    planted.extend(volumes.list.iter().map(|volume| {
        let uuid = context.volume_uuid(volume.id);
        let kind = match volume.link {
            None => RootKind::Top { uuid },
            Some(_) => RootKind::Subvolume { uuid, read_only: volume.flags.read_only },
        };
        Planted { owner: volume.id, kind, tree: volume.tree(context.now) }
    }));
    planted
}

/// A directory without entries.
fn root_directory(tree: &mut Tree, inode: u64, now: u64) {
    tree.insert(Key::new(inode, kind::INODE_ITEM, 0), item::directory(0, false, now));
    tree.insert(Key::new(inode, kind::INODE_REF, inode), item::inode_ref(0, b".."));
}

fn chunk_tree(context: &Context) -> Tree {
    let mut tree = Tree::default();
    let device = item::device(context, context.chunks.taken());
    tree.insert(Key::new(object::DEV_ITEMS, kind::DEV_ITEM, object::DEVICE), device);
    tree.extend(context.chunks.by_address().map(|chunk| (chunk.key(), chunk.item(context.device))));
    tree
}

fn device_tree(context: &Context) -> Tree {
    let mut tree = Tree::default();
    // Counters of five kinds of errors.
    let counters = Record::zeroed(5 * 8).into_bytes();
    tree.insert(Key::new(object::DEV_STATS, kind::PERSISTENT_ITEM, object::DEVICE), counters);
    for chunk in context.chunks.by_address() {
        tree.extend(chunk.device_extents(context.chunk_tree));
    }
    tree
}

/// From the UUID of a subvolume to its number.
fn uuid_tree(context: &Context, volumes: &Volumes) -> Tree {
    let mut tree = Tree::default();
    tree.extend(volumes.list.iter().map(|volume| {
        let (first, second) = halves(context.volume_uuid(volume.id));
        (Key::new(first, kind::UUID_SUBVOL, second), volume.id.to_le_bytes().to_vec())
    }));
    tree
}

fn halves(uuid: Uuid) -> (u64, u64) {
    let both = u128::from_le_bytes(uuid.into_bytes());
    (both as u64, (both >> 64) as u64)
}

fn extent_tree(context: &Context, chunk: &Place, places: &[Place]) -> Tree {
    let mut tree = Tree::default();
    for place in std::iter::once(chunk).chain(places) {
        tree.extend(place.blocks().map(|(at, level)| item::tree_block(at, level, place.owner)));
    }
    let chunks = &context.chunks;
    tree.extend([
        chunks.data.block_group(0),
        chunks.system.block_group(chunk.shape.blocks() * NODE),
        chunks.metadata.block_group(blocks(places) * NODE),
    ]);
    tree
}

fn free_space_tree(context: &Context, chunk: &Place, places: &[Place]) -> Tree {
    let mut tree = Tree::default();
    let chunks = &context.chunks;
    tree.extend(chunks.data.free_space(0));
    tree.extend(chunks.system.free_space(chunk.shape.blocks() * NODE));
    tree.extend(chunks.metadata.free_space(blocks(places) * NODE));
    tree
}

/// The root tree: the places of all other trees, the links between subvolumes, and the default subvolume.
fn root_tree(context: &Context, volumes: &Volumes, planted: &[Planted], places: &[Place]) -> Tree {
    let mut tree = Tree::default();
    for (planted, place) in planted.iter().zip(places) {
        let shape = &place.shape;
        let root = item::root(planted.kind, place.root(), shape.level(), shape.blocks(), context.now);
        tree.insert(Key::new(planted.owner, kind::ROOT_ITEM, 0), root);
    }
    volumes.list.iter().for_each(|volume| references(&mut tree, volume));
    root_directory(&mut tree, object::ROOT_TREE_DIR, context.now);
    let default = match volumes.default {
        object::FS_TREE => Key::new(object::FS_TREE, kind::ROOT_ITEM, u64::MAX),
        subvolume => Key::new(subvolume, kind::ROOT_ITEM, 0),
    };
    let entry = Key::new(object::ROOT_TREE_DIR, kind::DIR_ITEM, name_hash(DEFAULT));
    tree.insert(entry, item::entry(default, DEFAULT));
    let reference = Key::new(object::FS_TREE, kind::INODE_REF, object::ROOT_TREE_DIR);
    tree.insert(reference, item::inode_ref(0, DEFAULT));
    tree
}

fn references(tree: &mut Tree, volume: &Volume) {
    if let Some(link) = &volume.link {
        let data = item::root_ref(link.directory, link.index, &link.name);
        tree.insert(Key::new(volume.id, kind::ROOT_BACKREF, link.volume), data.clone());
        tree.insert(Key::new(link.volume, kind::ROOT_REF, volume.id), data);
    }
}
