//! /usr/lib/credstore, in which mkosi leaves the root password of an image (`RootPassword=`).

use std::{fs, os::unix::fs::symlink};

use hermetic_init::etc::Strategy;

use super::table::Machine;

const HASH: &str = "$y$j9T$salt$hash";

/// A machine whose /usr adds root by sysusers.d, and has a store with these files.
fn machine(files: &[(&str, &str)]) -> Machine {
    let machine = Machine::empty("store", Strategy::Track);
    let usr = machine.usr("v1");
    for directory in ["share/factory/etc", "lib/sysusers.d", "lib/credstore"] {
        fs::create_dir_all(usr.join(directory)).unwrap();
    }
    fs::write(usr.join("lib/sysusers.d/basic.conf"), "u root 0 \"Super User\" /root\n").unwrap();
    for (name, content) in files {
        fs::write(usr.join("lib/credstore").join(name), content).unwrap();
    }
    machine
}

fn line(machine: &Machine, database: &str) -> String {
    let text = fs::read_to_string(machine.etc().join(database)).unwrap();
    text.lines().find(|line| line.starts_with("root:")).unwrap().to_owned()
}

#[test]
fn root_gets_the_password_and_the_shell_that_the_image_brings() {
    let machine = machine(&[
        ("passwd.hashed-password.root", HASH),
        ("passwd.shell.root", "/usr/bin/fish"),
        ("sysusers.extra", "u extra 900\n"),
        ("no valid name\n", "x"),
    ]);
    symlink("/etc/shadow", machine.usr("v1").join("lib/credstore/passwd.hashed-password.extra")).unwrap();
    machine.populate("v1");
    assert!(line(&machine, "shadow").starts_with(&format!("root:{HASH}:")), "{}", line(&machine, "shadow"));
    assert!(line(&machine, "passwd").ends_with(":/usr/bin/fish"), "{}", line(&machine, "passwd"));
    let passwd = fs::read_to_string(machine.etc().join("passwd")).unwrap();
    assert!(passwd.contains("\nextra:x:900:"), "{passwd}");
}

#[test]
fn root_is_locked_without_a_store() {
    let machine = machine(&[]);
    fs::remove_dir(machine.usr("v1").join("lib/credstore")).unwrap();
    machine.populate("v1");
    assert!(line(&machine, "shadow").starts_with("root:!"), "{}", line(&machine, "shadow"));
}
