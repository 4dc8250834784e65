//! Compares /etc with the factory, as `ostree admin config-diff` does: modified, deleted, added.

use core::fmt;
use std::prelude::v1::*;

use super::{
    entry::Snapshot,
    plan::wished,
    rules::{Rules, Strategy},
};

/// One deviation, with its path below /etc.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Difference {
    /// It is another one: content, kind, mode, owner or attributes.
    Modified(Vec<u8>),
    /// It is not there.
    Deleted(Vec<u8>),
    /// The factory does not have it.
    Added(Vec<u8>),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (letter, path) = match self {
            Self::Modified(path) => ('M', path),
            Self::Deleted(path) => ('D', path),
            Self::Added(path) => ('A', path),
        };
        write!(f, "{letter}    {}", String::from_utf8_lossy(path))
    }
}

/// Compares a root's /etc with the one that the factory would give it by these rules: first modified entries, then
/// deleted ones, then added ones, each by path. An entry that a rule leaves out, or that is the machine's own, is not a
/// deviation.
pub fn compare(factory: &Snapshot, root: &Snapshot, rules: &Rules, place: &str) -> Vec<Difference> {
    let wished = wished(factory, rules, place);
    let mut differences = Vec::new();
    let other = wished.iter().filter(|(path, entry)| root.get(path).is_some_and(|there| there != *entry));
    differences.extend(other.map(|(path, _)| Difference::Modified(path.clone())));
    let missing = wished.keys().filter(|path| !root.contains_key(path));
    differences.extend(missing.map(|path| Difference::Deleted(path.clone())));
    let own = root.keys().filter(|path| !wished.contains_key(path) && rules.strategy(path) != Strategy::None);
    differences.extend(own.map(|path| Difference::Added(path.clone())));
    differences
}

#[cfg(test)]
mod tests {
    use super::{
        super::entry::{Digest, Entry, Kind},
        *,
    };

    #[test]
    fn deviations_are_told_as_ostree_does() {
        let tree = |files: &[(&str, &str)]| -> Snapshot {
            let entry = |text: &str| match text {
                "/" => Kind::Directory,
                text => Kind::File(Digest::of(text.as_bytes())),
            };
            let entry = |text| Entry { kind: entry(text), mode: 0o644, uid: 0, gid: 0, xattrs: None };
            files.iter().map(|(path, text)| (path.as_bytes().to_vec(), entry(text))).collect()
        };
        let factory =
            tree(&[("a", "1"), ("b", "1"), ("c", "1"), ("d", "/"), ("d/x", "1"), ("left-out", "1")]);
        let root = tree(&[
            ("a", "1"),
            ("b", "2"),
            ("d", "/"),
            ("d/y", "1"),
            ("e", "/"),
            ("e/z", "1"),
            ("machine-id", "x"),
        ]);
        let mut rules = Rules::new(Strategy::Track);
        rules.read(b"/etc/left-out none");
        let told: Vec<String> =
            compare(&factory, &root, &rules, "/usr/etc").iter().map(ToString::to_string).collect();
        assert_eq!(told, ["M    b", "D    c", "D    d/x", "A    d/y", "A    e", "A    e/z"]);
    }
}
