//! Arrows between the files of a crate: what a file takes from which other. Read from its `use` lines and from the paths in its
//! code; a name that is passed on (`pub use`) leads to the file that it comes from.

use super::source::{File, Token};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// One file takes something from another. Files are places in the list that they were read from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrow {
    pub from: usize,
    pub to: usize,
    pub line: usize,
    pub takes: String,
}

/// A path of the source, and its line.
struct Taken {
    line: usize,
    path: Vec<String>,
    /// The name that it has from here on: `use path as name`.
    name: String,
}

/// The files of a crate and the arrows between them.
pub struct Crate<'a> {
    pub files: &'a [File],
    pub arrows: Vec<Arrow>,
    modules: BTreeMap<&'a [String], usize>,
    /// For each file the names that it takes and may pass on.
    imports: Vec<Vec<Taken>>,
    /// The files of macros that are known by their name at the root of the crate.
    macros: BTreeMap<String, usize>,
}

/// Names lead on to names at most so often.
const DEPTH: u32 = 8;

impl<'a> Crate<'a> {
    /// The arrows between these files of the crate with this name.
    pub fn new(name: &str, files: &'a [File]) -> Self {
        let modules = files.iter().enumerate().map(|(place, file)| (file.module.as_slice(), place)).collect();
        let read: Vec<(Vec<Taken>, Vec<Taken>)> = files.iter().map(|file| taken(&file.tokens)).collect();
        let (imports, paths): (Vec<_>, Vec<_>) = read.into_iter().unzip();
        let mut found = Self { files, arrows: Vec::new(), modules, imports, macros: macros(files) };
        let mut arrows = BTreeSet::new();
        for (from, paths) in paths.iter().enumerate() {
            for taken in found.imports[from].iter().chain(paths) {
                let mut path = taken.path.clone();
                if path[0] == name {
                    path[0] = "crate".to_owned();
                }
                if let Some(to) = found.file(from, &path, DEPTH).filter(|to| *to != from) {
                    arrows.insert(Arrow { from, to, line: taken.line, takes: taken.path.join("::") });
                }
            }
        }
        found.arrows = arrows.into_iter().collect();
        found
    }

    /// The file that a path leads to, seen from a file.
    fn file(&self, from: usize, path: &[String], depth: u32) -> Option<usize> {
        let mut module = self.files[from].module.clone();
        let mut rest = path;
        let child = |module: &[String], name: &String| [module, std::slice::from_ref(name)].concat();
        match rest.first()?.as_str() {
            "crate" => {
                (module, rest) = (Vec::new(), &rest[1..]);
                if let Some(place) = rest.first().and_then(|name| self.macros.get(name)) {
                    return Some(*place);
                }
            }
            "self" => rest = &rest[1..],
            "super" => {
                while rest.first().is_some_and(|word| word == "super") {
                    module.pop()?;
                    rest = &rest[1..];
                }
            }
            _ => {
                self.modules.get(child(&module, &rest[0]).as_slice())?;
            }
        }
        while let Some(next) = rest.first().map(|name| child(&module, name))
            && self.modules.contains_key(next.as_slice())
        {
            (module, rest) = (next, &rest[1..]);
        }
        let place = *self.modules.get(module.as_slice())?;
        let import =
            rest.first().and_then(|name| self.imports[place].iter().find(|import| import.name == *name));
        match import {
            Some(import) if depth > 0 && place != from => {
                let on = [&import.path[..], &rest[1..]].concat();
                // A name of another crate ends here.
                self.file(place, &on, depth - 1).or(Some(place))
            }
            _ => Some(place),
        }
    }

    /// The description of an arrow, in one line.
    pub fn describe(&self, arrow: &Arrow) -> String {
        let [from, to] = [arrow.from, arrow.to].map(|place| &self.files[place].path);
        format!("{from}:{} takes {} from {to}", arrow.line, arrow.takes)
    }
}

impl fmt::Debug for Crate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.arrows.iter().map(|arrow| self.describe(arrow))).finish()
    }
}

/// `macro_rules!` under `#[macro_export]`, and their files.
fn macros(files: &[File]) -> BTreeMap<String, usize> {
    const EXPORTED: [&str; 6] = ["[", "macro_export", "]", "macro_rules", "!", ""];
    let mut found = BTreeMap::new();
    for (place, file) in files.iter().enumerate() {
        for words in file.tokens.windows(EXPORTED.len()) {
            if words.iter().zip(EXPORTED).all(|(token, word)| word.is_empty() || token.text == word) {
                found.insert(words[5].text.clone(), place);
            }
        }
    }
    found
}

/// The names of `use` lines, and the other paths.
fn taken(tokens: &[Token]) -> (Vec<Taken>, Vec<Taken>) {
    let text = |place: usize| tokens.get(place).map_or("", |token| token.text.as_str());
    let (mut imports, mut paths, mut place) = (Vec::new(), Vec::new(), 0);
    while place < tokens.len() {
        // `use<'a>` is a bound.
        if text(place) == "use" && text(place + 1) != "<" {
            place = tree(tokens, place + 1, &[], &mut imports);
            continue;
        }
        let is_path = text(place + 1) == "::" && (place == 0 || text(place - 1) != "::");
        if is_path && text(place).starts_with(|c: char| c.is_alphabetic() || c == '_') {
            let line = tokens[place].line;
            let mut path = vec![text(place).to_owned()];
            while text(place + 1) == "::"
                && text(place + 2).starts_with(|c: char| c.is_alphabetic() || c == '_')
            {
                path.push(text(place + 2).to_owned());
                place += 2;
            }
            paths.push(Taken { line, path, name: String::new() });
        }
        place += 1;
    }
    (imports, paths)
}

/// One branch of a `use` line, from here on; returns the place after it.
fn tree(tokens: &[Token], mut place: usize, before: &[String], found: &mut Vec<Taken>) -> usize {
    let text = |place: usize| tokens.get(place).map_or("", |token| token.text.as_str());
    let line = tokens.get(place).map_or(0, |token| token.line);
    let mut path = before.to_vec();
    loop {
        match text(place) {
            "{" => {
                place += 1;
                while !matches!(text(place), "}" | "") {
                    place = tree(tokens, place, &path, found);
                    if text(place) == "," {
                        place += 1;
                    }
                }
                return place + 1;
            }
            "::" => place += 1,
            "as" => {
                found.push(Taken { line, path, name: text(place + 1).to_owned() });
                return place + 2;
            }
            "," | ";" | "}" | "" => {
                // `a::{self}` is `a`.
                if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
                    path.pop();
                }
                let name = path.last().cloned().unwrap_or_default();
                if !path.is_empty() {
                    found.push(Taken { line, path, name });
                }
                return place;
            }
            word => {
                path.push(word.to_owned());
                place += 1;
            }
        }
    }
}
