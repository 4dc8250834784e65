//! The command line: its words, their combinations, and the messages.

use std::{fs, path::Path};

use crate::bench::{Round, compare};

fn lay(root: &Path) {
    for (path, content) in [
        ("usr/lib/tmpfiles.d/a.conf", "# one\n\nd /a 0700\n; two\n"),
        ("usr/lib/tmpfiles.d/b.conf", "d /b\nf! /b/boot\n"),
        ("run/tmpfiles.d/b.conf", "d /hidden-b\nd /b\n"),
        ("etc/tmpfiles.d/c.conf", ""),
        ("usr/lib/tmpfiles.d/c.conf", "d /hidden-c\n"),
        ("usr/lib/tmpfiles.d/d.conf", "d /a 0755\nr /gone\nx\n"),
        ("gone", "x"),
    ] {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

fn said_alike(cases: &[(&'static str, Option<&str>)]) {
    let rounds: Vec<Round> = cases
        .iter()
        .map(|(words, lines)| Round {
            name: format!("{words} <<< {lines:?}"),
            lines: lines.map(str::to_owned),
            words,
        })
        .collect();
    let Some(pairs) = compare(&rounds, &lay) else { return };
    for ([theirs, ours], (words, _)) in pairs.iter().zip(cases) {
        assert_eq!(theirs.said, ours.said, "{words}: left the tool, right us");
    }
}

#[test]
fn words_as_the_tool_takes_them() {
    said_alike(&[
        ("", None),
        ("--cat-config", None),
        ("--tldr", None),
        ("--create", None),
        ("--create --boot", None),
        ("--create --remove", None),
        ("--remove --prefix=/none", None),
        ("--create a.conf", None),
        ("--create none.conf", None),
        ("--create /none/x.conf", None),
        ("--create", Some("d /only\n")),
        ("--create", Some("f^ /x\nd /not-made\n")),
        ("--create --replace=/usr/lib/tmpfiles.d/b.conf", Some("d /instead\n")),
        ("--create --replace=/run/tmpfiles.d/b.conf", Some("d /instead\n")),
        ("--create --replace=/usr/lib/tmpfiles.d/zz.conf", Some("d /a 0711\n")),
        ("--create --replace=/etc/tmpfiles.d/0.conf", Some("d /a 0711\n")),
        ("--create --replace=/usr/lib/tmpfiles.d/b.conf", None),
        ("--create --replace=b.conf", Some("")),
        ("--create --replace=/b", Some("")),
        ("--cat-config --replace=/b.conf", Some("")),
        ("--purge", None),
        ("--create --user", Some("d /x\n")),
        ("--create --exclude-prefix=/b", None),
        ("--create --prefix=/b --exclude-prefix=/b/boot --boot", None),
        ("--create --prefix=/a --prefix=/b --exclude-prefix=/a/none", Some("d /a/x\nd /b/x\nd /c/x\n")),
        ("--create", Some("d /x - nobody-here\nd /y - - nobody-here\n")),
        ("--create --graceful", Some("d /x - nobody-here\nd /y - - nobody-here\nd /z\n")),
        ("--create --graceful", Some("nonsense\nd /z\n")),
        ("--cre --no-pager", Some("d /x\n")),
    ]);
}

#[test]
fn a_dry_run_says_what_would_be_done() {
    said_alike(&[
        (
            "--create --dry-run",
            Some(
                "f /x\nf+ /x/y\nd /gone\nv /v\nL /l - - - - t\np /p\nc /c - - - - 1:3\nC /copy - - - - /gone\n",
            ),
        ),
        (
            "--create --dry-run",
            Some(
                "z /gone 0600 1 1\nw /gone - - - - text\nt /gone - - - - user.a=b\nZ /run/tmpfiles.d 0711\n",
            ),
        ),
        ("--remove --dry-run", Some("r /gone\n")),
    ]);
}
