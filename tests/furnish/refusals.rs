//! A root that cannot be furnished is refused in one line: the object, the cause, what to do. The messages of the steps before are
//! not lost.

use std::{fs, os::unix::fs::symlink, path::Path};

use hermetic_init::etc::Strategy;

use super::table::Machine;

/// A state of a root, and the line that it is refused with.
type Case = (fn(&Path), &'static str);

const CASES: [Case; 4] = [
    (
        |root| symlink("/elsewhere", root.join("etc")).unwrap(),
        "the base directories of the root are not complete: /etc of the root is not a directory; nothing was written through it: \
         remove it or reset the root",
    ),
    (
        |root| {
            fs::create_dir_all(root.join("var/lib")).unwrap();
            fs::write(root.join("var/lib/hermetic-init"), "").unwrap();
        },
        "the machine id is not kept on the root: cannot open directory of /var/lib/hermetic-init of the root: \
         Not a directory (os error 20): something else has this name, remove it",
    ),
    (
        |root| {
            fs::create_dir_all(root.join("etc")).unwrap();
            fs::write(root.join("etc/gshadow"), "g:!::\n").unwrap();
        },
        "the root lacks users of sysusers.d: /etc/gshadow: Group \"g\" already exists.",
    ),
    (
        |root| {
            fs::create_dir_all(root.join("etc")).unwrap();
            symlink("/elsewhere", root.join("etc/passwd")).unwrap();
        },
        "the root lacks users of sysusers.d: cannot open /etc/passwd of the root: it is a symbolic link \
         (Too many levels of symbolic links (os error 40)), put a real file there",
    ),
];

/// A machine with nothing but users and a rule that says nothing.
fn machine() -> Machine {
    let machine = Machine::empty("refusals", Strategy::Track);
    let usr = machine.usr("v1");
    for (directory, file, content) in [
        ("lib/sysusers.d", "a.conf", "u a 401\ng g -\n"),
        ("lib/hermetic-init", "etc.conf", "/etc/x nonsense\n"),
    ] {
        fs::create_dir_all(usr.join(directory)).unwrap();
        fs::write(usr.join(directory).join(file), content).unwrap();
    }
    machine
}

#[test]
fn a_root_is_refused_in_one_line() {
    for (make, line) in CASES {
        let machine = machine();
        make(&machine.root());
        let (refused, messages) = machine.refuses("v1");
        assert_eq!(refused, line);
        // The rules are read after the base directories.
        assert_eq!(messages.len(), usize::from(!line.starts_with("the base")), "{messages:?}");
    }
}
