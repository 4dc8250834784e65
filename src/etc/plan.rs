//! The plan of an update: the factory's old entries × the root's entries × the factory's new entries → steps.
//!
//! | root, against the factory's old entry | result |
//! |---|---|
//! | pristine | it follows: replaced, adjusted, or removed when the factory dropped it |
//! | changed | it stays, and is reported |
//! | removed | it stays removed, and so do new entries below it |
//! | never given, and the path is free | it is made |
//! | never given, and the path is taken | that stays, and is reported |
//! | a directory against a file, where the factory's has changed | the root's stays, the factory's is put beside it as `NAME.hermetic-new` |
//!
//! Every state that a path can have while the steps are carried out is in the [`Journal`], so that a boot after an
//! interrupted update can tell the update's changes from those of people, and may go on to any /usr.

use std::prelude::v1::*;

use super::{
    entry::{Digest, Entry, Kind, Snapshot, name, parent},
    manifest::{DATABASES, Head, Journal, Manifest, Users},
    rules::{BESIDE, Rules, Strategy, is_beside},
    users::{self, Contents, Kept},
};
use crate::{
    map::{Map, Names},
    sort,
};

/// The tree of before where there was none.
static NOTHING: Snapshot = Snapshot::new();

/// The longest name of a file (linux/limits.h, `NAME_MAX`), in bytes.
const LONGEST_NAME: usize = 255;

/// The input of a plan.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// The /usr that is followed, and the strategy.
    pub head: &'a Head,
    /// The manifest that was followed last; None when there is none.
    pub base: Option<&'a Manifest>,
    /// The journal of an interrupted update.
    pub journal: &'a Journal,
    /// The root's /etc. Content is read where `base` or `factory` have the path.
    pub root: &'a Snapshot,
    /// The factory's tree.
    pub factory: &'a Snapshot,
    /// The strategy for each path.
    pub rules: &'a Rules,
    /// The path of the factory's tree in the running system, for links into it: `/usr/share/factory/etc`.
    pub place: &'a str,
    /// The user databases of the root.
    pub root_users: &'a Contents,
    /// The user databases of the factory.
    pub factory_users: &'a Contents,
}

/// One change of the root's /etc. Paths are relative to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// The file, or the directory, which is empty by then, goes.
    Remove {
        /// The path.
        path: Vec<u8>,
        /// True for a directory.
        directory: bool,
    },
    /// The directory gets the factory's mode, owner and attributes.
    Adjust {
        /// The path.
        path: Vec<u8>,
        /// The factory's.
        from: Vec<u8>,
        /// The new entry.
        entry: Entry,
    },
    /// The factory's file or directory, the latter empty, appears at once in place of nothing or of a pristine file.
    Put {
        /// The path.
        path: Vec<u8>,
        /// The factory's.
        from: Vec<u8>,
        /// The new entry.
        entry: Entry,
        /// True when the path is taken.
        replaces: bool,
    },
    /// A user database gets this content at once, and keeps its mode and owner.
    Write {
        /// The path.
        path: Vec<u8>,
        /// All of it.
        content: Vec<u8>,
    },
}

impl Step {
    /// The path that it changes.
    pub fn path(&self) -> &[u8] {
        match self {
            Self::Remove { path, .. }
            | Self::Adjust { path, .. }
            | Self::Put { path, .. }
            | Self::Write { path, .. } => path,
        }
    }
}

/// The reason why an entry of the root does not follow the factory.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Deviation {
    /// It was changed.
    Changed,
    /// It was changed, and the factory has another one now.
    ChangedOnBothSides,
    /// It was changed, and the factory has dropped it.
    ChangedAndDropped,
    /// It was removed.
    Removed,
    /// It is new in the factory, and the path is taken.
    Occupied,
    /// One is a directory and the other is not; the factory's is at this path.
    Beside(Vec<u8>),
}

/// The steps, and the record to keep when they are done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// In this order.
    pub steps: Vec<Step>,
    /// The states in which they may leave their paths, and those in which an interrupted update may have left the user
    /// databases.
    pub journal: Journal,
    /// To be kept after the last.
    pub manifest: Manifest,
    /// The entries that do not follow, by path.
    pub deviations: Map<Deviation>,
    /// Entries of the user databases that do not follow.
    pub kept_users: Vec<Kept>,
}

