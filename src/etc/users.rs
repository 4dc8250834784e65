//! The user databases of a root follow their factory entry by entry: they are merged, never replaced.
//!
//! An unchanged entry takes the factory's new text, a changed one stays, a removed one stays removed, a new one is
//! added. Two changes are never made, because files on the root are owned by numbers: an entry does not get another id,
//! and an entry does not go because the factory dropped it.

use std::prelude::v1::*;

use super::{
    entry::Digest,
    manifest::{DATABASES, Journal, Users, key},
};
use crate::{
    map::{Map, Names},
    sysusers::database::{Entry, Kind},
};

/// The contents of the databases of one side, by their names below /etc.
pub type Contents = Map<Vec<u8>>;

/// An entry that does not follow the factory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kept {
    /// The database, below /etc.
    pub file: &'static str,
    /// The entry's name.
    pub name: Vec<u8>,
    /// The reason.
    pub why: Why,
}

/// The reason why an entry does not follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// It was changed, and the factory has another one now.
    Changed,
    /// The factory gives it another id now.
    OtherId,
    /// It is new, and another entry has its id.
    IdTaken,
}

impl Why {
    /// In words.
    pub fn text(self) -> &'static str {
        match self {
            Self::Changed => "changed here, and other in the factory now",
            Self::OtherId => "has another id in the factory now, and keeps its own",
            Self::IdTaken => "is new in the factory, and its id belongs to somebody else here: not added",
        }
    }
}

/// The result of a merge.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Merged {
    /// The databases that change, whole.
    pub changed: Contents,
    /// The entries that do not follow.
    pub kept: Vec<Kept>,
}

/// The digests of a database's entries, for the manifest. The first of a name counts, as it does for libc.
pub fn digests(file: &str, kind: Kind, content: &[u8]) -> Users {
    let mut users = Users::new();
    for (entry, text) in entries(kind, content) {
        users.insert_new(key(file, entry.name), Digest::of(text));
    }
    users
}

fn entries(kind: Kind, content: &[u8]) -> impl Iterator<Item = (Entry<'_>, &[u8])> {
    kind.lines(content).into_iter().filter_map(|line| Some((line.entry?, line.text)))
}

/// Merges the factory's databases into the root's. `base` has the digests of the factory's old entries, `journal` those
/// that an interrupted merge may have written; a database that is missing on either side is left alone. A line of the
/// root that is not an entry stays as it is, one of the factory is passed over.
pub fn merge(base: &Users, journal: &Journal, root: &Contents, factory: &Contents) -> Merged {
    let mut merged = Merged::default();
    // passwd and group come first in the list: the two shadow files follow the decisions there.
    let mut known: Map<Names> = Map::new();
    for (file, kind) in DATABASES {
        let (Some(old), Some(new)) = (root.get(file.as_bytes()), factory.get(file.as_bytes())) else {
            continue;
        };
        let companion = match kind {
            Kind::Shadow => known.get(b"passwd"),
            Kind::Gshadow => known.get(b"group"),
            Kind::Passwd | Kind::Group => None,
        };
        let before = Before { file, base, journal };
        let one = database(kind, &before, old, new, companion);
        if one.content != *old {
            merged.changed.insert(file, one.content);
        }
        merged.kept.extend(one.kept);
        known.insert(file, one.names);
    }
    merged
}

/// The known facts about an entry from before.
struct Before<'a> {
    file: &'static str,
    base: &'a Users,
    journal: &'a Journal,
}

impl Before<'_> {
    /// The digest of the factory's old line.
    fn base(&self, name: &[u8]) -> Option<&Digest> {
        self.base.get(&key(self.file, name))
    }

    /// Returns true when this line came from the factory, so that it is unchanged.
    fn gave(&self, name: &[u8], line: &[u8]) -> bool {
        self.base(name) == Some(&Digest::of(line)) || self.journal.explains_user(self.file, name, line)
    }
}

struct One {
    content: Vec<u8>,
    names: Names,
    kept: Vec<Kept>,
}

