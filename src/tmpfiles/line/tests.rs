//! Lines that count, and lines that do not.

use proptest::prelude::*;

use super::{
    super::{acl::Names, attribute::Attributes, item::AccessMode, log::Kept, specifier::Specifiers},
    *,
};
use crate::fragments::Facts;

struct Here;

impl Names for Here {
    fn user(&self, name: &[u8]) -> Option<u32> {
        (name == b"daemon").then_some(1)
    }

    fn group(&self, name: &[u8]) -> Option<u32> {
        (name == b"adm").then_some(4)
    }
}

impl Surroundings for Here {
    fn exists(&self, path: &[u8]) -> bool {
        path.ends_with(b"there")
    }

    fn credential(&self, name: &str) -> Option<Vec<u8>> {
        (name == "c").then(|| b"AQI=".to_vec())
    }
}

/// Runs a test with a context in which little exists.
pub(in super::super) fn with_context<R>(test: impl FnOnce(&Context<'_>, &mut Kept) -> R) -> R {
    let specifiers = Specifiers::of_system(Facts::default());
    let selection = Selection { excluded: vec![b"/dev".to_vec()], ..Selection::default() };
    let context = Context { specifiers: &specifiers, surroundings: &Here, selection: &selection };
    test(&context, &mut Kept::up_to(Level::Notice))
}

fn read(line: &str) -> Result<Line, Refusal> {
    with_context(|context, _| parse(line.as_bytes(), context, &mut |_, _| {}))
}

fn item(line: &str) -> Item {
    match read(line) {
        Ok(Line::Item(item)) => *item,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn every_column() {
    let item = item("d-=$ \"/a b/%u\" ~:2755 :daemon adm ~mM:1d -");
    assert_eq!((item.kind, item.path.as_slice()), (Kind::Directory, &b"/a b/root"[..]));
    assert!(item.allow_failure && item.try_replace && item.purge && !item.append_or_force);
    assert_eq!(item.mode, Some(AccessMode { bits: 0o2755, only_new: true, masked: true }));
    assert_eq!(item.user.map(|user| (user.id, user.only_new)), Some((1, true)));
    assert_eq!(item.group.map(|group| (group.id, group.only_new)), Some((4, false)));
    assert_eq!((item.age.age, item.age.keep_first_level), (Some(86_400_000_000), true));
}

#[test]
fn arguments() {
    for (line, argument) in [
        ("f /a - - - - two  words\\x21%%", Some("two  words!%")),
        ("f /a - - - - -", None),
        ("f /a - - - - \"q\"", Some("\"q\"")),
        ("f~ /a - - - - UGlmZgpQYWZmClB1ZmYgCg==", Some("Piff\nPaff\nPuff \n")),
        ("f^ /a - - - - c", Some("AQI=")),
        ("f^~ /a - - - - c", Some("\u{1}\u{2}")),
        ("L /a/b", Some("/usr/share/factory/a/b")),
        ("L /a - - - - ../x", Some("../x")),
        ("C /a/there", Some("/usr/share/factory/a/there")),
        ("C /a - - - - //x/./there/", Some("/x/there")),
    ] {
        assert_eq!(item(line).argument.as_deref(), argument.map(str::as_bytes), "{line}");
    }
    assert_eq!(item("c /a - - - - 1:010").device, (1, 8));
    assert_eq!(item("h /a - - - - +C").attributes, Attributes::parse(b"C").ok());
    let xattrs = [(b"user.a".to_vec(), b"1 2".to_vec()), (b"user.b".to_vec(), b"root".to_vec())];
    assert_eq!(item("t /a - - - - user.a=\"1 2\" bad user.b=%u =x y=").xattrs, xattrs);
}

#[test]
fn lines_that_do_not_count_and_are_no_mistake() {
    for line in ["d! /a", "f^ /a - - - - unknown", "C /nowhere", "d /dev/x", "d /%m", "f /a - - - - %m"] {
        assert_eq!(read(line), Ok(Line::Skipped), "{line}");
    }
}

/// Words and status are those of systemd-tmpfiles 257.
#[test]
fn mistakes() {
    for (line, message, is_invalid) in [
        ("asdfa", "Syntax error.", true),
        ("f \"open quote", "Failed to parse line: Invalid argument", true),
        ("Y /a", "Unknown command type 'Y'.", true),
        ("w a - - - - x", "Path 'a' not absolute.", true),
        ("f!! /a", "Unknown modifiers in command: f!!", true),
        ("f /%Y", "Failed to replace specifiers in '/%Y': Invalid slot", true),
        ("w /a - - - - %Y", "Failed to substitute specifiers in argument: Invalid slot", true),
        ("w /a", "Write file requires argument.", true),
        ("b /a - - - - 1", "Can't parse device file major/minor '1'.", true),
        ("b /a - - - - 4096:1", "Can't parse device file major/minor '4096:1'.", true),
        ("C a", "Path 'a' not absolute.", true),
        ("C /a - - - - b", "Source path 'b' is not absolute.", true),
        ("t~ /a - - - - user.a=b", "base64 decoding not supported for extended attributes.", true),
        (
            "a$ /a - - - - u:0:r",
            "Purge flag '$' combined with line type 'a' which does not support purging.",
            true,
        ),
        ("f? /a", "Modifier '?' combined with line type 'f' which does not support this modifier.", true),
        ("f /a 0888", "Invalid mode '0888'.", true),
        ("f /a 010000", "Invalid mode '010000'.", true),
        ("f /a - unknown", "Failed to resolve user 'unknown': No such process", true),
        ("f /a - 65535", "Failed to resolve user '65535': No such process", true),
        ("f /a - - :unknown", "Failed to resolve group 'unknown': No such process", true),
        ("d /a - - - x:1d", "Invalid age-by 'x'.", true),
        ("d /a - - - 1x", "Invalid age '1x'.", true),
        ("f^ /a", "Reading from credential requested, but no credential name specified.", false),
        ("f^ /a - - - - a/b", "Credential name not valid: a/b", false),
        ("f~ /a - - - - A", "Failed to base64 decode specified argument 'A': Broken pipe", false),
        ("f~ /a - - - - A!==", "Failed to base64 decode specified argument 'A!==': Invalid argument", false),
    ] {
        assert_eq!(read(line), Err(Refusal { message: message.to_owned(), is_invalid }), "{line}");
    }
}

#[test]
fn var_run_is_run() {
    assert_eq!(item("d /var/run/x").path, b"/run/x");
    assert_eq!(item("d /var/run").path, b"/var/run");
}

proptest! {
    #[test]
    fn any_line_is_read_or_not(line: Vec<u8>, plausible in "[a-zA-Z][-!+=~^$?]{0,3} /[a-z%{}*]{0,9} [0-7~:-]{0,5} [a-z0-9:-]{0,7} - [0-9a-zA-Z:~-]{0,6} [ -~]{0,30}") {
        let _ = with_context(|context, _| parse(line.trim_ascii(), context, &mut |_, _| {}));
        let _ = read(plausible.trim());
    }
}
