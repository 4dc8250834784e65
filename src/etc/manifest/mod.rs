//! The manifest: the entries that came from the factory of the /usr that was followed last, kept on the root; and the
//! journal of an update under way.
//!
//! The format: docs/reference/formats.md, "The manifest of /etc".
//!
//! A stranger who can write the root can write the manifest, so it is not trusted: without its checksum it is ignored,
//! and it cannot name a path outside of /etc.

mod text;

use core::fmt;
use std::prelude::v1::*;

pub use text::{Lines, Text};

use super::{
    entry::{Digest, Entry, Kind, Snapshot, is_path},
    rules::Strategy,
};
use crate::{map::Map, sort, sysusers::database};

/// The first line of a manifest.
const MANIFEST: &str = "hermetic-init /etc manifest 1\n";
/// The first line of a journal.
const JOURNAL: &str = "hermetic-init /etc journal 1\n";
/// The first word of the last line.
const END: &[u8] = b"end ";
/// The number of bytes of a file that are enough to hold the first three lines: see [`Head::parse`].
pub const HEAD: usize = 1024;
/// The largest manifest or journal that is read, in bytes.
pub const MAX_SIZE: usize = 32 << 20;

/// The digests of the entries of the user databases, by their keys.
pub type Users = Map<Digest>;

/// The key of an entry: the database, a colon, which neither has, the entry's name.
pub fn key(file: &str, name: &[u8]) -> Vec<u8> {
    [file.as_bytes(), name].join(&b':')
}

/// The /usr that was followed, and the strategy: later boots compare only this.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// The identity of this /usr.
    pub usr: String,
    /// The strategy for paths without a rule.
    pub strategy: Strategy,
}

impl Head {
    /// Reads the first lines of a manifest, the checksum unseen: a later boot compares this and nothing else. None for
    /// a text that is not a manifest of this version.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut lines = text.strip_prefix(MANIFEST.as_bytes())?.split(|&byte| byte == b'\n');
        Self::lines(&mut lines)
    }

    /// The whole manifest, when these are its lines.
    pub(super) fn text(&self, lines: Lines) -> Text {
        let mut usr = Vec::new();
        text::escape(&mut usr, self.usr.as_bytes());
        lines.finish(&[
            MANIFEST.as_bytes(),
            b"usr ",
            &usr,
            b"\nstrategy ",
            self.strategy.name().as_bytes(),
            b"\n",
        ])
    }

    fn lines<'a>(lines: &mut impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let usr = lines.next()?.strip_prefix(b"usr ")?;
        let strategy = lines.next()?.strip_prefix(b"strategy ")?;
        Some(Self {
            usr: String::from_utf8(unescape(usr)?).ok()?,
            strategy: Strategy::parse(core::str::from_utf8(strategy).ok()?)?,
        })
    }
}

/// The entries that came from the factory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    /// The /usr.
    pub head: Head,
    /// Its tree.
    pub tree: Snapshot,
    /// The entries of its user databases.
    pub users: Users,
}

/// The states in which an interrupted update may have left the paths that it touched.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Journal {
    /// Of each path, in order. None: nothing is there.
    pub paths: Vec<(Vec<u8>, Option<Entry>)>,
    /// Of each entry of the user databases by its key, in order.
    pub users: Vec<(Vec<u8>, Digest)>,
}

/// The reason why a manifest or a journal is ignored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ManifestError {
    /// The line, from 1; 0 for the whole.
    pub line: usize,
    /// The fault.
    pub reason: &'static str,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(self.reason),
            line => write!(f, "line {line}: {}", self.reason),
        }
    }
}

impl core::error::Error for ManifestError {}

impl Manifest {
    /// A manifest of an empty tree.
    pub fn new(head: Head) -> Self {
        Self { head, tree: Snapshot::new(), users: Users::new() }
    }