impl Plan {
    /// Takes steps that failed out of the manifest: their paths have the record of before, so that the next update takes
    /// them for what they are. Returns the journal of their states.
    pub fn without(&mut self, failed: &[usize], base: Option<&Manifest>) -> Journal {
        let mut left = Journal::default();
        let mut paths: Vec<_> =
            failed.iter().filter_map(|number| self.steps.get(*number)).map(Step::path).collect();
        sort::slice(&mut paths);
        let has_failed = |path: &[u8]| paths.binary_search(&path).is_ok();
        let before = base.map(|base| &base.tree);
        self.manifest.tree = mixed(&self.manifest.tree, before, &|path| has_failed(path));
        // The file of /usr beside one of the root's is not there.
        let is_gone =
            |deviation: &Deviation| matches!(deviation, Deviation::Beside(beside) if has_failed(beside));
        let here = self.deviations.iter().filter(|(_, deviation)| !is_gone(deviation));
        self.deviations = here.map(|(path, deviation)| (&**path, deviation.clone())).collect();
        left.paths.extend(self.journal.paths.iter().filter(|(path, _)| has_failed(path)).cloned());
        for (file, _) in DATABASES.iter().filter(|(file, _)| has_failed(file.as_bytes())) {
            keep_users(&mut self.manifest, file, base);
            left.users.extend(self.journal.users.iter().filter(|(key, _)| is_of(key, file)).cloned());
        }
        left.order();
        left
    }
}

/// Gives a database the record of before.
fn keep_users(manifest: &mut Manifest, file: &str, base: Option<&Manifest>) {
    manifest.users = mixed(&manifest.users, base.map(|base| &base.users), &|key| is_of(key, file));
}

/// Returns true for the key of an entry of this database.
fn is_of(key: &[u8], file: &str) -> bool {
    key.strip_prefix(file.as_bytes()).is_some_and(|rest| rest.starts_with(b":"))
}

/// The new values, but those of before for these names.
fn mixed<V: Clone>(new: &Map<V>, before: Option<&Map<V>>, is_old: &dyn Fn(&[u8]) -> bool) -> Map<V> {
    let mut mixed = Map::new();
    for (map, side) in [(Some(new), false), (before, true)] {
        for (name, value) in map.iter().flat_map(|map| map.iter()).filter(|(name, _)| is_old(name) == side) {
            mixed.insert(&**name, value.clone());
        }
    }
    mixed
}

/// Makes the plan.
pub fn plan(input: &Input<'_>) -> Plan {
    let mut planner = Planner {
        input,
        directories: input.root.iter().map(|(path, entry)| (&**path, entry.is_directory())).collect(),
        children: children(input.root),
        wanted: Names::new(),
        databases: Vec::new(),
        moved: Map::new(),
        removed: Vec::new(),
        made: Vec::new(),
        plan: Plan {
            steps: Vec::new(),
            journal: Journal { paths: Vec::new(), users: input.journal.users.clone() },
            manifest: Manifest::new(input.head.clone()),
            deviations: Map::new(),
            kept_users: Vec::new(),
        },
    };
    let desired = desired(input.factory, input.rules, input.place);
    // Directories that become files must be empty by then, so removals come first; entries that stand beside the root's
    // are only known when all others are.
    planner.drop_from_root(&|path| !is_beside(path) && !desired.contains_key(path));
    for (path, goal) in desired.iter() {
        planner.follow(path, goal);
    }
    let wanted = core::mem::take(&mut planner.wanted);
    planner.drop_from_root(&|path| is_beside(path) && !wanted.contains_key(path));
    planner.users();
    let Planner { mut plan, removed, made, .. } = planner;
    plan.steps = removed;
    plan.steps.extend(made);
    plan.journal.order();
    plan
}

/// The entry that the root should have at a path.
struct Goal {
    entry: Entry,
    strategy: Strategy,
}

/// The tree that a root has in which everything follows the factory.
pub fn wished(factory: &Snapshot, rules: &Rules, place: &str) -> Snapshot {
    desired(factory, rules, place).iter().map(|(path, goal)| (&**path, goal.entry.clone())).collect()
}

/// The factory's tree as the rules want it.
fn desired(factory: &Snapshot, rules: &Rules, place: &str) -> Map<Goal> {
    let mut desired: Map<Goal> = Map::new();
    for (path, entry) in factory.iter() {
        // An entry below a link or below a missing directory cannot be made.
        if parent(path).is_some_and(|above| !desired.get(above).is_some_and(|goal| goal.entry.is_directory()))
        {
            continue;
        }
        let strategy = rules.of_factory(path);
        let entry = match strategy {
            Strategy::None => continue,
            Strategy::Symlink => link(place, path),
            Strategy::Track | Strategy::Copy => entry.clone(),
        };
        desired.insert(&**path, Goal { entry, strategy });
    }
    desired
}

