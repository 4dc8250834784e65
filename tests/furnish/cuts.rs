//! The power is cut before every change of every case of the table. Data that was written and not flushed is lost, as a
//! file system with delayed allocation loses it: the name is there, the content is not. The next boot, of the new
//! version or of the old one, ends as if there had been no cut.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    os::{
        fd::AsFd,
        unix::{ffi::OsStrExt, fs::MetadataExt},
    },
    path::{Path, PathBuf},
};

use hermetic_init::{
    etc::store,
    tree::{
        open,
        watch::{FLUSH, Unwatched, Watch},
    },
};
use rustix::io::Errno;

use super::{
    table::{Case, Machine},
    tree::{self, Tree},
};

/// Cuts the power before a change, and knows which files are safe by then.
pub struct Power {
    root: PathBuf,
    changes_left: Cell<usize>,
    safe: RefCell<BTreeSet<u64>>,
    /// The states that a cut before each change would have left, when they are asked for.
    states: Option<RefCell<BTreeSet<Tree>>>,
}

impl Power {
    /// The power of a machine, which goes after so many changes.
    pub fn new(machine: &Machine, changes: usize) -> Self {
        let power = Self {
            root: machine.root(),
            changes_left: Cell::new(changes),
            safe: RefCell::new(BTreeSet::new()),
            states: None,
        };
        power.flush();
        power
    }

    /// A power that stays, and a record of the states that a cut would have left.
    pub fn recorded(machine: &Machine) -> Self {
        Self { states: Some(RefCell::default()), ..Self::new(machine, usize::MAX) }
    }

    /// The record.
    pub fn states(self) -> BTreeSet<Tree> {
        self.states.unwrap_or_default().into_inner()
    }

    fn flush(&self) {
        let mut safe = BTreeSet::new();
        files(&self.root, &mut |path| {
            safe.insert(inode(path));
        });
        self.safe.replace(safe);
    }

    /// Drops the data that was not flushed.
    pub fn lose(&self) {
        files(&self.root, &mut |path| {
            if !self.safe.borrow().contains(&inode(path)) {
                fs::OpenOptions::new().write(true).open(path).unwrap().set_len(0).unwrap();
            }
        });
    }
}

fn inode(path: &Path) -> u64 {
    fs::symlink_metadata(path).unwrap().ino()
}

impl Watch for Power {
    fn before(&self, call: &'static str, path: &[u8]) -> Result<(), Errno> {
        // A flush after which the power goes is the state before the change that follows it.
        let left = self.changes_left.get().checked_sub(1).ok_or(Errno::IO)?;
        self.changes_left.set(left);
        if let Some(states) = &self.states {
            states.borrow_mut().insert(tree::after_a_cut(&self.root, &self.safe.borrow()));
        }
        if call == FLUSH && path.is_empty() {
            self.flush();
        } else if call == FLUSH {
            let path = Path::new(OsStr::from_bytes(path)).strip_prefix("/").unwrap();
            self.safe.borrow_mut().insert(inode(&self.root.join(path)));
        }
        Ok(())
    }
}

fn files(directory: &Path, work: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            files(&entry.path(), work);
        } else if kind.is_file() {
            work(&entry.path());
        }
    }
}

/// Cuts an update at its `cut`th change; None when it has fewer changes.
fn cut(case: &Case, cut: usize) -> Option<Machine> {
    let machine = Machine::new(case, "cuts");
    let power = Power::new(&machine, cut);
    if machine.boot("v2", &power).is_ok() {
        assert_eq!(tree::read(&machine.etc()), case.updated(), "{}", case.name);
        return None;
    }
    power.lose();
    // An interruption does not hide which /usr was followed.
    let root = open::root(&machine.root()).unwrap();
    let last = store::last(root.as_fd()).unwrap().map(|head| head.usr);
    assert!(["image:test/v1", "image:test/v2"].map(|usr| Some(usr.to_owned())).contains(&last), "{last:?}");
    Some(machine)
}

#[test]
fn every_cut_of_every_case_is_survived() {
    let mut cuts = 0;
    for case in Case::all() {
        for at in 0.. {
            let Some(machine) = cut(&case, at) else { break };
            machine.boot("v2", &Unwatched).unwrap();
            assert_eq!(tree::read(&machine.etc()), case.updated(), "{}: cut {at}, on", case.name);

            let machine = cut(&case, at).unwrap();
            machine.boot("v1", &Unwatched).unwrap();
            let (now, back) = (tree::read(&machine.etc()), case.rolled_back());
            // An entry that was merged into a database stays since it came; a copied file is that of the first version
            // that has it.
            let old = case.first();
            let before = tree::read(&Machine::new(&case, "before").etc());
            for path in now.keys().chain(back.keys()) {
                let there = now.get(path);
                let expected = [back.get(path), before.get(path), old.get(path)];
                assert!(expected.contains(&there), "{}: cut {at}, back: {path} is {there:?}", case.name);
            }
            cuts += 1;
        }
    }
    println!("{cuts} power cuts, each survived forward and back");
    assert!(cuts > 400, "{cuts}");
}
