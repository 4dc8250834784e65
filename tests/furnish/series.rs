//! Two boots in a row whose power is cut, each before any of its changes or not at all, and a third that ends; each of them
//! of any version. The root, with all that is kept on it, is then as if the cut boots had not been, or had been whole; a file
//! that is copied or merged may be that of either.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
    thread,
};

use hermetic_init::tree::watch::Unwatched;

use super::{
    cuts::Power,
    table::{Case, Machine},
    tree::{self, Tree},
};

/// A machine whose roots are values.
struct Series {
    machine: Machine,
    /// The roots that whole boots have made, by the root and the version before.
    booted: BTreeMap<(Tree, &'static str), Tree>,
    /// The roots that cut boots have made, likewise.
    cut: BTreeMap<(Tree, &'static str), BTreeSet<Tree>>,
}

impl Series {
    fn new(case: &Case) -> Self {
        Self { machine: Machine::new(case, "series"), booted: BTreeMap::new(), cut: BTreeMap::new() }
    }

    /// Boots a version on this root.
    fn boot(&mut self, root: &Tree, version: &'static str) -> Tree {
        let key = (root.clone(), version);
        if let Some(booted) = self.booted.get(&key) {
            return booted.clone();
        }
        tree::make(&self.machine.root(), root);
        self.machine.boot(version, &Unwatched).unwrap();
        let booted = tree::whole(&self.machine.root());
        self.booted.insert(key, booted.clone());
        booted
    }

    /// The states in which a boot of a version leaves this root, cut anywhere or not at all.
    fn cuts(&mut self, root: &Tree, version: &'static str) -> BTreeSet<Tree> {
        let key = (root.clone(), version);
        if let Some(cut) = self.cut.get(&key) {
            return cut.clone();
        }
        tree::make(&self.machine.root(), root);
        let power = Power::recorded(&self.machine);
        self.machine.boot(version, &power).unwrap();
        let mut cut = power.states();
        cut.insert(tree::whole(&self.machine.root()));
        self.cut.insert(key, cut.clone());
        cut
    }
}

/// The part of a root that counts: a file that was to be renamed is made anew by the next boot that needs it.
fn counts(mut root: Tree) -> Tree {
    root.retain(|path, _| !path.contains("/.#"));
    root
}

/// Tries all series of a case. Returns how many were compared, and the wrong ones.
fn try_all(case: &Case) -> (usize, Vec<String>) {
    let versions = case.versions();
    let factories: BTreeMap<&str, Tree> =
        versions.iter().map(|version| (*version, case.factory(version))).collect();
    let mut series = Series::new(case);
    let start = tree::whole(&series.machine.root());
    let (mut compared, mut wrong) = (0, Vec::new());
    for &first in &versions {
        let after_first = series.boot(&start, first);
        for one in series.cuts(&start, first) {
            for &second in &versions {
                let whole = [&start, &after_first].map(|root| series.boot(root, second));
                let before: BTreeSet<&Tree> = [&start, &after_first].into_iter().chain(&whole).collect();
                for two in series.cuts(&one, second) {
                    for &third in &versions {
                        compared += 1;
                        let there = counts(series.boot(&two, third));
                        let expected: Vec<Tree> =
                            before.iter().map(|root| counts(series.boot(root, third))).collect();
                        let may_be = |path: &String| {
                            let in_etc = path.strip_prefix("etc/").unwrap_or_default();
                            let made = [&first, &second, &third].map(|version| &factories[version]);
                            case.stays_since_it_came(in_etc)
                                && (expected.iter().any(|root| root.get(path) == there.get(path))
                                    || made.iter().any(|tree| tree.get(in_etc) == there.get(path)))
                        };
                        let differences: Vec<_> =
                            expected.iter().map(|expected| differences(&there, expected)).collect();
                        if !differences.iter().any(|paths| paths.iter().all(may_be)) {
                            wrong.push(format!("{}: {first}, {second}, {third}: {differences:?}", case.name));
                        }
                    }
                }
            }
        }
    }
    (compared, wrong)
}

/// The paths in which two roots differ.
fn differences(there: &Tree, expected: &Tree) -> Vec<String> {
    let paths: BTreeSet<&String> = there.keys().chain(expected.keys()).collect();
    paths.into_iter().filter(|path| there.get(*path) != expected.get(*path)).cloned().collect()
}

#[test]
fn every_pair_of_cuts_and_every_order_of_versions_is_survived() {
    let cases = Mutex::new(Case::all());
    let all = Mutex::new((0, Vec::new()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let Some(case) = cases.lock().unwrap().pop() else { break };
                    let (compared, wrong) = try_all(&case);
                    println!("{}: {compared} series, {} wrong", case.name, wrong.len());
                    let mut all = all.lock().unwrap();
                    all.0 += compared;
                    all.1.extend(wrong);
                }
            });
        }
    });
    let (compared, wrong) = all.into_inner().unwrap();
    println!("{} wrong of {compared} series of three boots", wrong.len());
    assert!(wrong.is_empty(), "{} of {compared}, such as {:#?}", wrong.len(), &wrong[..wrong.len().min(10)]);
    assert!(compared > 10_000, "{compared}");
}
