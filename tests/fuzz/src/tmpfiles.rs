//! tmpfiles.d: lines, patterns, access control lists.

use hermetic_init::{
    fragments::Facts,
    glob,
    level::Level,
    tmpfiles::{
        Context, Definitions, Operation, Selection, Specifiers,
        acl::{Acl, Acls, Names},
        item::Item,
        line::Surroundings,
        log::Kept,
        path,
    },
};

use crate::input::{Input, join};

/// A machine where some things exist.
struct Machine<'a> {
    credential: &'a [u8],
}

impl Names for Machine<'_> {
    fn user(&self, name: &[u8]) -> Option<u32> {
        name.first().map(|&byte| u32::from(byte))
    }

    fn group(&self, name: &[u8]) -> Option<u32> {
        (name != b"none").then_some(7)
    }
}

impl Surroundings for Machine<'_> {
    fn exists(&self, path: &[u8]) -> bool {
        path.len() % 2 == 0
    }

    fn credential(&self, _: &str) -> Option<Vec<u8>> {
        Some(self.credential.to_vec())
    }
}

/// Two files of lines, a credential, a name to be matched, a list as the kernel keeps it.
pub fn tmpfiles(data: &[u8]) {
    let [first, second, credential, name, list]: [&[u8]; 5] = Input::new(data).parts();
    let specifiers = Specifiers::of_system(Facts { hostname: Some("h".into()), ..Facts::default() });
    let machine = Machine { credential };
    let selection = Selection { boot: true, excluded: vec![b"/dev".to_vec()], ..Selection::default() };
    let context = Context { specifiers: &specifiers, surroundings: &machine, selection: &selection };
    let mut log = Kept::up_to(Level::Debug);
    let mut definitions = Definitions::new();
    definitions.parse("a.conf", first, &context, &mut log);
    definitions.parse("b.conf", second, &context, &mut log);
    for error in definitions.invalid.iter().chain(&definitions.failed) {
        assert!(!error.message.is_empty() && error.line > 0);
    }
    let items: Vec<&Item> = definitions.items().collect();
    for item in &items {
        assert!(item.path.first() == Some(&b'/') && path::simplify(&item.path) == item.path);
        assert!(!path::starts_with(&item.path, b"/dev"), "an excluded path counts");
        assert!(item.creation_mode <= 0o7777);
        let patterns = glob::braces(&item.path);
        assert!(!patterns.is_empty());
        for pattern in patterns.iter().take(16) {
            glob::path_matches(pattern, name);
        }
    }
    for operation in [Operation::Create, Operation::Remove] {
        ordered(&definitions.order(operation), &items, operation);
    }
    lists(name, list, &machine);
}

/// Every item is carried out once, and an item above another comes before it or after it.
fn ordered(order: &[&Item], items: &[&Item], operation: Operation) {
    assert_eq!(order.len(), items.len());
    let place =
        |item: &Item| order.iter().position(|other| std::ptr::eq(*other, item)).expect("an item got lost");
    for item in items.iter().take(64) {
        let Some(above) = path::ancestors(&item.path).find_map(|above| {
            let plain = items.iter().find(|other| other.path == above && !other.kind.is_glob());
            plain.or_else(|| items.iter().find(|other| other.path == above))
        }) else {
            continue;
        };
        assert_eq!(place(above) < place(item), operation == Operation::Create, "the order is wrong");
    }
}

/// A list that was read is written as it was, and merging one into itself changes nothing but the mask.
fn lists(text: &[u8], value: &[u8], names: &dyn Names) {
    if let Some(acl) = Acl::decode(value) {
        let again = Acl::decode(&acl.encode()).expect("what was written is not understood");
        assert_eq!(again.0.len(), acl.0.len());
        let merged = again.merged_into(&again);
        assert!(merged.0.len() <= again.0.len() + 1);
    }
    for modify in [false, true] {
        let Some(acls) = Acls::parse(text, names, modify) else { continue };
        let old = Acl::from_mode(0o640);
        let Some(new) = acls.access_for(&old, false, modify) else { continue };
        let whole = new.merged_into(&old).completed(0o640);
        assert!(Acl::decode(&whole.encode()).is_some_and(|acl| acl.0.len() >= 3));
    }
}

pub(crate) fn tmpfiles_seeds() -> Vec<Vec<u8>> {
    let lines = b"d /run/a 0755 root root 10d -\nf+! \"/etc/a b\" ~:4755 :daemon adm aM:1d text\\x20%%\nL? /etc/x - - - - ../y\n\
        C /c/d\nC+ /c - - - - /usr/share/factory/c\nc+ /d/null 0666 - - - 1:3\nt /a - - - - user.x=\"1 2\"\nh /v - - - - +C\n\
        z /sys/{a,b}/*[!0-9]? 0600\nR /run/a/*\nD= /tmp/x 1777\nf^~ /k - - - - key\nw+ /a/b - - - - x\nw+ /a/b - - - - y\nd /a\nd$ /a/b\n";
    let journal = b"a+ /var/log/journal - - - - d:group::r-x,d:group:adm:r-x,group::r-x,group:adm:rX\nA /x - - - - u:1000:rwx,m::r\n";
    let list = b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x06\0\xe8\x03\0\0\x04\0\x04\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff";
    vec![
        join(&[lines, journal, b"AQI=", b"/sys/a/x9y", list]),
        join(&[journal, lines, b"not base64", b"u:a:rwX,d:g::x,o::-", b"\x02\0\0\0"]),
        join(&[
            b"f /a %Y\nx\nY /a\nf \"/a\n",
            b"v /a\nq /a/b\nQ /a/b/c\nx /a/b/*\nX /a\nr! /a/b/c\n",
            b"",
            b"/a/.b",
            list,
        ]),
    ]
}
