//! Which names, ids, texts and paths are valid in a user database, by systemd's rules (its `user-util.c`, and
//! <https://systemd.io/USER_NAMES>).

use std::prelude::v1::*;

/// The longest name of a user or a group: what a utmp record holds (`UT_NAMESIZE` - 1).
const MAX_NAME: usize = 31;
/// The longest path, without its end (`PATH_MAX` - 1), and the longest name in it (`NAME_MAX`).
const MAX_PATH: usize = 4095;
const MAX_COMPONENT: usize = 255;

/// Whether a user or a group may have this name: a letter or `_`, then letters, digits, `_`, `-`; at most 31 of them.
pub fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() <= MAX_NAME
        && bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// Whether a text can be a GECOS field: no control characters, no colon.
pub fn is_gecos(text: &str) -> bool {
    !text.bytes().any(|byte| byte.is_ascii_control() || byte == b':')
}

/// Whether a simplified path can be a home directory or a shell: absolute, without `..`, control characters and colons.
pub fn is_path(path: &str) -> bool {
    path.starts_with('/')
        && path.len() <= MAX_PATH
        && is_gecos(path)
        && path.split('/').all(|component| component != ".." && component.len() <= MAX_COMPONENT)
}

/// The path without doubled and trailing slashes, without `.`, and without `..` behind the root, which is its own parent
/// (systemd's `path_simplify`).
pub fn simplify(path: &str) -> String {
    let above_root = |part: &&str| path.starts_with('/') && *part == "..";
    let parts = path.split('/').filter(|part| !part.is_empty() && *part != ".");
    let plain = parts.skip_while(above_root).collect::<Vec<&str>>().join("/");
    match (path.starts_with('/'), plain.is_empty()) {
        (true, _) => format!("/{plain}"),
        (false, true) if !path.is_empty() => ".".to_owned(),
        (false, _) => plain,
    }
}

/// Parses a user or group id: decimal without sign, leading zero or space; 65535 and 4294967295 mean "none" to the kernel and
/// are no ids.
pub fn parse_id(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    let id: u32 = plain.then(|| text.parse().ok())??;
    (id != 0xffff && id != u32::MAX).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (name, valid) in [
            ("a", true),
            ("_apt", true),
            ("A-b_9", true),
            ("", false),
            ("9a", false),
            ("-a", false),
            ("a.b", false),
            ("ä", false),
            ("abcdefghijklmnopqrstuvwxyz01234", true),
            ("abcdefghijklmnopqrstuvwxyz012345", false),
        ] {
            assert_eq!(is_name(name), valid, "{name:?}");
        }
    }

    #[test]
    fn paths() {
        for (path, plain, valid) in [
            ("//a//b/./c/", "/a/b/c", true),
            ("/", "/", true),
            ("/a/../b", "/a/../b", false),
            ("/.././..//x", "/x", true),
            ("/..x", "/..x", true),
            ("/a..b", "/a..b", true),
            ("a/b", "a/b", false),
            ("./", ".", false),
            ("/a:b", "/a:b", false),
        ] {
            assert_eq!((simplify(path).as_str(), is_path(&simplify(path))), (plain, valid));
        }
    }

    #[test]
    fn ids() {
        for (text, id) in [
            ("0", Some(0)),
            ("65534", Some(65534)),
            ("65535", None),
            ("4294967294", Some(4294967294)),
            ("4294967295", None),
            ("4294967296", None),
            ("00", None),
            ("+1", None),
            (" 1", None),
            ("", None),
        ] {
            assert_eq!(parse_id(text), id, "{text:?}");
        }
    }
}
