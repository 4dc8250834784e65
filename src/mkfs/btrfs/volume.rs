//! Subvolumes and the directories that lead to them.

use std::{collections::BTreeMap, prelude::v1::*};

use super::{
    BtrfsError, Choices, SubvolumeFlags,
    checksum::name_hash,
    item,
    key::{Key, kind, object},
    tree::Tree,
};

/// The longest name, in bytes.
const LONGEST_NAME: usize = 255;
/// The longest path, in bytes (`PATH_MAX` without the NUL): a longer one could not be named in a system call.
const LONGEST_PATH: usize = 4095;
/// Indices of entries begin here; 0 and 1 would be `.` and `..`.
const FIRST_INDEX: u64 = 2;

/// A tree of files: the top, or a subvolume. A new one holds directories only.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Volume {
    /// Its number.
    pub id: u64,
    /// Its flags; the top has none.
    pub flags: SubvolumeFlags,
    /// Its directory entry; None for the top.
    pub link: Option<Link>,
    /// The root and the directories below, by inode number.
    directories: Vec<Directory>,
}

/// The entry of a subvolume.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Link {
    /// The tree that has the entry.
    pub volume: u64,
    /// The directory in it.
    pub directory: u64,
    /// The number of the entry.
    pub index: u64,
    /// The name.
    pub name: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Directory {
    /// Inode of the directory above, index and name of the entry there.
    parent: (u64, u64, Vec<u8>),
    entries: Vec<(Vec<u8>, Target)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Target {
    Inode(u64),
    Volume(u64),
}

/// The top and all subvolumes, by number, and the number of the one that is mounted by default.
pub(super) struct Volumes {
    /// The top first, then the subvolumes in the order in which they were asked for.
    pub list: Vec<Volume>,
    /// The default one.
    pub default: u64,
}

impl Volumes {
    /// The volumes that were chosen.
    pub fn new(choices: &Choices) -> Result<Self, BtrfsError> {
        let mut wanted = BTreeMap::new();
        for (subvolume, id) in choices.subvolumes.iter().zip(object::FIRST_FREE..) {
            if wanted.insert(components(subvolume.path)?, (id, subvolume.flags)).is_some() {
                return Err(BtrfsError::Twice { path: subvolume.path.into() });
            }
        }
        let default = match choices.default_subvolume {
            None => object::FS_TREE,
            Some(path) => match wanted.get(&components(path)?) {
                Some(&(id, _)) => id,
                None => return Err(BtrfsError::NoDefault { path: path.into() }),
            },
        };
        let mut top = Volume::new(object::FS_TREE, SubvolumeFlags::default(), None);
        let mut volumes = BTreeMap::new();
        // By path, so that ancestors come first: then each one's parent exists.
        for (path, &(id, flags)) in &wanted {
            let mut volume = object::FS_TREE;
            let mut directory = object::FIRST_FREE;
            let mut above = Vec::new();
            for &name in path {
                above.push(name);
                let tree = volumes.get_mut(&volume).unwrap_or(&mut top);
                let target = match wanted.get(&above) {
                    Some(&(id, _)) => Target::Volume(id),
                    None => Target::Inode(tree.next_inode()),
                };
                match tree.enter(directory, name, target) {
                    (Target::Inode(inode), _) => directory = inode,
                    (Target::Volume(inner), link) => {
                        volumes.entry(inner).or_insert_with(|| Volume::new(id, flags, link));
                        (volume, directory) = (inner, object::FIRST_FREE);
                    }
                }
            }
        }
        let mut list = vec![top];
        list.extend(volumes.into_values());
        Ok(Self { list, default })
    }
}

/// The names of a path from the top.
fn components(path: &str) -> Result<Vec<&[u8]>, BtrfsError> {
    let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty() && *name != ".").collect();
    let fits = |name: &&str| *name != ".." && name.len() <= LONGEST_NAME && !name.contains('\0');
    if !path.starts_with('/') || path.len() > LONGEST_PATH || names.is_empty() || !names.iter().all(fits) {
        return Err(BtrfsError::Path { path: path.into() });
    }
    Ok(names.into_iter().map(str::as_bytes).collect())
}

impl Volume {
    fn new(id: u64, flags: SubvolumeFlags, link: Option<Link>) -> Self {
        let root = Directory { parent: (object::FIRST_FREE, 0, b"..".to_vec()), entries: Vec::new() };
        Self { id, flags, link, directories: vec![root] }
    }

    fn next_inode(&self) -> u64 {
        object::FIRST_FREE + self.directories.len() as u64
    }

    /// The entry `name` of a directory, made to lead to `target` when it is missing. A link comes with a subvolume.
    fn enter(&mut self, inode: u64, name: &[u8], target: Target) -> (Target, Option<Link>) {
        let id = self.id;
        let Some(directory) = self.directories.get_mut((inode - object::FIRST_FREE) as usize) else {
            // Inode numbers are this type's own.
            return (target, None);
        };
        let there = directory.entries.iter().position(|(there, _)| there == name);
        let at = there.unwrap_or(directory.entries.len());
        let index = FIRST_INDEX + at as u64;
        if let Some((_, target)) = directory.entries.get(at) {
            return (*target, Some(Link { volume: id, directory: inode, index, name: name.into() }));
        }
        directory.entries.push((name.into(), target));
        if let Target::Inode(_) = target {
            self.directories.push(Directory { parent: (inode, index, name.into()), entries: Vec::new() });
        }
        (target, Some(Link { volume: id, directory: inode, index, name: name.into() }))
    }

    /// Its tree.
    pub fn tree(&self, now: u64) -> Tree {
        let mut tree = Tree::default();
        for (directory, inode) in self.directories.iter().zip(object::FIRST_FREE..) {
            let names = directory.entries.iter().map(|(name, _)| name.len() as u64).sum();
            let (parent, index, name) = &directory.parent;
            tree.insert(Key::new(inode, kind::INODE_ITEM, 0), item::directory(names, self.flags.no_cow, now));
            tree.insert(Key::new(inode, kind::INODE_REF, *parent), item::inode_ref(*index, name));
            for ((name, target), index) in directory.entries.iter().zip(FIRST_INDEX..) {
                let location = match *target {
                    Target::Inode(inode) => Key::new(inode, kind::INODE_ITEM, 0),
                    Target::Volume(id) => Key::new(id, kind::ROOT_ITEM, u64::MAX),
                };
                let entry = item::entry(location, name);
                tree.insert(Key::new(inode, kind::DIR_ITEM, name_hash(name)), entry.clone());
                tree.insert(Key::new(inode, kind::DIR_INDEX, index), entry);
            }
        }
        tree
    }
}
