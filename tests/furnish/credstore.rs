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
    ]);
    machine.populate("v1");
    assert!(line(&machine, "shadow").starts_with(&format!("root:{HASH}:")), "{}", line(&machine, "shadow"));
    assert!(line(&machine, "passwd").ends_with(":/usr/bin/fish"), "{}", line(&machine, "passwd"));
    let passwd = fs::read_to_string(machine.etc().join("passwd")).unwrap();
    assert!(passwd.contains("\nextra:x:900:"), "{passwd}");
}

/// Encrypted ones are named and left to the real system, also where one of that name is in clear.
#[test]
fn encrypted_ones_are_left() {
    let machine = machine(&[("passwd.hashed-password.root", HASH)]);
    let store = machine.usr("v1").join("lib/credstore.encrypted");
    fs::create_dir(&store).unwrap();
    fs::write(store.join("passwd.shell.root"), "/bin/encrypted").unwrap();
    fs::write(store.join("\u{1b}x"), "encrypted").unwrap();
    let messages = machine.tells("v1");
    let expected = "/usr/lib/credstore.encrypted: left to the real system: \\u{1b}x, passwd.shell.root";
    assert_eq!(messages, [expected]);
    assert!(line(&machine, "passwd").ends_with(":/bin/sh"), "{}", line(&machine, "passwd"));
}

#[test]
fn root_is_locked_without_a_store() {
    let machine = machine(&[]);
    fs::remove_dir(machine.usr("v1").join("lib/credstore")).unwrap();
    machine.populate("v1");
    assert!(line(&machine, "shadow").starts_with("root:!"), "{}", line(&machine, "shadow"));
}

/// A file that is no credential is named in the log, without its content, and keeps nobody from getting the others.
#[test]
fn files_that_are_no_credentials_are_named() {
    let machine = machine(&[]);
    machine.populate("v1");
    let (usr, store) = (machine.usr("v2"), machine.usr("v2").join("lib/credstore"));
    for directory in [usr.join("share/factory/etc"), usr.join("lib/sysusers.d"), store.join("directory")] {
        fs::create_dir_all(directory).unwrap();
    }
    fs::write(usr.join("lib/sysusers.d/more.conf"), "u more 901\n").unwrap();
    fs::write(store.join("passwd.shell.more"), "/usr/bin/fish").unwrap();
    fs::write(store.join("no valid name\n"), "secret").unwrap();
    symlink("/etc/shadow", store.join("passwd.hashed-password.more")).unwrap();
    let report = machine.follows("v2").unwrap().unwrap();
    let messages: Vec<&str> = report.messages.iter().map(|(_, message)| message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "/usr/lib/credstore: 'directory' is passed over: not a regular file",
            "/usr/lib/credstore: 'passwd.hashed-password.more' is passed over: Too many levels of symbolic links (os error 40)",
            "a credential's name is not valid: 'no valid name' is passed over",
        ]
    );
    let passwd = fs::read_to_string(machine.etc().join("passwd")).unwrap();
    assert!(
        passwd.lines().any(|line| line.starts_with("more:x:901:") && line.ends_with(":/usr/bin/fish")),
        "{passwd}"
    );
}
