//! os-release(5): the identity of a /usr. machine-info(5) is written the same way.
//!
//! The file is a subset of shell, read by systemd's rules where the two differ (systemd: src/basic/env-file.c): a quote
//! counts at the beginning of a value or behind another quoted piece, and one that is not closed takes the rest of the
//! file. Lines that assign nothing are passed over, as os-release(5) asks of readers.

use core::str::Chars;
use std::prelude::v1::*;

use crate::map::Map;

/// The fields of an os-release file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OsRelease(Map<String>);

impl OsRelease {
    /// Reads a whole file. The last of several lines with the same key holds.
    pub fn parse(text: &str) -> Self {
        let mut fields = Map::new();
        let mut rest = text.chars();
        while let Some(key) = key(&mut rest) {
            let value = value(&mut rest);
            let key = key.trim_end_matches([' ', '\t']);
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
            if key.bytes().all(plain) && !key.starts_with(|c: char| c.is_ascii_digit()) {
                fields.insert(key, value);
            }
        }
        Self(fields)
    }

    /// A field that is there and not empty.
    pub fn get(&self, key: &str) -> Option<&str> {
        Some(self.value(key)).filter(|value| !value.is_empty())
    }

    /// A field; empty when it is missing.
    pub fn value(&self, key: &str) -> &str {
        self.0.get(key.as_bytes()).map(String::as_str).unwrap_or_default()
    }

    /// `ID`, or `linux`, the default of the specification.
    pub fn id(&self) -> &str {
        self.get("ID").unwrap_or("linux")
    }

    /// `VERSION_ID`.
    pub fn version_id(&self) -> Option<&str> {
        self.get("VERSION_ID")
    }

    /// `IMAGE_ID`: the image that this system was made as.
    pub fn image_id(&self) -> Option<&str> {
        self.get("IMAGE_ID")
    }

    /// `IMAGE_VERSION`: the version of that image; the slot of the same version is ours.
    pub fn image_version(&self) -> Option<&str> {
        self.get("IMAGE_VERSION")
    }

    /// `PRETTY_NAME`, for people.
    pub fn pretty_name(&self) -> &str {
        self.get("PRETTY_NAME").unwrap_or("Linux")
    }
}

/// The next key, up to its `=`, with the blanks before that. Comments and lines without `=` are passed over.
fn key(rest: &mut Chars<'_>) -> Option<String> {
    let mut key = String::new();
    loop {
        match rest.next()? {
            '\n' | '\r' => key.clear(),
            ' ' | '\t' if key.is_empty() => {}
            '=' if !key.is_empty() && !key.starts_with(['#', ';']) => return Some(key),
            other => key.push(other),
        }
    }
}

/// The value that follows, up to the end of its line: quoted pieces with blanks between them that do not count, then one without quotes.
fn value(rest: &mut Chars<'_>) -> String {
    let mut value = String::new();
    loop {
        match rest.next() {
            None | Some('\n' | '\r') => return value,
            Some(' ' | '\t') => {}
            Some(quote @ ('"' | '\'')) => quoted(rest, quote, &mut value),
            Some(first) => {
                unquoted(rest, first, &mut value);
                return value;
            }
        }
    }
}

/// Adds a quoted piece. In double quotes a backslash takes the meaning of `"`, `\`, `` ` `` and `$` away, and joins two lines.
fn quoted(rest: &mut Chars<'_>, quote: char, value: &mut String) {
    while let Some(next) = rest.next().filter(|next| *next != quote) {
        if next != '\\' || quote != '"' {
            value.push(next);
            continue;
        }
        match rest.next() {
            None | Some('\n') => {}
            Some(special @ ('"' | '\\' | '`' | '$')) => value.push(special),
            Some(plain) => value.extend(['\\', plain]),
        }
    }
}

