//! The rules for names, ids, texts and paths in a user database, as in systemd (its `user-util.c`, and
//! <https://systemd.io/USER_NAMES>).

use std::prelude::v1::*;

use super::message::Reason;

/// The longest name of a user or a group: the limit of a utmp record (`UT_NAMESIZE` - 1).
const MAX_NAME: usize = 31;
/// The longest path, without its end (`PATH_MAX` - 1), and the longest name in it (`NAME_MAX`).
const MAX_PATH: usize = 4095;
const MAX_COMPONENT: usize = 255;

/// Returns true when a user or a group may have this name: a letter or `_`, then letters, digits, `_`, `-`; at most 31
/// of them.
pub fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() <= MAX_NAME
        && bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// Returns true when a text can be a GECOS field: no control characters, no colon.
pub fn is_gecos(text: &str) -> bool {
    !text.bytes().any(|byte| byte.is_ascii_control() || byte == b':')
}

/// Returns true when a simplified path can be a home directory or a shell: absolute, without `..`, control characters
/// and colons.
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

/// Parses a user or group id: decimal without sign, leading zero or space; 65535 and 4294967295 mean "none" to the
/// kernel and are not ids.
///
/// # Errors
/// As systemd tells them apart (`parse_uid`).
pub fn parse_id(text: &str) -> Result<u32, Reason> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 || (text.starts_with('0') && text != "0") {
        return Err(Reason::Invalid);
    }
    let number: u64 = text.get(..digits).and_then(|text| text.parse().ok()).ok_or(Reason::Range)?;
    if digits < text.len() {
        return Err(Reason::Invalid);
    }
    match u32::try_from(number) {
        Err(_) => Err(Reason::Range),
        Ok(0xffff | u32::MAX) => Err(Reason::Reserved),
        Ok(id) => Ok(id),
    }
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
            ("0", Ok(0)),
            ("65534", Ok(65534)),
            ("65535", Err(Reason::Reserved)),
            ("4294967294", Ok(4294967294)),
            ("4294967295", Err(Reason::Reserved)),
            ("4294967296", Err(Reason::Range)),
            ("99999999999999999999x", Err(Reason::Range)),
            ("00", Err(Reason::Invalid)),
            ("+1", Err(Reason::Invalid)),
            ("1x", Err(Reason::Invalid)),
            (" 1", Err(Reason::Invalid)),
            ("", Err(Reason::Invalid)),
        ] {
            assert_eq!(parse_id(text), id, "{text:?}");
        }
    }
}