    /// Reads a whole manifest.
    ///
    /// # Errors
    /// The first line that is not as the format says, a wrong checksum.
    pub fn parse(text: &[u8]) -> Result<Self, ManifestError> {
        let body = body(text, MANIFEST)?;
        let mut lines = body.split(|&byte| byte == b'\n');
        let head = Head::lines(&mut lines).ok_or(ManifestError { line: 2, reason: "no usr and strategy" })?;
        let mut manifest = Self::new(head);
        for (number, line) in lines.enumerate() {
            let error = |reason| ManifestError { line: number + 4, reason };
            match line.strip_prefix(b"u ") {
                Some(user) => {
                    let (key, digest) = parse_user(user).ok_or(error("no entry of a database"))?;
                    if manifest.users.insert(key, digest).is_some() {
                        return Err(error("the same entry a second time"));
                    }
                }
                None => {
                    let (path, entry) = parse_entry(line).ok_or(error("no entry of a tree"))?;
                    if manifest.tree.insert(path, entry).is_some() {
                        return Err(error("the same path a second time"));
                    }
                }
            }
        }
        Ok(manifest)
    }

    /// The manifest as its file holds it.
    pub fn text(&self) -> Text {
        let mut lines = Lines::new();
        self.tree.iter().for_each(|(path, entry)| lines.entry([b"", path], entry));
        self.users.iter().for_each(|(key, digest)| lines.user(key, digest));
        self.head.text(lines)
    }
}

impl Journal {
    /// Reads a whole journal.
    ///
    /// # Errors
    /// The first line that is not as the format says, a wrong checksum.
    pub fn parse(text: &[u8]) -> Result<Self, ManifestError> {
        let mut journal = Self::default();
        let body = body(text, JOURNAL)?;
        if body.is_empty() {
            return Ok(journal);
        }
        for (number, line) in body.split(|&byte| byte == b'\n').enumerate() {
            let error = ManifestError { line: number + 2, reason: "no state of a path or an entry" };
            if let Some(user) = line.strip_prefix(b"u ") {
                journal.users.push(parse_user(user).ok_or(error)?);
                continue;
            }
            let (path, state) = match line.strip_prefix(b"- ") {
                Some(path) => (unescape(path).filter(|path| is_path(path)), None),
                None => parse_entry(line).map_or((None, None), |(path, entry)| (Some(path), Some(entry))),
            };
            journal.paths.push((path.ok_or(error)?, state));
        }
        journal.order();
        Ok(journal)
    }

    /// The journal as its file holds it.
    pub fn text(&self) -> Text {
        let mut lines = Lines::new();
        for (path, state) in &self.paths {
            match state {
                Some(entry) => lines.entry([b"", path], entry),
                None => lines.absence(path),
            }
        }
        self.users.iter().for_each(|(key, digest)| lines.user(key, digest));
        lines.finish(&[JOURNAL.as_bytes()])
    }

    /// Returns true when the update may have left `path` in this state.
    pub fn explains(&self, path: &[u8], state: Option<&Entry>) -> bool {
        let with_any = state.map(|entry| Entry { xattrs: Some(Digest::UNREAD), ..entry.clone() });
        self.has(path, state) || self.has(path, with_any.as_ref())
    }

    fn has(&self, path: &[u8], state: Option<&Entry>) -> bool {
        self.paths.binary_search_by(|(known, there)| (&**known, there.as_ref()).cmp(&(path, state))).is_ok()
    }

    /// Returns true when the update may have changed `path`.
    pub fn names(&self, path: &[u8]) -> bool {
        self.paths.binary_search_by(|(known, _)| (**known).cmp(path)).is_ok()
    }

    /// Returns true when the update may have given an entry of a user database this line.
    pub fn explains_user(&self, file: &str, name: &[u8], line: &[u8]) -> bool {
        self.users.binary_search(&(key(file, name), Digest::of(line))).is_ok()
    }

    /// Adds the states of another one.
    pub fn grow(&mut self, other: &Self) {
        self.paths.extend_from_slice(&other.paths);
        self.users.extend_from_slice(&other.users);
        self.order();
    }

    /// Puts the states in order, each once.
    pub(super) fn order(&mut self) {
        sort::slice(&mut self.paths);
        self.paths.dedup();
        sort::slice(&mut self.users);
        self.users.dedup();
    }
}