fn link(place: &str, path: &[u8]) -> Entry {
    let target = [place.as_bytes(), path].join(&b'/');
    Entry { kind: Kind::Link(target), mode: 0o777, uid: 0, gid: 0, xattrs: None }
}

/// The number of entries of each directory.
fn children(tree: &Snapshot) -> Map<usize> {
    let mut children = Map::new();
    tree.keys().for_each(|path| one_more(&mut children, path));
    children
}

/// Counts an entry of its directory.
fn one_more(children: &mut Map<usize>, path: &[u8]) {
    if let Some(above) = parent(path) {
        let count = children.get(above).map_or(0, |count| *count);
        children.insert(above, count + 1);
    }
}

struct Planner<'a> {
    input: &'a Input<'a>,
    /// True for the directories that there will be.
    directories: Map<bool>,
    /// The number of entries that each directory will still have.
    children: Map<usize>,
    /// The paths that entries of the factory get here, when under another name.
    moved: Map<Vec<u8>>,
    /// Paths that were looked at: they are not dropped.
    wanted: Names,
    /// The user databases that both sides have.
    databases: Vec<&'static str>,
    removed: Vec<Step>,
    made: Vec<Step>,
    plan: Plan,
}

impl Planner<'_> {
    fn base(&self, path: &[u8]) -> Option<&Entry> {
        self.input.base.and_then(|base| base.tree.get(path))
    }

    /// Returns true when the entry is unchanged since the factory gave it.
    fn is_pristine(&self, path: &[u8], now: &Entry) -> bool {
        self.base(path) == Some(now) || self.input.journal.explains(path, Some(now))
    }

    /// Plans the end of everything that the factory gave and does not give any more, the innermost first.
    fn drop_from_root(&mut self, goes: &dyn Fn(&[u8]) -> bool) {
        let base = self.input.base.map_or(&NOTHING, |base| &base.tree);
        let journal = self.input.journal.paths.iter().map(|(path, _)| path);
        let mut known = Names::new();
        for path in base.keys().chain(journal).filter(|path| goes(path)) {
            known.insert_new(&**path, ());
        }
        for path in known.keys().rev() {
            let Some(now) = self.input.root.get(path) else { continue };
            if !self.is_pristine(path, now) {
                self.deviates(path, Deviation::ChangedAndDropped);
            } else if !now.is_directory() || self.is_empty(path) {
                self.remove(path, now);
            }
        }
    }

    /// Plans the change for one of the factory's paths.
    fn follow(&mut self, from: &[u8], goal: &Goal) {
        let moved = parent(from).and_then(|above| self.moved.get(above));
        let path = match moved {
            Some(above) => [above, name(from)].join(&b'/'),
            None => from.to_vec(),
        };
        let is_moved = moved.is_some();
        if self.settle(from, &path, goal) {
            let beside = [&path, BESIDE].concat();
            if name(&beside).len() > LONGEST_NAME {
                self.deviates(&path, Deviation::ChangedOnBothSides);
                return;
            }
            self.deviates(&path, Deviation::Beside(beside.clone()));
            // An entry that is in the way there as well stays, and nothing is put anywhere.
            self.settle(from, &beside, goal);
            self.moved.insert(from, beside);
        } else if is_moved {
            self.moved.insert(from, path);
        }
    }

    /// Plans the root's entry at `path`. Returns true when it must be put elsewhere: a directory stands against a file.
    fn settle(&mut self, from: &[u8], path: &[u8], goal: &Goal) -> bool {
        self.wanted.insert_new(path, ());
        let now = self.input.root.get(path);
        let base = self.base(path).cloned();
        let is_copied = goal.strategy == Strategy::Copy;
        let is_database = !is_copied && self.is_database(path, goal, now);
        match now {
            None if !self.has_parent(path) => {}
            None if !is_copied && base.is_some() && !self.input.journal.explains(path, None) => {
                self.deviates(path, Deviation::Removed);
            }
            None => self.put(from, path, goal, None),
            Some(now) if is_copied || is_database || *now == goal.entry => {}
            Some(now) => {
                let pristine = self.is_pristine(path, now);
                if now.is_directory() != goal.entry.is_directory() {
                    if pristine && (!now.is_directory() || self.is_empty(path)) {
                        self.remove(path, now);
                        self.put(from, path, goal, None);
                    } else if base.as_ref() == Some(&goal.entry) {
                        self.deviates(path, Deviation::Changed);
                    } else {
                        return true;
                    }
                } else if !pristine {
                    let deviation = match &base {
                        None => Deviation::Occupied,
                        Some(base) if *base == goal.entry => Deviation::Changed,
                        Some(_) => Deviation::ChangedOnBothSides,
                    };
                    self.deviates(path, deviation);
                } else if now.is_directory() {
                    self.adjust(from, path, now, &goal.entry);
                } else {
                    self.put(from, path, goal, Some(now));
                }
            }
        }
        if !is_copied {
            self.plan.manifest.tree.insert(path, goal.entry.clone());
        }
        false
    }

    /// Returns true for a user database that both sides have: it is merged.
    fn is_database(&mut self, path: &[u8], goal: &Goal, now: Option<&Entry>) -> bool {
        let is_file = |entry: &Entry| matches!(entry.kind, Kind::File(_));
        let Some((file, _)) = DATABASES.iter().find(|(file, _)| file.as_bytes() == path) else {
            return false;
        };
        if !is_file(&goal.entry) {
            return false;
        }
        self.databases.push(file);
        now.is_some_and(is_file)
    }

    fn users(&mut self) {
        // Those that are merged: the others are files like all.
        let of = |contents: &Contents| -> Contents {
            let ours = self.databases.iter().filter_map(|file| Some((*file, contents.get(file.as_bytes())?)));
            ours.map(|(file, content)| (file, content.clone())).collect()
        };
        let (root, factory) = (of(self.input.root_users), of(self.input.factory_users));
        let nothing = Users::new();
        let base = self.input.base.map_or(&nothing, |base| &base.users);
        let merged = users::merge(base, self.input.journal, &root, &factory);
        for (file, kind) in DATABASES {
            let Some(content) = factory.get(file.as_bytes()) else { continue };
            for (key, digest) in users::digests(file, kind, content).iter() {
                self.plan.journal.users.push((key.clone(), *digest));
                self.plan.manifest.users.insert(&**key, *digest);
            }
        }
        for (file, content) in merged.changed.iter() {
            self.made.push(Step::Write { path: file.clone(), content: content.clone() });
        }
        // A database that is something else here was not merged.
        for (file, _) in DATABASES {
            if self.input.root.get(file.as_bytes()).is_some_and(|now| !matches!(now.kind, Kind::File(_))) {
                keep_users(&mut self.plan.manifest, file, self.input.base);
            }
        }
        self.plan.kept_users = merged.kept;
    }

    fn remove(&mut self, path: &[u8], now: &Entry) {
        self.may_be(path, Some(now.clone()));
        self.may_be(path, None);
        self.directories.insert(path, false);
        if let Some(count) = parent(path).and_then(|above| self.children.get_mut(above)) {
            *count = count.saturating_sub(1);
        }
        self.removed.push(Step::Remove { path: path.to_vec(), directory: now.is_directory() });
    }

    fn put(&mut self, from: &[u8], path: &[u8], goal: &Goal, now: Option<&Entry>) {
        self.may_be(path, now.cloned());
        self.may_be(path, Some(goal.entry.clone()));
        self.directories.insert(path, goal.entry.is_directory());
        if now.is_none() {
            one_more(&mut self.children, path);
        }
        self.made.push(Step::Put {
            path: path.to_vec(),
            from: from.to_vec(),
            entry: goal.entry.clone(),
            replaces: now.is_some(),
        });
    }

    fn adjust(&mut self, from: &[u8], path: &[u8], now: &Entry, entry: &Entry) {
        // Owner first, then mode, then attributes: see `apply`.
        let owned = Entry { uid: entry.uid, gid: entry.gid, ..now.clone() };
        let moded = Entry { mode: entry.mode, ..owned.clone() };
        if now.xattrs != entry.xattrs {
            self.may_be(path, Some(Entry { xattrs: Some(Digest::UNREAD), ..entry.clone() }));
        }
        for state in [now.clone(), owned, moded, entry.clone()] {
            self.may_be(path, Some(state));
        }
        self.made.push(Step::Adjust { path: path.to_vec(), from: from.to_vec(), entry: entry.clone() });
    }

    /// Returns true when the directory will have no entries.
    fn is_empty(&self, path: &[u8]) -> bool {
        self.children.get(path).is_none_or(|count| *count == 0)
    }

    /// Returns true when there will be a directory to put the path into.
    fn has_parent(&self, path: &[u8]) -> bool {
        parent(path).is_none_or(|above| self.directories.get(above) == Some(&true))
    }

    fn deviates(&mut self, path: &[u8], deviation: Deviation) {
        self.plan.deviations.insert(path, deviation);
    }

    fn may_be(&mut self, path: &[u8], state: Option<Entry>) {
        self.plan.journal.paths.push((path.to_vec(), state));
    }
}
