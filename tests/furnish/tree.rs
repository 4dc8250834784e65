//! Trees in one line, for a table: entries with blanks between them.
//!
//! `a=one` is a file with this content, `d/` a directory, `l>x` a link to x, `p|` a FIFO, `n%` the null device. Behind the
//! path may stand `:MODE` in octal and `@ID`, its user and group. A file's default is 0644, a directory's 0755, all belong
//! to root. `\n` in content is a line's end, `_` a blank.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, lchown, symlink},
    path::Path,
};

use rustix::fs::{CWD, FileType, Mode, mknodat};

/// One entry: kind, mode, owner, content or target.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Entry {
    kind: char,
    mode: u32,
    id: u32,
    text: String,
}

/// A tree by its paths.
pub type Tree = BTreeMap<String, Entry>;

/// The device number of /dev/null, as `st_rdev` has it.
const NULL: u64 = 0x103;

/// Reads a tree.
pub fn parse(line: &str) -> Tree {
    line.split_whitespace()
        .map(|word| {
            let at = word.find(['=', '/', '>', '|', '%']);
            // A slash ends a directory only at the end of the word.
            let at = match word.strip_suffix('/') {
                Some(rest) if !rest.contains(['=', '>', '|', '%']) => rest.len(),
                _ => word.find(['=', '>', '|', '%']).or(at).unwrap_or_else(|| panic!("`{word}` is no entry")),
            };
            let (name, rest) = word.split_at(at);
            let kind = rest.chars().next().unwrap();
            let mode = if kind == '/' {
                0o755
            } else if kind == '>' {
                0o777
            } else {
                0o644
            };
            let (name, id) = name.split_once('@').map_or((name, 0), |(name, id)| (name, id.parse().unwrap()));
            let (name, mode) = name
                .split_once(':')
                .map_or((name, mode), |(name, mode)| (name, u32::from_str_radix(mode, 8).unwrap()));
            let text = if kind == '=' || kind == '>' { &rest[1..] } else { "" };
            let text = text.replace("\\n", "\n").replace('_', " ");
            (name.to_owned(), Entry { kind, mode, id, text })
        })
        .collect()
}

/// Looks at an /etc. A machine id that is not there yet and the lock of the user databases are in each, and are left out.
pub fn read(top: &Path) -> Tree {
    let mut tree = whole(top);
    tree.remove(".pwd.lock");
    if tree.get("machine-id").is_some_and(|entry| entry.text == "uninitialized\n") {
        tree.remove("machine-id");
    }
    tree
}

/// Looks at a directory, and leaves nothing out.
pub fn whole(top: &Path) -> Tree {
    let mut tree = Tree::new();
    walk(top, "", &mut tree);
    tree
}

/// Looks at a directory as it is after a power cut: the content of files that are not `safe`, by their inodes, is lost.
pub fn after_a_cut(top: &Path, safe: &BTreeSet<u64>) -> Tree {
    let mut tree = whole(top);
    for (path, entry) in tree.iter_mut().filter(|(_, entry)| entry.kind == '=') {
        if !safe.contains(&fs::symlink_metadata(top.join(path)).unwrap().ino()) {
            entry.text.clear();
        }
    }
    tree
}

fn walk(top: &Path, at: &str, tree: &mut Tree) {
    for entry in fs::read_dir(top.join(at)).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let path = if at.is_empty() { name } else { format!("{at}/{name}") };
        let whole = top.join(&path);
        let stat = fs::symlink_metadata(&whole).unwrap();
        let kind = stat.file_type();
        let (kind, text) = match () {
            () if kind.is_dir() => ('/', String::new()),
            () if kind.is_symlink() => ('>', fs::read_link(&whole).unwrap().to_str().unwrap().to_owned()),
            () if kind.is_fifo() => ('|', String::new()),
            () if kind.is_char_device() && stat.rdev() == NULL => ('%', String::new()),
            () => ('=', fs::read_to_string(&whole).unwrap()),
        };
        tree.insert(path.clone(), Entry { kind, mode: stat.mode() & 0o7777, id: stat.uid(), text });
        assert_eq!(stat.uid(), stat.gid(), "{path}");
        if stat.is_dir() {
            walk(top, &path, tree);
        }
    }
}

/// Makes a directory like this; entries that are like it already stay untouched.
pub fn make(top: &Path, tree: &Tree) {
    fs::create_dir_all(top).unwrap();
    let there = read(top);
    for (path, entry) in there.iter().rev() {
        if tree.get(path) == Some(entry) {
            continue;
        }
        // Both directories: only mode or owner differ.
        match (entry.kind, tree.get(path).map(|entry| entry.kind)) {
            ('/', Some('/')) => {}
            ('/', _) => fs::remove_dir(top.join(path)).unwrap(),
            _ => fs::remove_file(top.join(path)).unwrap(),
        }
    }
    for (path, entry) in tree {
        if there.get(path) == Some(entry) {
            continue;
        }
        let whole = top.join(path);
        let mode = Mode::from_raw_mode(entry.mode);
        match entry.kind {
            '/' if whole.is_dir() => {}
            '/' => fs::create_dir(&whole).unwrap(),
            '>' => symlink(&entry.text, &whole).unwrap(),
            '|' => mknodat(CWD, &whole, FileType::Fifo, mode, 0).unwrap(),
            '%' => mknodat(CWD, &whole, FileType::CharacterDevice, mode, NULL).unwrap(),
            _ => fs::write(&whole, &entry.text).unwrap(),
        }
        lchown(&whole, Some(entry.id), Some(entry.id)).unwrap();
        if entry.kind != '>' {
            fs::set_permissions(&whole, fs::Permissions::from_mode(entry.mode)).unwrap();
        }
    }
}
