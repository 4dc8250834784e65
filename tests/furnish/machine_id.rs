//! /etc/machine-id as a link: who keeps the id elsewhere looks after it, and no boot ends.

use std::{
    fs,
    os::{fd::AsFd, unix::fs::symlink},
    path::Path,
};

use hermetic_init::{
    etc::{Strategy, machine_id, store},
    tree::open,
};

use super::table::Machine;

const ID: &str = "0123456789abcdef0123456789abcdef\n";

/// A machine with two versions of nearly nothing.
fn machine() -> Machine {
    let machine = Machine::empty("id", Strategy::Track);
    for version in ["v1", "v2"] {
        fs::create_dir_all(machine.usr(version).join("share/factory/etc")).unwrap();
        fs::write(machine.usr(version).join("share/factory/etc/hosts"), version).unwrap();
    }
    machine.populate("v1");
    machine
}

#[test]
fn a_machine_id_that_is_a_link_is_read_inside_the_root() {
    let outside = std::env::temp_dir().join(format!("hermetic-id-{}", std::process::id()));
    fs::write(&outside, ID).unwrap();
    for (target, there, valid) in [
        ("/var/lib/dbus/machine-id", Some(ID), true),
        ("../var/lib/dbus/machine-id", Some(ID), true),
        ("../../../../var/lib/dbus/machine-id", Some(ID), true),
        ("/var/lib/dbus/machine-id", None, false),
        ("/var/lib/dbus/machine-id", Some("no id\n"), false),
        (outside.to_str().unwrap(), None, false),
        ("machine-id", None, false),
        ("/var", None, false),
    ] {
        let machine = machine();
        fs::remove_file(machine.etc().join("machine-id")).unwrap();
        symlink(target, machine.etc().join("machine-id")).unwrap();
        fs::create_dir_all(machine.root().join("var/lib/dbus")).unwrap();
        if let Some(id) = there {
            fs::write(machine.root().join("var/lib/dbus/machine-id"), id).unwrap();
        }
        let root = open::root(&machine.root()).unwrap();
        let state = machine_id::state(root.as_fd()).unwrap();
        assert_eq!(matches!(state, machine_id::State::Valid(_)), valid, "{target}: {state:?}");
        let report = machine.follows("v2").unwrap().unwrap();
        assert_eq!(report.deviations, [], "{target}");
        assert_eq!(fs::read_link(machine.etc().join("machine-id")).unwrap(), Path::new(target));
        assert!(machine.follows("v2").unwrap().is_none());
        assert_eq!(store::followed(root.as_fd()).unwrap().unwrap().usr, "image:test/v2");
    }
    fs::remove_file(outside).unwrap();
}
