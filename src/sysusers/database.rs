//! The entries of passwd(5), group(5), shadow(5) and gshadow(5), read without changing a byte.

use std::prelude::v1::*;

use core::fmt;

/// The four databases as they were found; None for a missing file.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Databases {
    /// /etc/passwd
    pub passwd: Option<Vec<u8>>,
    /// /etc/group
    pub group: Option<Vec<u8>>,
    /// /etc/shadow
    pub shadow: Option<Vec<u8>>,
    /// /etc/gshadow
    pub gshadow: Option<Vec<u8>>,
}

/// The reason why nothing can be added to a database.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DatabaseError {
    /// gshadow has an entry for a group that is to be made: its password would become valid for a group that was
    /// removed from /etc/group.
    Orphan(String),
}

impl Databases {
    /// Returns the lines that are neither entries nor comments.
    pub fn bad_lines(&self) -> impl Iterator<Item = BadLine> {
        let all = [
            (Kind::Passwd, &self.passwd),
            (Kind::Group, &self.group),
            (Kind::Shadow, &self.shadow),
            (Kind::Gshadow, &self.gshadow),
        ];
        all.into_iter().flat_map(|(kind, content)| kind.bad_lines(content.as_deref().unwrap_or_default()))
    }
}

impl fmt::Display for DatabaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // The tool's words.
            Self::Orphan(name) => write!(f, "/etc/gshadow: Group \"{name}\" already exists."),
        }
    }
}

impl core::error::Error for DatabaseError {}

/// One line of a database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Line<'a> {
    /// The line without its end, as it stands in the file.
    pub text: &'a [u8],
    /// The entry on it; None for comments, empty lines and lines that libc passes over: they stay as they are.
    pub entry: Option<Entry<'a>>,
}

/// A line that is neither entry nor comment. libc passes over it, and so does everything here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadLine {
    /// The file.
    pub file: &'static str,
    /// The line, from 1.
    pub line: usize,
    /// The missing part.
    pub reason: &'static str,
}

/// The fields of an entry that decide about others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry<'a> {
    /// The name; for NIS entries it begins with `+` or `-`.
    pub name: &'a [u8],
    /// The user id in passwd, the group id in group, 0 in the others.
    pub id: u32,
}

impl Entry<'_> {
    /// Returns true when this stands for entries of the network, which must stay behind all others.
    pub fn is_nis(&self) -> bool {
        matches!(self.name, [b'+' | b'-', ..])
    }
}

/// The four databases.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// /etc/passwd
    Passwd,
    /// /etc/group
    Group,
    /// /etc/shadow
    Shadow,
    /// /etc/gshadow
    Gshadow,
}

impl Kind {
    /// The file's name, as messages say it.
    pub fn file(self) -> &'static str {
        match self {
            Self::Passwd => "/etc/passwd",
            Self::Group => "/etc/group",
            Self::Shadow => "/etc/shadow",
            Self::Gshadow => "/etc/gshadow",
        }
    }

    /// Reads a database line by line.
    pub fn lines(self, content: &[u8]) -> Vec<Line<'_>> {
        let content = content.strip_suffix(b"\n").unwrap_or(content);
        if content.is_empty() {
            return Vec::new();
        }
        let mut lines = Vec::with_capacity(content.iter().filter(|&&byte| byte == b'\n').count() + 1);
        let texts = content.split(|&byte| byte == b'\n');
        lines.extend(texts.map(|text| Line { text, entry: self.entry(text).unwrap_or_default() }));
        lines
    }

    /// Returns the lines of a database that are neither entries nor comments.
    pub fn bad_lines(self, content: &[u8]) -> Vec<BadLine> {
        let content = content.strip_suffix(b"\n").unwrap_or(content);
        let mut bad = Vec::new();
        for (number, text) in content.split(|&byte| byte == b'\n').enumerate() {
            if let Err(reason) = self.entry(text) {
                bad.push(BadLine { file: self.file(), line: number + 1, reason });
            }
        }
        bad
    }

    fn entry(self, text: &[u8]) -> Result<Option<Entry<'_>>, &'static str> {
        // glibc passes over white space before an entry.
        let text = text.trim_ascii_start();
        if text.is_empty() || text.starts_with(b"#") {
            return Ok(None);
        }
        if text.contains(&0) {
            return Err("holds a NUL byte");
        }
        let mut fields = text.split(|&byte| byte == b':');
        let name = fields.next().filter(|name| !name.is_empty()).ok_or("has no name")?;
        let mut entry = Entry { name, id: 0 };
        let nis = entry.is_nis();
        if fields.next().is_none() && !nis {
            return Err("has no colon");
        }
        let mut number = || match fields.next() {
            // NIS entries need no ids; libc takes them for 0.
            None | Some(b"") if nis => Ok(0),
            field => field
                .and_then(|field| core::str::from_utf8(field).ok())
                .filter(|field| field.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|field| field.parse::<u32>().ok())
                .ok_or("has no valid id"),
        };
        match self {
            Self::Passwd => {
                entry.id = number()?;
                number()?;
            }
            Self::Group => entry.id = number()?,
            Self::Shadow | Self::Gshadow => {}
        }
        Ok(Some(entry))
    }
}

