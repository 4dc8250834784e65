//! States of a root that systemd starts on: /etc follows as far as it can, the rest is named and tried again. Nothing of it ends a boot.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt, symlink},
    path::Path,
    sync::mpsc::channel,
    thread,
    time::Duration,
};

use hermetic_init::{etc::Strategy, furnish::Report};
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

use super::table::Machine;

/// A state: it is made, it is seen to be kept, and it is ended.
struct State {
    name: &'static str,
    make: fn(&Path),
    /// The start of the line of each path that does not follow. Empty: everything follows.
    named: &'static [&'static str],
    /// Files of /etc and their content after the update.
    etc: &'static [(&'static str, &'static str)],
    end: fn(&Path),
}

const ROOT: &str = "root:x:0:0::/root:/bin/sh\n";
const PASSWD: &str =
    "root:x:0:0::/root:/bin/sh\nnew:x:50:50::/:/bin/false\nsvc:x:401:401::/:/usr/sbin/nologin\n";

/// A machine whose second version changes a file, adds some and adds users, by the factory and by sysusers.d.
pub fn machine(name: &str) -> Machine {
    let machine = Machine::empty(name, Strategy::Track);
    for version in ["v1", "v2"] {
        let usr = machine.usr(version);
        let etc = usr.join("share/factory/etc");
        fs::create_dir_all(etc.join("d")).unwrap();
        fs::create_dir_all(usr.join("lib/sysusers.d")).unwrap();
        for file in ["hosts", "issue", "d/x"] {
            fs::write(etc.join(file), format!("{version}\n")).unwrap();
        }
        fs::write(etc.join("group"), "root:x:0:\n").unwrap();
        fs::write(etc.join("passwd"), ROOT).unwrap();
    }
    let usr = machine.usr("v2");
    fs::write(usr.join("share/factory/etc/passwd"), format!("{ROOT}new:x:50:50::/:/bin/false\n")).unwrap();
    fs::write(usr.join("share/factory/etc/d/new"), "v2\n").unwrap();
    fs::create_dir(usr.join("share/factory/etc/e")).unwrap();
    fs::write(usr.join("share/factory/etc/e/y"), "v2\n").unwrap();
    fs::write(usr.join("lib/sysusers.d/a.conf"), "u svc 401\n").unwrap();
    machine.populate("v1");
    machine
}

/// Sets the attributes of chattr(1) on a file; false where the file system has none.
fn attributes(path: &Path, set: IFlags) -> bool {
    let file = fs::File::open(path).unwrap();
    let Ok(flags) = ioctl_getflags(&file) else { return false };
    ioctl_setflags(&file, (flags - IFlags::IMMUTABLE - IFlags::APPEND) | set).is_ok()
}

/// Makes a file immutable.
pub fn fix(path: &Path) {
    assert!(attributes(path, IFlags::IMMUTABLE), "no attributes here");
}

/// Makes a file append-only.
fn append_only(path: &Path) {
    assert!(attributes(path, IFlags::APPEND), "no attributes here");
}

/// Takes the attributes away.
pub fn free(path: &Path) {
    assert!(attributes(path, IFlags::empty()), "no attributes here");
}

/// Everything that follows in an untouched root.
pub const FOLLOWED: &[(&str, &str)] = &[
    ("hosts", "v2\n"),
    ("issue", "v2\n"),
    ("d/x", "v2\n"),
    ("d/new", "v2\n"),
    ("e/y", "v2\n"),
    ("passwd", PASSWD),
];

