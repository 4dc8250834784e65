//! Paths as bytes: simplified, compared by component, taken apart (systemd's src/basic/path-util.c).

use std::prelude::v1::*;

/// The longest name (`NAME_MAX`).
const MAX_NAME: usize = 255;

/// The path without doubled and trailing slashes, without `.`, and without `..` behind the root.
pub fn simplify(path: &[u8]) -> Vec<u8> {
    let is_absolute = path.first() == Some(&b'/');
    let parts = components(path).skip_while(|part| is_absolute && *part == b"..");
    let plain = parts.collect::<Vec<&[u8]>>().join(&b'/');
    match (is_absolute, plain.is_empty()) {
        (true, _) => [b"/", plain.as_slice()].concat(),
        (false, true) if !path.is_empty() => b".".to_vec(),
        (false, _) => plain,
    }
}

/// The names of a path, without empty ones and `.`.
pub fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|name| !name.is_empty() && *name != b".")
}

/// Returns true when `path` is `prefix` or lies below it.
pub fn starts_with(path: &[u8], prefix: &[u8]) -> bool {
    let mut names = components(path);
    path.first() == prefix.first().or(path.first())
        && components(prefix).all(|name| names.next() == Some(name))
}

/// The directory of a simplified absolute path, and its name there; None for the root, and for a path that ends in `..`
/// or in a name that no file can have.
pub fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let slash = path.iter().rposition(|&byte| byte == b'/')?;
    let name = path.get(slash + 1..)?;
    let is_name = !name.is_empty() && name != b"." && name != b".." && name.len() <= MAX_NAME;
    is_name.then_some((path.get(..slash.max(1))?, name))
}

/// Returns true when a simplified path has no `..`.
pub fn is_normalized(path: &[u8]) -> bool {
    components(path).all(|name| name != b"..")
}

/// The ancestors of a simplified absolute path, the nearest first, without the root.
pub fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut path = path;
    core::iter::from_fn(move || {
        let slash = path.iter().rposition(|&byte| byte == b'/')?;
        path = path.get(..slash)?;
        (!path.is_empty()).then_some(path)
    })
}

/// Path and name put together.
pub fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    let mut joined = path.to_vec();
    if joined.last() != Some(&b'/') {
        joined.push(b'/');
    }
    joined.extend_from_slice(name.strip_prefix(b"/").unwrap_or(name));
    joined
}

/// The path for messages.
pub fn show(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths() {
        for (path, plain) in [
            ("//a//b/./c/", "/a/b/c"),
            ("/", "/"),
            ("/../x/..", "/x/.."),
            ("a/./", "a"),
            ("./", "."),
            ("", ""),
        ] {
            assert_eq!(show(&simplify(path.as_bytes())), plain);
        }
        assert!(
            starts_with(b"/etc/x", b"/etc/") && starts_with(b"/etc", b"/etc") && starts_with(b"/a", b"/")
        );
        assert!(!starts_with(b"/etcx", b"/etc") && !starts_with(b"/etc", b"etc"));
        assert_eq!(split(b"/a/b"), Some((&b"/a"[..], &b"b"[..])));
        assert_eq!(split(b"/a"), Some((&b"/"[..], &b"a"[..])));
        assert_eq!((split(b"/"), split(b"/a/..")), (None, None));
        assert_eq!(ancestors(b"/a/b/c").collect::<Vec<_>>(), [&b"/a/b"[..], b"/a"]);
        assert_eq!(show(&join(b"/", b"/x")), "/x");
    }

    proptest! {
        #[test]
        fn simple_paths_are_simple(path in "[./a]{0,20}") {
            let plain = simplify(path.as_bytes());
            prop_assert_eq!(simplify(&plain), plain);
        }
    }
}