fn database(kind: Kind, before: &Before<'_>, root: &[u8], factory: &[u8], companion: Option<&Names>) -> One {
    let mut wanted: Map<(u32, &[u8])> = Map::new();
    let mut order = Vec::new();
    for (entry, text) in entries(kind, factory) {
        if !wanted.contains_key(entry.name) {
            wanted.insert(entry.name, (entry.id, text));
            order.push(entry);
        }
    }
    let mut kept = Vec::new();
    let mut keep = |name: &[u8], why| kept.push(Kept { file: before.file, name: name.to_vec(), why });
    let (mut lines, mut names, mut ids) = (Vec::new(), Names::new(), Names::new());
    for line in kind.lines(root) {
        let Some(entry) = line.entry else {
            lines.push((line.text, false));
            continue;
        };
        ids.insert(entry.id.to_be_bytes(), ());
        let first = names.insert(entry.name, ()).is_none();
        let mut text = line.text;
        if let Some(&(id, new)) = wanted.get(entry.name).filter(|(_, new)| first && *new != line.text) {
            if !before.gave(entry.name, line.text) {
                // A line that the factory did not change is not new.
                if before.base(entry.name) != Some(&Digest::of(new)) {
                    keep(entry.name, Why::Changed);
                }
            } else if id != entry.id {
                keep(entry.name, Why::OtherId);
            } else {
                text = new;
            }
        }
        lines.push((text, entry.is_nis()));
    }
    let has_ids = matches!(kind, Kind::Passwd | Kind::Group);
    let mut added = Vec::new();
    for entry in order {
        let was_removed = before.base(entry.name).is_some();
        let is_alone = companion.is_some_and(|companion| !companion.contains_key(entry.name));
        if names.contains_key(entry.name) || was_removed || is_alone {
            continue;
        }
        if has_ids && !entry.is_nis() && ids.insert(entry.id.to_be_bytes(), ()).is_some() {
            keep(entry.name, Why::IdTaken);
            continue;
        }
        names.insert(entry.name, ());
        added.extend(wanted.get(entry.name).map(|(_, text)| *text));
    }
    // NIS entries end what libc looks at: nothing may come behind them.
    let end = lines.iter().position(|(_, nis)| *nis).unwrap_or(lines.len());
    let (above, behind) = lines.split_at(end);
    let texts = above.iter().map(|(text, _)| *text).chain(added).chain(behind.iter().map(|(text, _)| *text));
    let mut content = Vec::new();
    for text in texts {
        content.extend_from_slice(text);
        content.push(b'\n');
    }
    // A database without a last newline gets none with its new text.
    if content.strip_suffix(b"\n") == Some(root) {
        content = root.to_vec();
    }
    One { content, names, kept }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(file: &'static str, text: &str) -> Contents {
        Contents::from_iter([(file, text.as_bytes().to_vec())])
    }

    /// Merges one database; returns the result, and the names that were kept.
    fn run(file: &'static str, base: &str, root: &str, factory: &str) -> (String, Vec<(String, Why)>) {
        let kind = DATABASES.iter().find(|(name, _)| *name == file).unwrap().1;
        let base = digests(file, kind, base.as_bytes());
        let merged = merge(&base, &Journal::default(), &one(file, root), &one(file, factory));
        let content = merged
            .changed
            .get(file.as_bytes())
            .map_or(root.to_owned(), |content| String::from_utf8(content.clone()).unwrap());
        let name = |kept: &Kept| (String::from_utf8(kept.name.clone()).unwrap(), kept.why);
        (content, merged.kept.iter().map(name).collect())
    }

    #[test]
    fn entries_follow_one_by_one() {
        let base =
            "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:::\ngone:x:2:2:::\nmine:x:3:3:::\nmoved:x:4:4:::\n";
        // daemon is pristine, gone was removed, mine was changed, own and taken were added.
        let root = "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:::\n# a comment\nmine:x:3:3:me::\nmoved:x:4:4:::\n\
                    own:x:1000:1000:::\ntaken:x:7:7:::\n+nis\n";
        let factory = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:Daemon::\ngone:x:2:2:::\nmine:x:3:3:you::\n\
                       moved:x:5:5:::\nfresh:x:6:6:::\nlate:x:7:7:::\n";
        let (merged, kept) = run("passwd", base, root, factory);
        assert_eq!(
            merged,
            "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:Daemon::\n# a comment\nmine:x:3:3:me::\nmoved:x:4:4:::\n\
             own:x:1000:1000:::\ntaken:x:7:7:::\nfresh:x:6:6:::\n+nis\n"
        );
        let expected = [("mine", Why::Changed), ("moved", Why::OtherId), ("late", Why::IdTaken)];
        assert_eq!(kept, expected.map(|(name, why)| (name.to_owned(), why)));
        // A second run has nothing left to do.
        assert_eq!(run("passwd", factory, &merged, factory).0, merged);
    }

    #[test]
    fn what_the_factory_drops_stays() {
        let root = "a:x:1:\nb:x:2:\n";
        assert_eq!(run("group", root, root, "a:x:1:\n"), (root.to_owned(), vec![]));
        assert_eq!(run("group", "", root, root), (root.to_owned(), vec![]));
        assert_eq!(run("group", "", "a:x:1:", "a:x:1:\n").0, "a:x:1:");
        assert_eq!(run("group", "", "a:x:1:", "a:x:1:\nb:x:2:\n").0, "a:x:1:\nb:x:2:\n");
        assert_eq!(run("group", "", "", "b:x:2:\n").0, "b:x:2:\n");
    }

    #[test]
    fn shadows_follow_who_is_there() {
        let root =
            Contents::from_iter([("passwd", b"a:x:1:1:::\n".to_vec()), ("shadow", b"a:*:\n".to_vec())]);
        let factory = Contents::from_iter([
            ("passwd", b"a:x:1:1:::\nb:x:1:1:::\nc:x:2:2:::\n".to_vec()),
            ("shadow", b"a:!:\nb:!:\nc:!:\n".to_vec()),
        ]);
        let merged = merge(&Users::new(), &Journal::default(), &root, &factory);
        // b has a's id; the factory may not change a's password, with any old entry of the factory.
        assert_eq!(merged.changed.get(b"passwd").unwrap(), b"a:x:1:1:::\nc:x:2:2:::\n");
        assert_eq!(merged.changed.get(b"shadow").unwrap(), b"a:*:\nc:!:\n");
    }

    #[test]
    fn a_line_that_is_none_stays_where_it_is() {
        let root = "a:x:1:\nbroken\n:x:3:\nb:x:2:\n<<<<<<< mine\nc:x:-2:\n";
        let factory = "a:x:1:\nb:x:2:\nbad\nnew:x:3:\n";
        let (merged, kept) = run("group", "a:x:1:\nb:x:2:\n", root, factory);
        assert_eq!(merged, format!("{root}new:x:3:\n"));
        assert_eq!(kept, []);
    }

    proptest! {
        #[test]
        fn no_line_of_the_root_gets_lost(
            base in "([a-c]:x:[0-3]:[d]?\n){0,4}",
            root in "(([a-e]:x:[0-3]:[d]?|#|[+]|[a-e]:x:-2:|:x:1:|f)\n){0,6}",
            factory in "([a-e]:x:[0-3]:[d]?\n){0,5}",
        ) {
            let (merged, _) = run("group", &base, &root, &factory);
            let names = |text: &str| text.lines().map(|line| line.split(':').take(3).map(str::to_owned).collect::<Vec<_>>()).collect::<Vec<_>>();
            let after = names(&merged);
            let mut left = after.iter();
            for line in names(&root) {
                prop_assert!(left.any(|new| *new == line), "{line:?} of {root:?} is not in {merged:?}");
            }
            prop_assert_eq!(run("group", &factory, &merged, &factory).0, merged);
        }
    }
}