const STATES: &[State] = &[
    State { name: "an untouched root", make: |_| {}, named: &[], etc: FOLLOWED, end: |_| {} },
    State {
        name: "an immutable file",
        make: |root| fix(&root.join("etc/hosts")),
        named: &["/etc/hosts: "],
        etc: &[("hosts", "v1\n"), ("issue", "v2\n"), ("d/new", "v2\n"), ("passwd", PASSWD)],
        end: |root| free(&root.join("etc/hosts")),
    },
    State {
        name: "a file that is append-only",
        make: |root| append_only(&root.join("etc/hosts")),
        named: &["/etc/hosts: "],
        etc: &[("hosts", "v1\n"), ("issue", "v2\n"), ("d/new", "v2\n"), ("passwd", PASSWD)],
        end: |root| free(&root.join("etc/hosts")),
    },
    State {
        name: "an immutable passwd",
        make: |root| fix(&root.join("etc/passwd")),
        named: &["/etc/passwd: "],
        etc: &[("passwd", ROOT), ("hosts", "v2\n")],
        end: |root| free(&root.join("etc/passwd")),
    },
    State {
        name: "an append-only passwd",
        make: |root| append_only(&root.join("etc/passwd")),
        named: &["/etc/passwd: "],
        etc: &[("passwd", ROOT), ("hosts", "v2\n")],
        end: |root| free(&root.join("etc/passwd")),
    },
    State {
        name: "an immutable directory",
        make: |root| fix(&root.join("etc/d")),
        named: &["/etc/d/new: ", "/etc/d/x: "],
        etc: &[("d/x", "v1\n"), ("hosts", "v2\n"), ("e/y", "v2\n"), ("passwd", PASSWD)],
        end: |root| free(&root.join("etc/d")),
    },
    State {
        name: "an append-only directory",
        make: |root| append_only(&root.join("etc/d")),
        named: &["/etc/d/x: "],
        etc: &[("d/x", "v1\n"), ("d/new", "v2\n"), ("hosts", "v2\n"), ("e/y", "v2\n"), ("passwd", PASSWD)],
        end: |root| free(&root.join("etc/d")),
    },
    State {
        name: "an immutable /etc",
        make: |root| {
            // Written before, as by any program that adds a user.
            fs::write(root.join("etc/.pwd.lock"), "").unwrap();
            fix(&root.join("etc"));
        },
        named: &["/etc: "],
        etc: &[("hosts", "v1\n"), ("d/x", "v1\n"), ("passwd", ROOT)],
        end: |root| free(&root.join("etc")),
    },
    State {
        name: "an append-only /etc",
        make: |root| append_only(&root.join("etc")),
        named: &["/etc/hosts: ", "/etc/issue: ", "/etc/passwd: ", "/etc/group: "],
        etc: &[("hosts", "v1\n"), ("issue", "v1\n"), ("d/x", "v2\n"), ("e/y", "v2\n"), ("passwd", ROOT)],
        end: |root| free(&root.join("etc")),
    },
    State {
        name: "/etc/passwd as a link",
        make: |root| {
            fs::rename(root.join("etc/passwd"), root.join("passwd")).unwrap();
            symlink("../passwd", root.join("etc/passwd")).unwrap();
        },
        named: &["/etc/passwd: "],
        etc: &[("passwd", ROOT), ("hosts", "v2\n"), ("e/y", "v2\n")],
        end: |root| fs::rename(root.join("passwd"), root.join("etc/passwd")).unwrap(),
    },
    State {
        name: "a directory for passwd",
        make: |root| {
            fs::rename(root.join("etc/passwd"), root.join("passwd")).unwrap();
            fs::create_dir(root.join("etc/passwd")).unwrap();
            fs::write(root.join("etc/passwd/x"), "").unwrap();
        },
        named: &["/etc/passwd: "],
        etc: &[("hosts", "v2\n"), ("e/y", "v2\n")],
        end: |root| {
            fs::remove_dir_all(root.join("etc/passwd")).unwrap();
            fs::rename(root.join("passwd"), root.join("etc/passwd")).unwrap();
            let _beside = fs::remove_file(root.join("etc/passwd.hermetic-new"));
        },
    },
    State {
        name: "/var as a link",
        make: |root| {
            fs::create_dir(root.join("data")).unwrap();
            fs::rename(root.join("var"), root.join("data/var")).unwrap();
            symlink("/data/var", root.join("var")).unwrap();
        },
        named: &[],
        etc: FOLLOWED,
        end: |_| {},
    },
    State {
        name: "/var as a link that leads nowhere",
        make: |root| {
            fs::rename(root.join("var"), root.join("gone")).unwrap();
            symlink("/data/var", root.join("var")).unwrap();
        },
        named: &["/etc: "],
        etc: &[("hosts", "v1\n"), ("d/x", "v1\n"), ("passwd", ROOT)],
        end: |root| {
            fs::remove_file(root.join("var")).unwrap();
            fs::rename(root.join("gone"), root.join("var")).unwrap();
        },
    },
    State {
        name: "a file in place of our directory",
        make: |root| {
            fs::rename(root.join("var/lib/hermetic-init"), root.join("gone")).unwrap();
            fs::write(root.join("var/lib/hermetic-init"), "").unwrap();
        },
        named: &["/etc: "],
        etc: &[("hosts", "v1\n"), ("d/x", "v1\n"), ("passwd", ROOT)],
        end: |root| {
            fs::remove_file(root.join("var/lib/hermetic-init")).unwrap();
            fs::rename(root.join("gone"), root.join("var/lib/hermetic-init")).unwrap();
        },
    },
];

/// The lines of everything that does not follow.
pub fn named(report: &Report) -> Vec<String> {
    report.deviations.iter().map(ToString::to_string).collect()
}

/// The files of a root and their inodes: one that was replaced has another.
fn inodes(top: &Path, at: &Path, all: &mut BTreeMap<String, u64>) {
    for entry in fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        let stat = fs::symlink_metadata(&path).unwrap();
        all.insert(path.strip_prefix(top).unwrap().display().to_string(), stat.ino());
        if stat.is_dir() {
            inodes(top, &path, all);
        }
    }
}

