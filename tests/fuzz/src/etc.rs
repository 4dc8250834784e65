//! The manifest and the journal of /etc, its rules, and the plans that come of them.

use std::collections::BTreeMap;

use hermetic_init::etc::{
    Rules, Step, Strategy,
    entry::{Digest, Entry, Kind, Snapshot, is_path, parent},
    manifest::{Head, Journal, Manifest},
    plan::{Input as PlanInput, plan},
    users,
};
use hermetic_init::map::Map;
use hermetic_init::sysusers::database::Kind as Database;

use crate::input::{Input, join};
use crate::one_line;

/// A manifest of an earlier /usr, a journal, rules, and the bytes of two trees and two databases.
pub fn manifest(data: &[u8]) {
    let [text, journal, conf, root, factory, root_passwd, passwd]: [&[u8]; 7] = Input::new(data).parts();
    let base = read(text);
    let journal = match Journal::parse(&sealed(journal)) {
        Ok(journal) => {
            assert_eq!(Journal::parse(&journal.text()).as_ref(), Ok(&journal));
            journal
        }
        Err(error) => {
            one_line(&error);
            Journal::default()
        }
    };
    let mut rules = Rules::new(Strategy::Track);
    rules.read(conf).iter().for_each(|error| one_line(error));
    let head = Head { usr: "image:test/2".into(), strategy: Strategy::Track };
    let (there, given) = (tree(root), tree(factory));
    let file = |content: &[u8]| Map::from_iter([("passwd", content.to_vec())]);
    let (root_users, factory_users) = (file(root_passwd), file(passwd));
    let input = PlanInput {
        head: &head,
        base: base.as_ref(),
        journal: &journal,
        root: &there,
        factory: &given,
        rules: &rules,
        place: "/usr/share/factory/etc",
        root_users: &root_users,
        factory_users: &factory_users,
    };
    let plan = plan(&input);
    let after = carried_out(&there, &plan.steps, base.as_ref(), &journal);
    assert_eq!(Manifest::parse(&plan.manifest.text()).as_ref(), Ok(&plan.manifest));
    assert_eq!(Journal::parse(&plan.journal.text()).as_ref(), Ok(&plan.journal));
    // In the new state, nothing is left to do.
    let written = plan.steps.iter().find_map(|step| match step {
        Step::Write { content, .. } => Some(content.clone()),
        _ => None,
    });
    let root_users = written.map_or_else(|| root_users.clone(), |content| file(&content));
    let done = Journal::default();
    let again = PlanInput {
        base: Some(&plan.manifest),
        journal: &done,
        root: &after,
        root_users: &root_users,
        ..input
    };
    let again = hermetic_init::etc::plan(&again);
    assert_eq!(again.steps, [], "a second time something is left to do");
}

fn read(text: &[u8]) -> Option<Manifest> {
    for text in [text.to_vec(), sealed(text)] {
        match Manifest::parse(&text) {
            Ok(manifest) => {
                assert!(manifest.tree.keys().all(|path| is_path(path)));
                assert_eq!(Manifest::parse(&manifest.text()).as_ref(), Ok(&manifest));
                return Some(manifest);
            }
            Err(error) => one_line(&error),
        }
    }
    None
}

/// The text with the checksum that it lacks: no mutation finds one.
fn sealed(text: &[u8]) -> Vec<u8> {
    let end = text.windows(5).rposition(|word| word == b"\nend ").map_or(text.len(), |at| at + 1);
    let mut text = text[..end].to_vec();
    text.extend_from_slice(format!("end {}\n", Digest::of(&text)).as_bytes());
    text
}

/// A tree of a few names: each byte is an entry, its kind and its content.
fn tree(bytes: &[u8]) -> Snapshot {
    let mut tree = Snapshot::new();
    for pair in bytes.chunks_exact(2).take(64) {
        let mut path = Vec::new();
        let mut number = pair[0];
        loop {
            path.push(b'a' + number % 3);
            number /= 3;
            if number == 0 {
                break;
            }
            path.push(b'/');
        }
        let path = if pair[1] == 0xff { [&path[..], b".hermetic-new"].concat() } else { path };
        if parent(&path).is_some_and(|above| !tree.get(above).is_some_and(Entry::is_directory)) {
            continue;
        }
        let kind = match pair[1] % 4 {
            0 | 1 => Kind::Directory,
            2 => Kind::Link(vec![b'x']),
            _ => Kind::File(Digest::of(&pair[1..])),
        };
        let mode = 0o700 + u32::from(pair[1] >> 6);
        tree.insert_new(path, Entry { kind, mode, uid: 0, gid: 0, xattrs: None });
    }
    tree
}