/// Replaces the field `index` of an entry; fields that are missing before it are added empty.
pub fn with_field(text: &[u8], index: usize, value: &[u8]) -> Vec<u8> {
    let mut fields: Vec<&[u8]> = text.split(|&byte| byte == b':').collect();
    if fields.len() <= index {
        fields.resize(index + 1, b"");
    }
    if let Some(field) = fields.get_mut(index) {
        *field = value;
    }
    fields.join(&b':')
}

/// The members in field `index` of a group or gshadow entry.
pub fn members(text: &[u8], index: usize) -> Vec<&[u8]> {
    let field = text.split(|&byte| byte == b':').nth(index).unwrap_or_default();
    field
        .split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii_start)
        .filter(|member| !member.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn entries_and_what_is_none() {
        let content = b"# a\n\nroot:x:0:0::/:/bin/sh\n  sp:x:007:9\n+nis::::::\n-\n";
        let lines = Kind::Passwd.lines(content);
        let entries: Vec<_> =
            lines.iter().filter_map(|line| line.entry).map(|entry| (entry.name, entry.id)).collect();
        assert_eq!(entries, [(&b"root"[..], 0), (b"sp", 7), (b"+nis", 0), (b"-", 0)]);
        for (content, said) in [
            ("a:x:b:1", "1: has no valid id"),
            ("a:x:1:1\nb", "2: has no colon"),
            (":x:1:1", "1: has no name"),
            ("a:x:1", "1: has no valid id"),
            ("a:x:4294967296:1", "1: has no valid id"),
        ] {
            let bad = Kind::Passwd.bad_lines(content.as_bytes());
            let [BadLine { file, line, reason }] = bad[..] else { panic!("{content}: {bad:?}") };
            assert_eq!((file, format!("{line}: {reason}").as_str()), ("/etc/passwd", said));
            assert_eq!(Kind::Passwd.lines(content.as_bytes())[line - 1].entry, None);
        }
    }

    #[test]
    fn fields() {
        assert_eq!(with_field(b"a:!:1::::::", 2, b"9"), b"a:!:9::::::");
        assert_eq!(with_field(b"a:x:1", 3, b"m"), b"a:x:1:m");
        assert_eq!(members(b"a:x:1:b,, c", 3), [&b"b"[..], b"c"]);
        assert_eq!(members(b"a:x:1:", 3), [&b""[..]; 0]);
    }

    proptest! {
        #[test]
        fn lines_hold_the_whole_content(content: Vec<u8>) {
            for kind in [Kind::Passwd, Kind::Group, Kind::Shadow, Kind::Gshadow] {
                let texts: Vec<&[u8]> = kind.lines(&content).iter().map(|line| line.text).collect();
                let joined = texts.join(&b'\n');
                prop_assert_eq!(&joined[..], content.strip_suffix(b"\n").unwrap_or(&content));
            }
        }
    }
}