/// All files of a root by their paths, with their inodes.
pub fn files(root: &Path) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    inodes(root, root, &mut all);
    all
}

/// Checks the content of files.
pub fn check(name: &str, etc: &Path, expected: &[(&str, &str)]) {
    for (file, content) in expected {
        let there = fs::read(etc.join(file)).map(|content| String::from_utf8_lossy(&content).into_owned());
        assert_eq!(there.ok().as_deref(), Some(*content), "{name}: {file}");
    }
}

#[test]
fn no_state_of_a_root_ends_a_boot() {
    let mut failed = Vec::new();
    for state in STATES {
        let machine = machine("states");
        let (root, etc) = (machine.root(), machine.etc());
        let probe = machine.usr("v1").join("probe");
        fs::write(&probe, "").unwrap();
        if !attributes(&probe, IFlags::empty()) {
            eprintln!("NOT TESTED: {}: no attributes on the file system of {}", state.name, root.display());
            assert!(std::env::var_os("HERMETIC_NO_SKIP").is_none_or(|no| no != "1"), "needs chattr(1)");
            continue;
        }
        (state.make)(&root);
        let done = std::panic::catch_unwind(|| {
            for boot in ["first", "again"] {
                let before = files(&root);
                let report = machine.follows("v2").unwrap();
                if state.named.is_empty() && boot == "again" {
                    assert!(report.is_none());
                    break;
                }
                let report = report.expect("it is tried again");
                let lines = named(&report);
                assert_eq!(lines.len(), state.named.len(), "{boot}: {lines:#?}");
                for (line, start) in lines.iter().zip(state.named) {
                    assert!(line.starts_with(start), "{boot}: {line}");
                }
                check(boot, &etc, state.etc);
                if boot == "again" {
                    assert_eq!(files(&root), before, "a boot without news wrote");
                }
            }
        });
        (state.end)(&root);
        let ended = std::panic::catch_unwind(|| {
            let report = machine.follows("v2").unwrap();
            assert_eq!(report.is_none(), state.named.is_empty());
            assert_eq!(report.map(|report| named(&report)).unwrap_or_default(), [""; 0]);
            check("in the end", &etc, FOLLOWED);
            assert!(machine.follows("v2").unwrap().is_none());
            assert!(!etc.join(".hermetic-init").exists());
        });
        if done.is_err() || ended.is_err() {
            failed.push((state.name, done.is_err(), ended.is_err()));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn a_long_name_against_a_directory_stays() {
    for length in [242, 243, 255] {
        let machine = machine("long");
        let name = "n".repeat(length);
        fs::write(machine.usr("v2").join("share/factory/etc").join(&name), "v2\n").unwrap();
        fs::create_dir(machine.etc().join(&name)).unwrap();
        fs::write(machine.etc().join(&name).join("mine"), "").unwrap();
        let report = machine.follows("v2").unwrap().unwrap();
        assert_eq!(report.deviations.len(), 1, "{:?}", named(&report));
        assert!(report.deviations[0].path == name.as_bytes());
        check("long", &machine.etc(), FOLLOWED);
        assert_eq!(machine.etc().join(format!("{name}.hermetic-new")).exists(), length == 242);
        assert!(machine.follows("v2").unwrap().is_none());
    }
}

#[test]
fn a_fifo_at_etc_pwd_lock_is_a_warning() {
    let machine = machine("fifo");
    let place = machine.etc().join(".pwd.lock");
    fs::remove_file(&place).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &place, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let (tell, told) = channel();
    // In a thread of its own, so that an open that waits for a reader is seen.
    thread::spawn(move || {
        let report = machine.follows("v2").unwrap().unwrap();
        check("fifo", &machine.etc(), FOLLOWED);
        // Nobody listens when the test has failed meanwhile.
        let _ = tell.send(report);
    });
    let report = told.recv_timeout(Duration::from_secs(60)).expect("waits for a reader");
    let warned = report.messages.iter().any(|(_, message)| message.contains("/etc/.pwd.lock"));
    assert!(warned && report.deviations.is_empty(), "{report:?}");
}

#[test]
fn a_stamp_that_cannot_go_is_a_warning() {
    let machine = machine("stamp");
    let stamp = machine.etc().join(".updated");
    fs::write(&stamp, "").unwrap();
    fix(&stamp);
    let report = machine.follows("v2");
    let again = machine.follows("v2");
    free(&stamp);
    let report = report.unwrap().unwrap();
    let warned = report.messages.iter().any(|(_, message)| message.contains("/etc/.updated"));
    assert!(warned && report.deviations.is_empty(), "{report:?}");
    assert!(again.unwrap().is_none());
    check("stamp", &machine.etc(), FOLLOWED);
}
