//! The traps that users could set, and the files that must not be reached through them. Each attack is first shown to
//! work where the tool is weaker than we are, or to be refused by both.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, lchown, symlink},
    path::Path,
    process::{Command, Output},
};

use crate::{
    bench::{Round, compare},
    common::Scratch,
};

fn ours(root: &Path, lines: &str, words: &[&str]) -> Output {
    let file = root.join("lines.conf");
    fs::write(&file, lines).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_hermetic"));
    command.arg("tmpfiles").args(words).arg(format!("--root={}", root.display())).arg(file).output().unwrap()
}

/// A home of user 1000 with links to files of others.
fn lay_home(root: &Path) {
    for directory in ["etc", "home/user/own", "srv"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    fs::write(root.join("etc/secret"), "secret").unwrap();
    symlink("../../etc", root.join("home/user/link")).unwrap();
    symlink("../../etc/secret", root.join("home/user/secret")).unwrap();
    for path in ["home/user", "home/user/own"] {
        chown(root.join(path), Some(1000), Some(1000)).unwrap();
    }
    for path in ["home/user/link", "home/user/secret"] {
        lchown(root.join(path), Some(1000), Some(1000)).unwrap();
    }
}

#[test]
fn a_users_link_leads_nowhere() {
    let lines = [
        "f /home/user/link/evil 0666 - - - x",
        "d /home/user/link/evil 0777",
        "L /home/user/link/evil - - - - /x",
        "p /home/user/link/evil 0666",
        "C /home/user/link/evil - - - - /etc/secret",
        "z /home/user/link/secret 0666",
        "a /home/user/link/secret - - - - u:1000:rw",
        "t /home/user/link/secret - - - - user.a=b",
        "e /home/user/link 0777 1000",
    ];
    let rounds: Vec<Round> = lines
        .iter()
        .map(|line| Round { name: (*line).to_owned(), lines: Some(format!("{line}\n")), words: "--create" })
        .collect();
    let Some(pairs) = compare(&rounds, &lay_home) else { return };
    for ([_, ours], line) in pairs.iter().zip(lines) {
        assert_eq!(ours.status, "73\n", "{line}: {}", ours.said);
        assert!(ours.said.contains("unsafe path transition"), "{line}: {}", ours.said);
        assert!(!ours.tree.keys().any(|path| path.starts_with("/etc/evil")), "{line}");
    }
}

#[test]
fn parents_are_not_made_through_a_users_link() {
    let scratch = Scratch::here("safety");
    let root = scratch.host("root");
    lay_home(&root);
    let output = ours(&root, "d /home/user/link/new/evil\n", &["--create"]);
    assert_eq!(output.status.code(), Some(73));
    assert!(!root.join("etc/new").exists());
}

/// The tool follows the last link of `w` without a look at its owner.
#[test]
fn nothing_is_written_through_a_users_link() {
    let scratch = Scratch::here("safety");
    let root = scratch.host("root");
    lay_home(&root);
    let output = ours(&root, "w /home/user/secret - - - - evil\n", &["--create"]);
    assert_eq!(output.status.code(), Some(73));
    assert_eq!(fs::read_to_string(root.join("etc/secret")).unwrap(), "secret");
}

#[test]
fn nothing_leaves_the_root() {
    let scratch = Scratch::here("safety");
    let (root, outside) = (scratch.host("root"), scratch.host("outside"));
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::create_dir_all(outside.join("sub")).unwrap();
    let inside = root.join(outside.strip_prefix("/").unwrap());
    fs::create_dir_all(&inside).unwrap();
    fs::write(outside.join("file"), "untouched").unwrap();
    symlink(&outside, root.join("out")).unwrap();
    symlink(outside.join("file"), root.join("file")).unwrap();
    symlink("../outside", root.join("up")).unwrap();
    let lines = "d /out/new/deep\nf /out/file2 0666 - - - x\nw /file - - - - evil\nz /out/* 0777 1000\nZ /out 0777\nR /out/*\nr /up/file\n\
                 z /up/file 0777\nC /copied - - - - /file\nL+ /out/file - - - - x\nd= /up/sub/x\n";
    ours(&root, lines, &["--create", "--remove"]);
    assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "untouched");
    let stat = fs::metadata(outside.join("file")).unwrap();
    assert_eq!((stat.mode() & 0o7777, stat.uid()), (0o644, 0));
    let mut names: Vec<_> = fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["file", "sub"]);
    assert_eq!(fs::read_dir(outside.join("sub")).unwrap().count(), 0);
    // The targets of the links are inside.
    assert!(inside.join("new/deep").is_dir());
}

/// With `fs.protected_hardlinks` off, for us alone: a file is mounted over the setting.
#[test]
fn a_users_second_name_for_a_file_is_no_way_to_it() {
    let scratch = Scratch::here("safety");
    let root = scratch.host("root");
    lay_home(&root);
    fs::hard_link(root.join("etc/secret"), root.join("home/user/own/mine")).unwrap();
    fs::set_permissions(root.join("etc/secret"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(scratch.host("setting"), "0\n").unwrap();
    fs::write(
        scratch.host("lines"),
        "z /etc/secret 0644 1000\na /etc/secret - - - - u:1000:rw\nf /etc/secret 0644 1000\n",
    )
    .unwrap();
    let script = r#"mount --bind "$1" /proc/sys/fs/protected_hardlinks && exec "$2" tmpfiles --create --root="$3" "$4""#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(scratch.host("setting"));
    let output =
        command.arg(env!("CARGO_BIN_EXE_hermetic")).arg(&root).arg(scratch.host("lines")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(73), "{said}");
    assert_eq!(said.matches("while the fs.protected_hardlinks sysctl is turned off").count(), 3, "{said}");
    let stat = fs::metadata(root.join("etc/secret")).unwrap();
    assert_eq!((stat.mode() & 0o7777, stat.uid()), (0o600, 0));
    // The premise: without the setting the lines are carried out.
    assert!(ours(&root, "z /etc/secret 0644 1000\n", &["--create"]).status.success() == protects_hardlinks());
}

fn protects_hardlinks() -> bool {
    fs::read_to_string("/proc/sys/fs/protected_hardlinks").unwrap().trim() == "1"
}
