//! The source of a crate: its files, and of each the words that count. Comments, texts and what is compiled for tests alone
//! are left out.

use std::{collections::BTreeSet, fs, path::Path};

/// A word or a sign of the source, and its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub line: usize,
    pub text: String,
}

/// A file of a crate.
#[derive(Debug)]
pub struct File {
    /// Its path below the repository, as it is named in a report.
    pub path: String,
    /// The module that it is: `["luks", "header"]`, nothing for the root of the crate.
    pub module: Vec<String>,
    pub tokens: Vec<Token>,
}

impl File {
    /// A file at `path` below the directory `source` of its crate.
    pub fn new(source: &str, path: &str, text: &str) -> (Self, Vec<Vec<String>>) {
        let mut module: Vec<String> = path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
        if module.last().is_some_and(|last| last == "mod") || module == ["lib"] {
            module.pop();
        }
        let (tokens, for_tests) = without_tests(tokens(text));
        let for_tests = for_tests.into_iter().map(|name| [module.clone(), vec![name]].concat()).collect();
        (Self { path: format!("{source}/{path}"), module, tokens }, for_tests)
    }
}

/// The files of these texts, without those that are compiled for tests alone.
pub fn files(source: &str, texts: &[(String, String)]) -> Vec<File> {
    let read = texts.iter().map(|(path, text)| File::new(source, path, text));
    let (files, for_tests): (Vec<File>, Vec<_>) = read.unzip();
    let for_tests: Vec<Vec<String>> = for_tests.concat();
    files.into_iter().filter(|file| !for_tests.iter().any(|test| file.module.starts_with(test))).collect()
}

/// The paths below a directory, and the text, of all its .rs files; not those of a crate within.
pub fn read(directory: &Path) -> Vec<(String, String)> {
    let mut found = BTreeSet::new();
    let mut open = vec![directory.to_owned()];
    while let Some(place) = open.pop() {
        if place != directory && place.join("Cargo.toml").exists() {
            continue;
        }
        for entry in fs::read_dir(&place).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.insert(path);
            }
        }
    }
    let name = |path: &Path| path.strip_prefix(directory).unwrap().to_str().unwrap().to_owned();
    found.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

/// The words and signs of a source; `::` is one.
fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let at = |place: usize| chars.get(place).copied().unwrap_or('\0');
    let (mut place, mut line, mut found) = (0, 1, Vec::new());
    while place < chars.len() {
        let start = place;
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        match (at(place), at(place + 1)) {
            ('/', '/') => {
                while place < chars.len() && at(place) != '\n' {
                    place += 1;
                }
            }
            ('/', '*') => {
                let mut depth = 0;
                loop {
                    match (at(place), at(place + 1)) {
                        ('/', '*') => (depth, place) = (depth + 1, place + 2),
                        ('*', '/') => (depth, place) = (depth - 1, place + 2),
                        _ => place += 1,
                    }
                    if depth == 0 || place >= chars.len() {
                        break;
                    }
                }
            }
            ('"', _) => place = after_text(&chars, place),
            // A lifetime has no second quote: 'a, but 'a' and '\''.
            ('\'', '\\') => {
                place += 3;
                while place < chars.len() && at(place - 1) != '\'' {
                    place += 1;
                }
            }
            ('\'', _) => place += if at(place + 2) == '\'' { 3 } else { 1 },
            (c, _) if is_word(c) => {
                while is_word(at(place)) {
                    place += 1;
                }
                let word: String = chars[start..place].iter().collect();
                let hashes = chars[place..].iter().take_while(|c| **c == '#').count();
                match word.as_str() {
                    "r" | "br" | "cr" if at(place + hashes) == '"' => {
                        place = after_raw_text(&chars, place + hashes, hashes);
                    }
                    _ => found.push(Token { line, text: word }),
                }
            }
            (':', ':') => {
                found.push(Token { line, text: "::".to_owned() });
                place += 2;
            }
            (c, _) => {
                if !c.is_whitespace() {
                    found.push(Token { line, text: c.to_string() });
                }
                place += 1;
            }
        }
        place = place.min(chars.len());
        line += chars[start..place].iter().filter(|c| **c == '\n').count();
    }
    found
}

/// The place after a text that begins with the quote here.
fn after_text(chars: &[char], quote: usize) -> usize {
    let mut place = quote + 1;
    while chars.get(place).is_some_and(|c| *c != '"') {
        place += if chars[place] == '\\' { 2 } else { 1 };
    }
    place + 1
}

/// As [`after_text`], for one that ends with a quote and so many `#`.
fn after_raw_text(chars: &[char], quote: usize, hashes: usize) -> usize {
    let mut place = quote + 1;
    while place < chars.len() {
        let closes = chars[place] == '"'
            && chars[place + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes;
        if closes {
            return place + 1 + hashes;
        }
        place += 1;
    }
    place
}

/// These tokens without the items that stand under `#[cfg(test)]`, and the names of the modules that are such items and have a
/// file of their own.
fn without_tests(tokens: Vec<Token>) -> (Vec<Token>, Vec<String>) {
    const CFG_TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let word = |place: usize| tokens.get(place).map_or("", |token| token.text.as_str());
    let (mut kept, mut modules, mut place) = (Vec::new(), Vec::new(), 0);
    while place < tokens.len() {
        if !(0..CFG_TEST.len()).all(|offset| word(place + offset) == CFG_TEST[offset]) {
            kept.push(tokens[place].clone());
            place += 1;
            continue;
        }
        let (start, mut depth) = (place, 0_i32);
        place += CFG_TEST.len();
        while place < tokens.len() {
            let text = word(place);
            depth += i32::from(matches!(text, "{" | "(" | "[")) - i32::from(matches!(text, "}" | ")" | "]"));
            place += 1;
            if depth == 0 && matches!(text, ";" | "}") {
                break;
            }
        }
        let item = &tokens[start + CFG_TEST.len()..place];
        if let [.., keyword, name, end] = item
            && keyword.text == "mod"
            && end.text == ";"
        {
            modules.push(name.text.clone());
        }
    }
    (kept, modules)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        without_tests(tokens(text)).0.into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn comments_texts_and_tests_do_not_count() {
        let text = "//! crate::a\nuse crate::b; /* crate::c /* d */ e */ f(\"crate::g\\\" h\", r#\"i\"j\"#, 'k', '\\'', b\"l\");\n\
                    #[cfg(test)]\nmod tests { use crate::m; fn n() { } }\nfn o<'p>() {}\n#[cfg(test)]\nmod far;";
        assert_eq!(
            words(text),
            "use crate :: b ; f ( , , , , b ) ; fn o < p > ( ) { }".split(' ').collect::<Vec<_>>()
        );
        assert_eq!(without_tests(tokens(text)).1, ["far"]);
    }

    #[test]
    fn a_token_knows_its_line() {
        let found = tokens("a\n\"b\nc\"\n/* d\n */ e");
        assert_eq!(
            found.iter().map(|token| (token.line, token.text.as_str())).collect::<Vec<_>>(),
            [(1, "a"), (5, "e")]
        );
    }
}