/// The text between the first line and the last newline before the checksum, which is checked.
fn body<'a>(text: &'a [u8], first: &str) -> Result<&'a [u8], ManifestError> {
    let whole = |reason| ManifestError { line: 0, reason };
    let rest = text.strip_prefix(first.as_bytes()).ok_or(whole("it begins with another line"))?;
    let cut = whole("it ends early");
    let ended = text.strip_suffix(b"\n").ok_or_else(|| cut.clone())?;
    let last = ended.iter().rposition(|&byte| byte == b'\n').ok_or_else(|| cut.clone())? + 1;
    let (before, end) = text.split_at_checked(last).ok_or_else(|| cut.clone())?;
    let sum =
        end.strip_prefix(END).and_then(|sum| sum.strip_suffix(b"\n")).and_then(Digest::parse).ok_or(cut)?;
    if sum != Digest::of(before) {
        return Err(whole("its checksum is wrong"));
    }
    let length = rest.len().saturating_sub(end.len());
    let body = rest.get(..length).unwrap_or_default();
    Ok(body.strip_suffix(b"\n").unwrap_or(body))
}

fn parse_entry(line: &[u8]) -> Option<(Vec<u8>, Entry)> {
    let mut fields = line.split(|&byte| byte == b' ');
    let kind = fields.next()?;
    let mode = number(fields.next()?, 8).filter(|&mode| mode <= 0o7777)?;
    let uid = number(fields.next()?, 10)?;
    let gid = number(fields.next()?, 10)?;
    let value = fields.next()?;
    let xattrs = match fields.next()? {
        b"-" => None,
        digest => Some(Digest::parse(digest)?),
    };
    let path = unescape(fields.next()?).filter(|path| is_path(path))?;
    let kind = match (kind, value) {
        (b"d", b"-") => Kind::Directory,
        (b"f", digest) => Kind::File(Digest::parse(digest)?),
        (b"l", target) => Kind::Link(unescape(target).filter(|target| !target.is_empty())?),
        (b"p", b"-") => Kind::Fifo,
        (b"s", b"-") => Kind::Socket,
        (b"c", device) => Kind::Character(number(device, 10)?),
        (b"b", device) => Kind::Block(number(device, 10)?),
        _ => return None,
    };
    fields.next().is_none().then_some((path, Entry { kind, mode, uid, gid, xattrs }))
}

fn parse_user(line: &[u8]) -> Option<(Vec<u8>, Digest)> {
    let mut fields = line.split(|&byte| byte == b' ');
    let file = fields.next()?;
    let (file, _) = DATABASES.iter().find(|(name, _)| name.as_bytes() == file)?;
    let digest = Digest::parse(fields.next()?)?;
    let name = unescape(fields.next()?)?;
    fields.next().is_none().then(|| (key(file, &name), digest))
}

/// The files of /etc that are merged by entry.
pub const DATABASES: [(&str, database::Kind); 4] = [
    ("passwd", database::Kind::Passwd),
    ("group", database::Kind::Group),
    ("shadow", database::Kind::Shadow),
    ("gshadow", database::Kind::Gshadow),
];

fn number<N: TryFrom<u64>>(digits: &[u8], radix: u32) -> Option<N> {
    let digits = core::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
    u64::from_str_radix(digits, radix).ok().and_then(|number| N::try_from(number).ok())
}

fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'\\' => {
                let (digits, after) = after.strip_prefix(b"x")?.split_at_checked(2)?;
                bytes.push(number(digits, 16)?);
                rest = after;
            }
            b'!'..=b'~' => bytes.push(byte),
            _ => return None,
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    // proptest has a trait of that name.
    use super::{Strategy, *};

    fn entry(kind: Kind, mode: u32) -> Entry {
        Entry { kind, mode, uid: 0, gid: 42, xattrs: None }
    }

    fn sample() -> Manifest {
        let mut manifest = Manifest::new(Head { usr: "roothash:4f".into(), strategy: Strategy::Track });
        for (path, entry) in [
            (&b"a"[..], entry(Kind::Directory, 0o2750)),
            (b"a/b c\\\xff", entry(Kind::File(Digest::of(b"x")), 0o644)),
            (b"l", entry(Kind::Link(b"../a b".to_vec()), 0o777)),
            (b"p", entry(Kind::Fifo, 0)),
            (b"s", entry(Kind::Socket, 0o7777)),
            (b"z", entry(Kind::Character(259), 0o600)),
        ] {
            manifest.tree.insert(path.to_vec(), entry);
        }
        manifest.users.insert("shadow:root", Digest::of(b"root:*:"));
        manifest
    }

    #[test]
    fn a_manifest_is_the_text_that_the_format_says() {
        let x = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";
        let text = format!(
            "hermetic-init /etc manifest 1\nusr roothash:4f\nstrategy track\nd 2750 0 42 - - a\n\
             f 644 0 42 {x} - a/b\\x20c\\x5c\\xff\nl 777 0 42 ../a\\x20b - l\np 0 0 42 - - p\ns 7777 0 42 - - s\n\
             c 600 0 42 259 - z\nu shadow {} root\n",
            Digest::of(b"root:*:")
        );
        let whole = format!("{text}end {}\n", Digest::of(text.as_bytes()));
        assert_eq!(std::str::from_utf8(&sample().text()), Ok(&*whole));
        assert_eq!(Manifest::parse(whole.as_bytes()), Ok(sample()));
        assert_eq!(Head::parse(whole.as_bytes()), Some(sample().head));
    }

    #[test]
    fn what_was_changed_counts_for_nothing() {
        let text = sample().text();
        for cut in 0..text.len() {
            assert!(Manifest::parse(&text[..cut]).is_err(), "{cut}");
        }
        for at in 0..text.len() {
            let mut other = text.to_vec();
            other[at] ^= 1;
            assert!(Manifest::parse(&other).is_err(), "{at}");
        }
    }

    #[test]
    fn lines_that_lead_astray_are_refused() {
        let sealed = |lines: &str| {
            let text = format!("{MANIFEST}usr x\nstrategy copy\n{lines}");
            format!("{text}end {}\n", Digest::of(text.as_bytes())).into_bytes()
        };
        let good = "f 644 0 0 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 -";
        assert!(Manifest::parse(&sealed(&format!("{good} a\n"))).is_ok());
        assert!(Manifest::parse(&sealed("")).is_ok());
        for line in [
            format!("{good} ../passwd\n"),
            format!("{good} /passwd\n"),
            format!("{good} a b\n"),
            format!("{good} a\n{good} a\n"),
            "d 10000 0 0 - - a\n".into(),
            "d 755 0 -1 - - a\n".into(),
            "d 755 0 4294967296 - - a\n".into(),
            "l 777 0 0  - a\n".into(),
            "f 644 0 0 - - a\n".into(),
            "\n".into(),
            "u nobody e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 a\n".into(),
        ] {
            assert_eq!(Manifest::parse(&sealed(&line)).map_err(|error| error.line > 3), Err(true), "{line}");
        }
    }

    #[test]
    fn a_journal_tells_of_a_path_several_times() {
        let mut journal = Journal::default();
        assert_eq!(Journal::parse(&journal.text()), Ok(journal.clone()));
        let other = Journal {
            paths: [None, Some(entry(Kind::Directory, 0o755)), None]
                .map(|state| (b"a".to_vec(), state))
                .into(),
            users: ["tty:x:5:me", "tty:x:5:"]
                .map(|line| (key("group", b"tty"), Digest::of(line.as_bytes())))
                .into(),
        };
        journal.grow(&other);
        assert_eq!((journal.paths.len(), journal.users.len()), (2, 2));
        assert_eq!(Journal::parse(&journal.text()), Ok(journal.clone()));
        assert!(journal.explains_user("group", b"tty", b"tty:x:5:me"));
        assert!(!journal.explains_user("group", b"tty", b"tty:x:5:you"));
        assert!(journal.explains(b"a", None) && !journal.explains(b"b", None));
        assert!(!journal.explains(b"a", Some(&entry(Kind::Directory, 0o700))));
        assert!(Manifest::parse(&journal.text()).is_err());
    }

    proptest! {
        #[test]
        fn bytes_survive_as_a_field(bytes: Vec<u8>) {
            let mut text = Vec::new();
            text::escape(&mut text, &bytes);
            prop_assert!(text.iter().all(u8::is_ascii_graphic));
            prop_assert_eq!(unescape(&text), Some(bytes));
        }

        #[test]
        fn any_text_is_an_error_or_itself(text: Vec<u8>) {
            for text in [text.clone(), [MANIFEST.as_bytes(), &text[..]].concat()] {
                if let Ok(manifest) = Manifest::parse(&text) {
                    prop_assert_eq!(Manifest::parse(&manifest.text()), Ok(manifest));
                }
            }
        }
    }
}
