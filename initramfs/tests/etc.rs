//! `hermetic etc` on a root and two versions of its /usr: its report is true, and `follow` does what `status`
//! announced. The form of `diff` is that of `ostree admin config-diff` (ostree: src/ostree/ot-admin-builtin-diff.c):
//! letter, four blanks, path.

mod common;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output},
};

use common::Scratch;

fn etc(scratch: &Scratch, what: &str, usr: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hermetic"))
        .args(["etc", what])
        .args([scratch.host("root"), scratch.host(usr)])
        .output()
        .unwrap()
}

/// The messages about a change that it made.
fn told(scratch: &Scratch, what: &str, usr: &str) -> String {
    let output = etc(scratch, what, usr);
    assert!(output.status.success(), "{what} {usr}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn write(directory: &Path, files: &[(&str, &str)]) {
    for (name, content) in files {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

/// A root and two versions of /usr: `one`, `two`.
fn versions() -> Scratch {
    let scratch = Scratch::here("etc");
    fs::create_dir(scratch.host("root")).unwrap();
    for (version, files) in [
        ("one", [("changed", "1"), ("dropped", "1"), ("mode", "1"), ("pristine", "1"), ("removed", "1")]),
        ("two", [("changed", "2"), ("mode", "1"), ("new/x", "2"), ("pristine", "2"), ("removed", "1")]),
    ] {
        let usr = scratch.host(version);
        write(&usr.join("share/factory/etc"), &files);
        let os_release = format!("ID=test\nIMAGE_ID=test\nIMAGE_VERSION={version}\n");
        write(&usr.join("lib"), &[("os-release", &os_release), ("systemd/systemd", "")]);
    }
    scratch
}

fn edit(root: &Path) {
    write(&root.join("etc"), &[("changed", "mine"), ("own", "mine")]);
    fs::remove_file(root.join("etc/removed")).unwrap();
    fs::set_permissions(root.join("etc/mode"), fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn deviations_are_told_as_ostree_does() {
    let scratch = versions();
    assert_eq!(
        told(&scratch, "diff", "one").lines().map(|line| &line[..5]).collect::<Vec<_>>(),
        ["D    "; 5]
    );
    assert_eq!(told(&scratch, "follow", "one"), "follows image:test/one\n");
    assert_eq!(told(&scratch, "diff", "one"), "");
    edit(&scratch.host("root"));
    assert_eq!(told(&scratch, "diff", "one"), "M    changed\nM    mode\nD    removed\nA    own\n");
}

#[test]
fn what_is_said_ahead_is_what_is_done() {
    let scratch = versions();
    let nothing = "follows nothing that is known, this is image:test/one\n";
    assert!(told(&scratch, "status", "one").starts_with(nothing));
    told(&scratch, "follow", "one");
    assert_eq!(told(&scratch, "status", "one"), "follows this /usr, image:test/one\n");
    let root = scratch.host("root");
    edit(&root);
    assert_eq!(
        told(&scratch, "status", "two"),
        "follows image:test/one (track), this is image:test/two\n\
         would remove /etc/dropped\nwould add /etc/new\nwould add /etc/new/x\nwould update /etc/pristine\n\
         keeps /etc/changed: changed here and in the factory\nkeeps /etc/mode: changed here\n\
         leaves out /etc/removed: removed here\n"
    );
    assert_eq!(told(&scratch, "follow", "two"), "follows image:test/two\n");
    assert_eq!(told(&scratch, "follow", "two"), "follows image:test/two already\n");
    let read = |name: &str| fs::read_to_string(root.join("etc").join(name)).ok();
    let now = ["changed", "dropped", "new/x", "own", "pristine", "removed"].map(read);
    assert_eq!(
        now,
        [Some("mine"), None, Some("2"), Some("mine"), Some("2"), None].map(|text| text.map(str::to_owned))
    );
}

#[test]
fn what_cannot_be_done_is_said_in_one_line() {
    let scratch = versions();
    told(&scratch, "follow", "one");
    fs::remove_dir_all(scratch.host("root/run")).unwrap();
    fs::write(scratch.host("root/run"), "").unwrap();
    for (what, usr, reason) in
        [("diff", "none", "cannot open "), ("follow", "two", "/run of the root is not a directory")]
    {
        let output = etc(&scratch, what, usr);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && said.contains(reason) && said.lines().count() == 1,
            "{what}: {said}"
        );
    }
}

#[test]
fn a_line_that_is_none_is_a_warning() {
    let scratch = versions();
    told(&scratch, "follow", "one");
    fs::write(scratch.host("root/etc/passwd"), "no entry\n").unwrap();
    write(&scratch.host("two/share/factory/etc"), &[("passwd", "root:x:0:0::/:/bin/sh\n")]);
    write(&scratch.host("two/lib/sysusers.d"), &[("a.conf", "u a 401\n")]);
    let output = etc(&scratch, "follow", "two");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.contains("/etc/passwd:1: has no colon"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_eq!(
        fs::read_to_string(scratch.host("root/etc/passwd")).unwrap(),
        "no entry\nroot:x:0:0::/:/bin/sh\na:x:401:401::/:/usr/sbin/nologin\n"
    );
}