/// Adds a piece without quotes, from `first` to the end of the line. A backslash takes the meaning of every character away, and joins two lines;
/// blanks at the end are not part of the piece.
fn unquoted(rest: &mut Chars<'_>, first: char, value: &mut String) {
    let mut next = Some(first);
    // Up to here the value does not end with blanks that may be dropped.
    let mut kept = value.len();
    while let Some(character) = next.filter(|next| !matches!(next, '\n' | '\r')) {
        match character {
            '\\' => value.extend(rest.next().filter(|next| !matches!(next, '\n' | '\r'))),
            other => value.push(other),
        }
        if !matches!(character, ' ' | '\t') {
            kept = value.len();
        }
        next = rest.next();
    }
    value.truncate(kept);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_file_of_debian_13() {
        let text = "PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"13\"\n\
                    # a comment=x\n\nID=debian\nHOME_URL=\"https://www.debian.org/\"\nIMAGE_VERSION=7\nIMAGE_ID=\n";
        let os = OsRelease::parse(text);
        assert_eq!(os.pretty_name(), "Debian GNU/Linux 13 (trixie)");
        assert_eq!((os.id(), os.version_id()), ("debian", Some("13")));
        assert_eq!((os.image_id(), os.image_version()), (None, Some("7")));
        assert_eq!(OsRelease::parse("").id(), "linux");
    }

    /// The expected sides are what systemd-tmpfiles 257 writes for `f /file - - - - %B` with these lines in etc/os-release of `--root=`.
    /// A shell agrees, but for those below the line.
    #[test]
    fn values_are_unquoted_as_by_systemd() {
        for (value, expected) in [
            ("plain", "plain"),
            (r#""a\nb""#, r"a\nb"),
            ("'a \"b\" \\c'", "a \"b\" \\c"),
            (r#""a \"b\" \$c \\ \d \` \n""#, r#"a "b" $c \ \d ` \n"#),
            (r"a\ b", "a b"),
            (r"a\ ", "a "),
            ("", ""),
            ("\" \"", " "),
            ("\"a\nb\"", "a\nb"),
            ("\"a\\\nb\"", "ab"),
            ("a\\\nb", "ab"),
            // A shell runs a command, joins the pieces in another way, or finds no end.
            (" x", "x"),
            ("a b \t", "a b"),
            ("a #b", "a #b"),
            ("a'b'\"c\"", "a'b'\"c\""),
            ("'a'b\"c\"", "ab\"c\""),
            ("\"a\" \"b\" ", "ab"),
            ("a\rIMAGE_ID=j", "a"),
            ("\"open", "open\nIMAGE_ID=i\n"),
            ("'open", "open\nIMAGE_ID=i\n"),
            (r"a\", "aIMAGE_ID=i"),
        ] {
            let os = OsRelease::parse(&format!("BUILD_ID={value}\nIMAGE_ID=i\n"));
            let image = if expected.contains("IMAGE_ID") { "" } else { "i" };
            assert_eq!((os.value("BUILD_ID"), os.value("IMAGE_ID")), (expected, image), "{value}");
        }
    }

    /// As above, each a whole file. `1BUILD_ID` cannot be asked for by a specifier: user-environment-generators/30-systemd-environment-d-generator
    /// of 257 reads files by the same parser, and says `invalid variable name "1BUILD_ID", ignoring.` of this line, as 252 does.
    #[test]
    fn keys_are_found_as_by_systemd() {
        for (text, expected) in [
            ("BUILD_ID =x\n", "x"),
            (" BUILD_ID=x", "x"),
            ("export BUILD_ID=x\n", ""),
            ("1BUILD_ID=x\n", ""),
            ("#c\\\nBUILD_ID=x\n", "x"),
            (";BUILD_ID=x\n", ""),
            ("BUILD_ID=\"x", "x"),
            ("BUILD_ID=x\\", "x"),
            ("BUILD_ID=x ", "x"),
            ("BUILD_ID=x\nBUILD_ID=\n", ""),
            ("BUILD_ID\n=x\n", ""),
            ("\n\n=y\nBUILD_ID=x\n", "x"),
        ] {
            assert_eq!(OsRelease::parse(text).value("BUILD_ID"), expected, "{text}");
        }
    }

    #[test]
    fn lines_that_are_no_assignment_are_passed_over() {
        let os = OsRelease::parse("export A=1\n1B=2\n=3\nC D=4\nE\nF=5\nF=6\n");
        assert_eq!(os, OsRelease(Map::from_iter([("F", "6".to_string())])));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in any::<String>()) {
            for (name, value) in OsRelease::parse(&text).0.iter() {
                prop_assert!(!name.is_empty() && name.len() + value.len() < text.len());
            }
        }

        #[test]
        fn a_quoted_value_comes_back(value in "[^\"\\\\\n\r]{1,20}") {
            let os = OsRelease::parse(&format!("K=\"{value}\""));
            prop_assert_eq!(os.get("K"), Some(value.as_str()));
        }
    }
}
