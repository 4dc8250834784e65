//! A directory follows its extended attributes one by one: a power cut between any two of them is survived.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use hermetic_init::{etc::Strategy, tree::watch::Unwatched};
use rustix::fs::{XattrFlags, getxattr, listxattr, setxattr};

use super::{cuts::Power, states::named, table::Machine};

/// The attributes of the directory in two versions.
const VERSIONS: [(&str, &[(&str, &str)]); 2] = [
    ("v1", &[("trusted.a", "1"), ("trusted.b", "1"), ("trusted.c", "1")]),
    ("v2", &[("trusted.b", "2"), ("trusted.c", "2"), ("trusted.d", "2")]),
];

fn attributes(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0; 4096];
    let length = listxattr(path, &mut names).unwrap();
    let names = String::from_utf8(names[..length].to_vec()).unwrap();
    let value = |name: &str| {
        let mut value = vec![0; 64];
        let length = getxattr(path, name, &mut value).unwrap();
        value[..length].to_vec()
    };
    let names = names.split_terminator('\0').filter(|name| name.starts_with("trusted."));
    names.map(|name| (name.to_owned(), value(name))).collect()
}

fn directory(machine: &Machine, version: &str) -> PathBuf {
    machine.usr(version).join("share/factory/etc/d")
}

/// Cuts an update at its `cut`th change; None when it has fewer changes.
fn cut(cut: usize) -> Option<Machine> {
    let machine = Machine::empty("attributes", Strategy::Track);
    for (version, attributes) in VERSIONS {
        let directory = directory(&machine, version);
        fs::create_dir_all(&directory).unwrap();
        for (name, value) in attributes {
            setxattr(&directory, *name, value.as_bytes(), XattrFlags::empty()).unwrap();
        }
    }
    machine.populate("v1");
    let power = Power::new(&machine, cut);
    machine.boot("v2", &power).is_err().then(|| power.lose()).map(|()| machine)
}

#[test]
fn a_cut_between_two_attributes_is_survived() {
    let mut cuts = 0;
    while cut(cuts).is_some() {
        for version in ["v1", "v2"] {
            let machine = cut(cuts).unwrap();
            let report = machine.boot(version, &Unwatched).unwrap();
            assert_eq!(
                report.map(|report| named(&report)).unwrap_or_default(),
                [""; 0],
                "cut {cuts}, {version}"
            );
            let expected = attributes(&directory(&machine, version));
            assert_eq!(attributes(&machine.etc().join("d")), expected, "cut {cuts}, {version}");
        }
        cuts += 1;
    }
    assert!(cuts > 10, "{cuts}");
}
