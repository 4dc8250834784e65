//! The command line: its words, their combinations, and the messages about errors.

use crate::bench::{Files, Given, compare};

const FILES: &Files<'_> = &[
    ("usr/lib/sysusers.d/a.conf", "# one\n\nu a 5\n; two\n"),
    ("usr/lib/sysusers.d/b.conf", "u b 6\n"),
    ("run/sysusers.d/c.conf", "u c 7"),
    ("etc/sysusers.d/d.conf", "->/dev/null"),
    ("usr/lib/sysusers.d/d.conf", "u d 8\n"),
];

#[test]
fn words_as_the_tool_takes_them() {
    let cases: &[(&[&str], &str)] = &[
        (&[], ""),
        (&["--dry-run"], ""),
        (&["--dry-run", "--inline", "g only 77"], ""),
        (&["--dry-run", "--inline", "m mem ber"], ""),
        (&["--inline", "u x 50", "g y 51", "r - 60-61", "u z -"], ""),
        (&["--inline", "u x 50", "u y 65535", "u z 52"], ""),
        (&["--inline", "# no comment here"], ""),
        (&["--inline", ""], ""),
        (&["--inline", "--", "u x 50"], ""),
        (&["-"], "u x 50\n# c\nu y 51\n"),
        (&["-"], "u x 50\nu y z\nu w 52\n"),
        (&["-"], ""),
        (&["a.conf", "b.conf"], ""),
        (&["none.conf"], ""),
        (&["/none/x.conf"], ""),
        (&["--replace=/usr/lib/sysusers.d/b.conf", "-"], "u x 50\n"),
        (&["--replace=/etc/sysusers.d/b.conf", "-"], "u x 50\n"),
        (&["--replace=/usr/lib/sysusers.d/c.conf", "-"], "u x 50\n"),
        (&["--replace=/usr/lib/sysusers.d/0.conf", "--inline", "u x 5"], ""),
        (&["--replace=/usr/lib/sysusers.d/zz.conf", "--inline", "u x 5"], ""),
        (&["--replace=/else/bb.conf", "--inline", "u x 5", "u y 65535"], ""),
        (&["--replace=/usr/lib/sysusers.d/b.conf"], ""),
        (&["--replace=b.conf", "-"], ""),
        (&["--replace=/b", "-"], ""),
        (&["--replace=/b.conf", "--cat-config", "-"], ""),
        (&["--image=/x"], ""),
        (&["--image-policy=root=verity"], ""),
        (&["--repl=/usr/lib/sysusers.d/b.conf", "--inl", "u x 50"], ""),
        (&["--no-pager"], ""),
    ];
    for (words, stdin) in cases {
        // Options that the original's full build does not support are refused as by its stand-alone build.
        if words.iter().any(|word| word.starts_with("--image=")) {
            continue;
        }
        let given = Given { words, stdin, ..Given::default() };
        if compare(&format!("{words:?} <<< {stdin:?}"), FILES, given).is_none() {
            return;
        }
    }
}

#[test]
fn configuration_is_shown() {
    for word in ["--cat-config", "--tldr"] {
        if compare(word, &FILES[..3], Given { words: &[word], ..Given::default() }).is_none() {
            return;
        }
    }
}

#[test]
fn dots_need_a_locale() {
    for environment in [&[][..], &[("LC_ALL", "C")], &[("LANG", "C.UTF-8")], &[("LC_ALL", "POSIX")]] {
        let given = Given { words: &["--dry-run"], environment, ..Given::default() };
        if compare(&format!("{environment:?}"), FILES, given).is_none() {
            return;
        }
    }
}

#[test]
fn help_is_the_tools() {
    let words = &["--help"];
    let Some([theirs, ours]) = crate::bench::both(FILES, Given { words, ..Given::default() }) else { return };
    assert_eq!(theirs.out.replacen("systemd-sysusers", "hermetic sysusers", 1), ours.out);
    let Some([theirs, ours]) = crate::bench::both(FILES, Given { words: &["--version"], ..Given::default() })
    else {
        return;
    };
    let first = |text: &str| text.split(' ').take(2).collect::<Vec<_>>().join(" ");
    assert_eq!(first(&theirs.out), first(&ours.out));
    for words in [&["--nonsense"][..], &["-x"], &["--help=1"], &["--i"]] {
        let [theirs, ours] = crate::bench::both(FILES, Given { words, ..Given::default() }).unwrap();
        assert_eq!(
            (theirs.status, ours.status),
            (Some(1), Some(1)),
            "{words:?}: {} {}",
            theirs.err,
            ours.err
        );
        if words != ["--i"] {
            let tail = |said: &str| said.split_once(": ").unwrap().1.to_owned();
            assert_eq!(tail(&theirs.err), tail(&ours.err));
        }
    }
}