/// The state after these steps, each of which must be possible and touch no file of a user.
fn carried_out(root: &Snapshot, steps: &[Step], base: Option<&Manifest>, journal: &Journal) -> Snapshot {
    let mut tree: BTreeMap<Vec<u8>, Entry> =
        root.iter().map(|(path, entry)| (path.clone(), entry.clone())).collect();
    let is_ours = |path: &[u8], entry: &Entry| {
        base.is_some_and(|base| base.tree.get(path) == Some(entry)) || journal.explains(path, Some(entry))
    };
    for step in steps {
        match step {
            Step::Remove { path, directory } => {
                let gone = tree.remove(path).expect("what goes is there");
                assert!(is_ours(path, &gone) && gone.is_directory() == *directory);
                let below = |other: &Vec<u8>| other.starts_with(path) && other.get(path.len()) == Some(&b'/');
                assert!(!tree.keys().any(below), "a directory goes with what is in it");
            }
            Step::Adjust { path, entry, .. } => {
                let old = tree.insert(path.clone(), entry.clone()).expect("what is adjusted is there");
                assert!(is_ours(path, &old) && old.is_directory() && entry.is_directory());
            }
            Step::Put { path, entry, replaces, .. } => {
                let above = parent(path).is_none_or(|above| tree.get(above).is_some_and(Entry::is_directory));
                assert!(above, "what appears has no directory");
                let old = tree.insert(path.clone(), entry.clone());
                assert_eq!(old.is_some(), *replaces);
                assert!(
                    old.is_none_or(|old| is_ours(path, &old) && !old.is_directory() && !entry.is_directory())
                );
            }
            Step::Write { path, .. } => assert!(tree.contains_key(path)),
        }
    }
    tree.into_iter().collect()
}

/// Entries of a database that are merged.
pub fn users(data: &[u8]) {
    let [base, root, factory]: [&[u8]; 3] = Input::new(data).parts();
    for (file, kind) in hermetic_init::etc::manifest::DATABASES {
        let base = users::digests(file, kind, base);
        let (old, new) =
            (Map::from_iter([(file, root.to_vec())]), Map::from_iter([(file, factory.to_vec())]));
        // The shadow files add no user without the others.
        let merged = users::merge(&base, &Journal::default(), &old, &new);
        let Some(content) = merged.changed.get(file.as_bytes()) else { continue };
        let names = |content: &[u8]| -> Vec<(Vec<u8>, u32)> {
            let lines = kind.lines(content);
            lines.iter().filter_map(|line| line.entry).map(|entry| (entry.name.to_vec(), entry.id)).collect()
        };
        let after = names(content);
        let mut left = after.iter();
        for entry in names(root) {
            assert!(left.any(|new| *new == entry), "{entry:?} is gone or has another id");
        }
        if matches!(kind, Database::Passwd | Database::Group) {
            let added: Vec<_> = after.iter().filter(|entry| !names(root).contains(entry)).collect();
            for entry in added {
                let nis = entry.0.starts_with(b"+") || entry.0.starts_with(b"-");
                assert!(
                    nis || !names(root).iter().any(|old| old.1 == entry.1),
                    "{entry:?} has somebody's id"
                );
            }
        }
    }
}

pub(crate) fn manifest_seeds() -> Vec<Vec<u8>> {
    let text = b"hermetic-init /etc manifest 1\nusr image:test/1\nstrategy track\nd 703 0 0 - - a\n\
        f 702 0 0 2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881 - a/b\nl 777 0 0 \\x78 - b\n\
        p 0 0 0 - - c\nu passwd e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 root\n";
    let journal = b"hermetic-init /etc journal 1\n- a\nd 700 0 0 - - a\nd 701 0 0 - - a\n- b/a\n";
    let conf = b"/etc/c copy\n/etc/a/b none\n/etc/b symlink\n";
    let (root, factory) = (&[0, 0, 1, 3, 3, 7, 4, 2, 2, 4][..], &[0, 1, 1, 4, 3, 11, 2, 3, 5, 0][..]);
    let passwd = b"root:x:0:0:::\nme:x:1:1:::\n";
    vec![
        join(&[text, journal, conf, root, factory, passwd, b"root:x:0:0:r::\nnew:x:2:2:::\n"]),
        join(&[text, b"", b"", factory, root, b"", passwd]),
        join(&[b"", b"", conf, root, factory, b"", b""]),
    ]
}

pub(crate) fn users_seeds() -> Vec<Vec<u8>> {
    vec![
        join(&[
            b"a:x:1:1:::\nb:x:2:2:::\n",
            b"a:x:1:1:A::\nb:x:2:2:::\n+\n",
            b"a:x:1:1:::\nb:x:2:2:B::\nc:x:3:3:::\n",
        ]),
        join(&[b"a:x:1:\n", b"", b"a:x:1:b\nb:x:1:\n"]),
        join(&[b"", b"a:*:1::::::\n", b"a:!:2::::::\n"]),
    ]
}
