//! os-release(5): who a /usr says it is.
//!
//! The file is a subset of shell: `KEY=VALUE`, a value may be quoted, a backslash takes the meaning of the next
//! character away. Lines that are none of that are passed over, as os-release(5) asks of readers.

use std::collections::BTreeMap;
use std::prelude::v1::*;

/// The fields of an os-release file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OsRelease(BTreeMap<String, String>);

impl OsRelease {
    /// Reads a whole file. The last of several lines with the same key holds.
    pub fn parse(text: &str) -> Self {
        let mut fields = BTreeMap::new();
        for line in text.lines() {
            let Some((key, value)) = line.trim().split_once('=') else { continue };
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
            if key.is_empty() || !key.bytes().all(plain) || key.starts_with(|c: char| c.is_ascii_digit()) {
                continue;
            }
            if let Some(value) = unquote(value) {
                fields.insert(key.to_string(), value);
            }
        }
        Self(fields)
    }

    /// A field that is there and not empty.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str).filter(|value| !value.is_empty())
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

/// A value as a shell would assign it, or None when a quote is not closed. Blanks outside of quotes, which a shell would
/// not take, are part of the value as in systemd; those at its end are not.
fn unquote(text: &str) -> Option<String> {
    let mut value = String::new();
    let mut quote = None;
    let mut chars = text.trim_start().chars();
    // Up to here the value does not end with blanks that may be dropped.
    let mut kept = 0;
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), _) if open == c => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (Some('"'), '\\') => match chars.next()? {
                special @ ('"' | '\\' | '$' | '`') => value.push(special),
                plain => value.extend(['\\', plain]),
            },
            (None, '\\') => value.push(chars.next()?),
            (None, ' ' | '\t') => {
                value.push(c);
                continue;
            }
            _ => value.push(c),
        }
        kept = value.len();
    }
    value.truncate(kept);
    quote.is_none().then_some(value)
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

    /// The expected sides are what `sh -c '. FILE; printf %s "$K"'` prints.
    #[test]
    fn values_are_unquoted_as_by_a_shell() {
        for (value, expected) in [
            ("plain", Some("plain")),
            ("'a \"b\" \\c'", Some("a \"b\" \\c")),
            (r#""a \"b\" \$c \\ \d""#, Some(r#"a "b" $c \ \d"#)),
            (r"a\ b", Some("a b")),
            ("a'b'\"c\"", Some("abc")),
            ("\"open", None),
            ("", None),
            ("\" \"", Some(" ")),
            // Not from the shell, which runs the command b here.
            ("a b \t", Some("a b")),
        ] {
            assert_eq!(OsRelease::parse(&format!("K={value}\n")).get("K"), expected, "{value}");
        }
    }

    #[test]
    fn lines_that_are_no_assignment_are_passed_over() {
        let os = OsRelease::parse("export A=1\n1B=2\n=3\nC D=4\nE\nF=5\nF=6\n");
        assert_eq!(os, OsRelease(BTreeMap::from([("F".to_string(), "6".to_string())])));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in any::<String>()) {
            OsRelease::parse(&text);
        }

        #[test]
        fn a_quoted_value_comes_back(value in "[^\"\\\\\n\r]{1,20}") {
            let os = OsRelease::parse(&format!("K=\"{value}\""));
            prop_assert_eq!(os.get("K"), Some(value.as_str()));
        }
    }
}
