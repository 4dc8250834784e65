//! A root that is furnished whole: /etc, links, users, stamps, machine id and manifest. The power is cut before every change of an
//! update of all of it.

use std::{
    fs::{self, DirBuilder},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::Path,
};

use hermetic_init::{etc::Strategy, tree::watch::Unwatched};

use super::{cuts::Power, table::Machine, tree};

fn write(top: &Path, files: &[(&str, &str)]) {
    for (name, content) in files {
        let path = top.join(name);
        DirBuilder::new().recursive(true).mode(0o755).create(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    }
}

/// A root that version 1 populated and systemd updated, and that has lost its machine id since.
fn machine(strategy: Strategy) -> Machine {
    let machine = Machine::empty("furnished", strategy);
    for (version, other) in [("v1", "old:x:70"), ("v2", "new:x:71")] {
        let usr = machine.usr(version);
        let passwd = format!("root:x:0:0::/root:/bin/sh\n{other}:70::/:/bin/sh\n");
        write(
            &usr,
            &[
                ("share/factory/etc/conf", version),
                ("share/factory/etc/passwd", &passwd),
                (&format!("share/factory/etc/only-{version}/x"), version),
                ("share/factory/copied/a", version),
                ("share/factory/copied/b/c", version),
                ("lib/sysusers.d/a.conf", &format!("u always 401\nu user-{version} -\nm always users\n")),
                (
                    "lib/tmpfiles.d/a.conf",
                    &format!(
                        "L /etc/link-{version} - - - - ../usr/share/factory/etc/conf\n\
                         C /etc/file-{version} - - - - /usr/share/factory/etc/conf\n\
                         C /etc/tree-{version} - - - - /usr/share/factory/copied\n\
                         L+ /etc/moved - - - - {version}\n"
                    ),
                ),
            ],
        );
    }
    machine.populate("v1");
    for file in ["etc/machine-id", "var/lib/hermetic-init/machine-id"] {
        fs::remove_file(machine.root().join(file)).unwrap();
    }
    write(&machine.root(), &[("etc/.updated", ""), ("var/.updated", "")]);
    machine
}

/// Cuts an update at its `cut`th change; None when it has fewer changes.
fn cut(strategy: Strategy, cut: usize) -> Option<Machine> {
    let machine = machine(strategy);
    let power = Power::new(&machine, cut);
    machine.boot("v2", &power).is_err().then(|| power.lose()).map(|()| machine)
}

#[test]
fn every_cut_of_a_whole_update_is_survived() {
    for strategy in [Strategy::Track, Strategy::Symlink] {
        let uncut = machine(strategy);
        let before = tree::whole(&uncut.root());
        uncut.boot("v2", &Unwatched).unwrap().unwrap();
        let expected = tree::whole(&uncut.root());
        let named = |name: &str| assert!(expected.contains_key(name), "{name} is not in {expected:#?}");
        named("etc/passwd-");
        named("etc/machine-id");
        match strategy {
            Strategy::Symlink => ["etc/link-v2", "etc/file-v2", "etc/tree-v2/b/c"].map(named),
            _ => ["etc/conf", "etc/only-v2/x", "var/lib/hermetic-init/machine-id"].map(named),
        };
        let (mut cuts, mut lost) = (0, 0);
        while let Some(machine) = cut(strategy, cuts) {
            machine.boot("v2", &Unwatched).unwrap();
            let mut there = tree::whole(&machine.root());
            // A group whose line the power kept from gshadow does without.
            if there.get("etc/gshadow") == before.get("etc/gshadow") {
                lost += 1;
                assert!(there.remove("etc/.#gshadow.hermetic").is_some());
                there.insert("etc/gshadow".to_owned(), expected["etc/gshadow"].clone());
            }
            // The one that came before the cut is the old one by then.
            if there.get("etc/shadow-") == expected.get("etc/shadow") {
                there.insert("etc/shadow-".to_owned(), expected["etc/shadow-"].clone());
            }
            for path in there.keys().chain(expected.keys()) {
                assert_eq!(there.get(path), expected.get(path), "{strategy:?}, cut {cuts}: {path}");
            }

            // Back, and forward again: what was merged or added stays, and so may the names of users.
            let machine = cut(strategy, cuts).unwrap();
            machine.boot("v1", &Unwatched).unwrap();
            machine.boot("v2", &Unwatched).unwrap();
            let there = tree::whole(&machine.etc());
            for (path, entry) in &expected {
                let Some(path) =
                    path.strip_prefix("etc/").filter(|path| *path != "gshadow" && !path.ends_with('-'))
                else {
                    continue;
                };
                assert_eq!(there.get(path), Some(entry), "{strategy:?}, cut {cuts}, back and on: {path}");
            }
            cuts += 1;
        }
        println!("{strategy:?}: {cuts} power cuts, each survived on and back");
        assert!(cuts > 30, "{cuts}");
        assert_eq!(lost, 1);
    }
}
