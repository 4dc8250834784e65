//! One root for every feature, for every way to be wrong, and for facts that the lines alone do not decide.

use crate::bench::{Files, Given, both, compare};

/// One root a case. The expected result is the tool's.
const CASES: &[(&str, &Files<'static>)] = &[
    ("no definitions", &[]),
    ("empty file", &[("usr/lib/sysusers.d/a.conf", "")]),
    ("comments", &[("usr/lib/sysusers.d/a.conf", "# c\n\n   # d\n; e\nu a -\n")]),
    ("no newline at the end", &[("usr/lib/sysusers.d/a.conf", "u a -")]),
    ("carriage returns", &[("usr/lib/sysusers.d/a.conf", "u a - x\r\nu b -\r\n\r\n")]),
    ("user", &[("usr/lib/sysusers.d/a.conf", "u a\n")]),
    ("user with everything", &[("usr/lib/sysusers.d/a.conf", "u a 5 \"G e c\" /home/a /bin/bash\n")]),
    ("locked user", &[("usr/lib/sysusers.d/a.conf", "u! a 5\nu b 6\n")]),
    (
        "locked where it is not allowed",
        &[("usr/lib/sysusers.d/a.conf", "g! a 5\nm! b c\nr! - 5\nu!! d -\nu? e\n")],
    ),
    ("group", &[("usr/lib/sysusers.d/a.conf", "g a\ng b 5\ng c -\n")]),
    (
        "group with too much",
        &[("usr/lib/sysusers.d/a.conf", "g a 5 x\ng b 6 - /h\ng c 7 - - /s\ng d 8 - - -\n")],
    ),
    ("members", &[("usr/lib/sysusers.d/a.conf", "m a g\nm b g\nm a g\nm a h\nu c -\nm c c\n")]),
    ("members in the wrong", &[("usr/lib/sysusers.d/a.conf", "m a\nm - g\nm a 5\nm a g x\nm a -\n")]),
    (
        "members of an existing group",
        &[
            ("usr/lib/sysusers.d/a.conf", "m z g\nm a g\nm b h\n"),
            ("etc/group", "g:x:5:y,b\nh:x:6:b,a\ni:x:7:\n"),
            ("etc/gshadow", "g:secret:adm:y\nh:!::\n"),
        ],
    ),
    (
        "members that are there already",
        &[
            ("usr/lib/sysusers.d/a.conf", "m z g\n"),
            ("etc/passwd", "z:x:5:5::/:/bin/sh\n"),
            ("etc/group", "g:x:5:z,b\n"),
        ],
    ),
    ("range", &[("usr/lib/sysusers.d/a.conf", "r - 500-501\nr - 100\nu a -\nu b -\nu c -\nu d -\n")]),
    (
        "ranges in the wrong",
        &[(
            "usr/lib/sysusers.d/a.conf",
            "r a 5\nr -\nr - -\nr - 5-\nr - x\nr - 9-5\nr - 5 x\nr - 1-4294967294\n",
        )],
    ),
    (
        "ranges that touch",
        &[(
            "usr/lib/sysusers.d/a.conf",
            "r - 10-11\nr - 12-13\nr - 11-12\nu a -\nu b -\nu c -\nu d -\nu e -\n",
        )],
    ),
    ("range down to zero", &[("usr/lib/sysusers.d/a.conf", "r - 0-1\nu a -\nu b -\nu c -\n")]),
    ("explicit group id", &[("usr/lib/sysusers.d/a.conf", "g g 60\nu a 5:60\nu b 6:61\nu c -:60\n")]),
    ("explicit group name", &[("usr/lib/sysusers.d/a.conf", "g g 60\nu a 5:g\nu b -:g\nu c 7:none\n")]),
    ("group of another user", &[("usr/lib/sysusers.d/a.conf", "u a 5\nu b 6:a\nu c 7:d\nu d 8\n")]),
    (
        "group that exists",
        &[("usr/lib/sysusers.d/a.conf", "u a 5:g\nu b 6:60\n"), ("etc/group", "g:x:60:\n")],
    ),
    (
        "group named as the user exists",
        &[("usr/lib/sysusers.d/a.conf", "u a 5:60\nu b 6\n"), ("etc/group", "a:x:61:\nb:x:62:\n")],
    ),
    (
        "ids in the wrong",
        &[(
            "usr/lib/sysusers.d/a.conf",
            "u a 65535\nu b 4294967295\nu c 05\nu d +5\nu e 5:\nu f :5\nu g 5:6:7\nu h x\nu i 5:-x\n",
        )],
    ),
    ("large ids", &[("usr/lib/sysusers.d/a.conf", "u a 60000\nu b 4294967294\ng c 70000\n")]),
    (
        "id taken by a user",
        &[("usr/lib/sysusers.d/a.conf", "u a 5\nu b 5\n"), ("etc/passwd", "x:x:5:5::/:/x\n")],
    ),
    ("id taken by a group", &[("usr/lib/sysusers.d/a.conf", "g x 5\nu a 5\n")]),
    (
        "id taken at the top",
        &[
            ("usr/lib/sysusers.d/a.conf", "u a -\n"),
            ("etc/passwd", "x:x:999:5::/:/x\n"),
            ("etc/group", "y:x:998:\n"),
        ],
    ),
    ("user exists", &[("usr/lib/sysusers.d/a.conf", "u a 7 x /y\n"), ("etc/passwd", "a:x:5:5::/:/x\n")]),
    (
        "user exists, group too",
        &[
            ("usr/lib/sysusers.d/a.conf", "u a 7\n"),
            ("etc/passwd", "a:x:5:5::/:/x\n"),
            ("etc/group", "a:x:5:\n"),
        ],
    ),
    ("group has the user's name", &[("usr/lib/sysusers.d/a.conf", "g a 50\nu a -\ng b 51\nu b 52\n")]),
    (
        "owner",
        &[("usr/lib/sysusers.d/a.conf", "u a /f\ng b /f\nu c //x/../f/\ng d /none\n"), ("f", "@600:700")],
    ),
    ("owner outside of the pool", &[("usr/lib/sysusers.d/a.conf", "u a /f\ng b /f\n"), ("f", "@1600:0")]),
    (
        "owner through links",
        &[("usr/lib/sysusers.d/a.conf", "u a /l/f\n"), ("l", "->d/../d"), ("d/f", "@600:600")],
    ),
    ("owner through a loop", &[("usr/lib/sysusers.d/a.conf", "u a /l\n"), ("l", "->/l")]),
    (
        "quotes",
        &[(
            "usr/lib/sysusers.d/a.conf",
            "u 'a' '-' 'it is' \"/h a\"\nu \"b\" - 'a\\'b'\nu c - \"q\\\"q\"\nu d - x\\ y\nu e - ''\nu f - 'open\n",
        )],
    ),
    ("escapes", &[("usr/lib/sysusers.d/a.conf", "u a\\x41 - \"x\\ty\"\nu b - a\\\\b\nu c - x\\\n")]),
    ("too many words", &[("usr/lib/sysusers.d/a.conf", "u a - - - - x\nu b - - - - \n")]),
    ("too few words", &[("usr/lib/sysusers.d/a.conf", "u\n\"\"\n\"\" a\nu \"\"\nu -\nx y\n")]),
    (
        "names in the wrong",
        &[(
            "usr/lib/sysusers.d/a.conf",
            "u 5\nu -a\nu a.b\nu ä\nu abcdefghijklmnopqrstuvwxyz012345\nu abcdefghijklmnopqrstuvwxyz01234\nu _\nu A\n",
        )],
    ),
    (
        "texts in the wrong",
        &[(
            "usr/lib/sysusers.d/a.conf",
            "u a - a:b\nu b - ü\nu c - - h\nu d - - /a/../b\nu e - - /a:b\nu f - - /a sh\nu g - - /./a// /bin//sh/\nu h - \"a\tb\"\n",
        )],
    ),
    (
        "specifiers",
        &[(
            "usr/lib/sysusers.d/a.conf",
            "u a - \"%a %b %H %l %v\"\nu b - \"%T %V %%\"\nu c - \"%q\"\nu d%%\nu e - %.\nu f - x% /%a\n",
        )],
    ),
    (
        "specifiers of the root",
        &[
            ("usr/lib/sysusers.d/a.conf", "u a - \"%m\"\nu b - \"%o %w %W %A %B %M\"\nu c%w -\n"),
            ("etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
            ("usr/lib/os-release", "ID=debian\nVERSION_ID=\"13\"\nBUILD_ID='b 1'\n"),
        ],
    ),
    (
        "specifiers without a value",
        &[("usr/lib/sysusers.d/a.conf", "u a - %m\nu b - %o\nu c - %z\nu d - %\nu e - %Z /x\n")],
    ),
    ("root", &[("usr/lib/sysusers.d/a.conf", "u root 0 - /root\n")]),
    (
        "root with bash",
        &[("usr/lib/sysusers.d/a.conf", "u root 0 - /root\n"), ("bin", "->usr/bin"), ("usr/bin/bash", "")],
    ),
    ("toor", &[("usr/lib/sysusers.d/a.conf", "u toor 0\nu root 0\n")]),
    ("the same twice", &[("usr/lib/sysusers.d/a.conf", "u a 5\nu a 5\ng b 6\ng b 6\n")]),
    (
        "conflicts",
        &[(
            "usr/lib/sysusers.d/a.conf",
            "u a 5\nu a 6\nu a 5 x\ng b 6\ng b 7\nu c 8\nu! c 8\nu d 9:b\nu d 9\n",
        )],
    ),
    (
        "conflicts of shells",
        &[(
            "usr/lib/sysusers.d/a.conf",
            "u a 5 - - /bin/false\nu a 5\nu b 6 - - /bin/sh\nu b 6 - - /bin/bash\n",
        )],
    ),
    (
        "conflicts over files",
        &[("usr/lib/sysusers.d/b.conf", "u a 5\n"), ("etc/sysusers.d/a.conf", "u a 6\n")],
    ),
    (
        "precedence",
        &[
            ("usr/lib/sysusers.d/a.conf", "u a 5\n"),
            ("usr/local/lib/sysusers.d/a.conf", "u b 6\n"),
            ("run/sysusers.d/a.conf", "u c 7\n"),
            ("etc/sysusers.d/b.conf", "u d 8\n"),
            ("usr/lib/sysusers.d/b.conf", "u e 9\n"),
            ("run/sysusers.d/0.conf", "u z 10\n"),
        ],
    ),
    (
        "masks",
        &[
            ("usr/lib/sysusers.d/a.conf", "u a 5\n"),
            ("etc/sysusers.d/a.conf", "->/dev/null"),
            ("usr/lib/sysusers.d/b.conf", "u b 6\n"),
            ("run/sysusers.d/b.conf", ""),
            ("usr/lib/sysusers.d/c.confx", "u c 7\n"),
            ("usr/lib/sysusers.d/d.conf", "u d 8\n"),
        ],
    ),
    (
        "a linked definition",
        &[
            ("usr/share/x", "u a 5\n"),
            ("usr/lib/sysusers.d/a.conf", "->/usr/share/x"),
            ("usr/lib/sysusers.d/b.conf", "->../../share/x"),
        ],
    ),
    (
        "nis",
        &[
            ("usr/lib/sysusers.d/a.conf", "u a -\nm a g\nm a later\n"),
            ("etc/passwd", "root:x:0:0::/:/bin/sh\n+::::::\nlater:x:20:20::/:/x\n"),
            ("etc/group", "root:x:0:\ng:x:6:\n+:::\nlater:x:20:\n"),
            ("etc/shadow", "root:!:1::::::\n+::::::::\n"),
            ("etc/gshadow", "g:!::\n"),
        ],
    ),
    (
        "shadow knows the user",
        &[
            ("usr/lib/sysusers.d/a.conf", "u a -\nu b -\n"),
            ("etc/shadow", "x:!:1::::::\na:$6$x:1:0:99999:7:::\n"),
        ],
    ),
    ("gshadow knows the group", &[("usr/lib/sysusers.d/a.conf", "g a -\n"), ("etc/gshadow", "a:!::\n")]),
    ("gshadow knows a user's group", &[("usr/lib/sysusers.d/a.conf", "u a -\n"), ("etc/gshadow", "a:!::\n")]),
    // As a cut between the two files leaves it: the tool does not add the line later.
    (
        "gshadow lacks a group",
        &[
            ("usr/lib/sysusers.d/a.conf", "g a -\n"),
            ("etc/group", "root:x:0:\na:x:995:\n"),
            ("etc/gshadow", "root:!*::\n"),
        ],
    ),
    (
        "gshadow lacks a group and gets another",
        &[
            ("usr/lib/sysusers.d/a.conf", "g a -\ng b -\n"),
            ("etc/group", "root:x:0:\na:x:995:\n"),
            ("etc/gshadow", "root:!*::\n"),
        ],
    ),
    (
        "only passwd",
        &[("usr/lib/sysusers.d/a.conf", "u a -\n"), ("etc/passwd", "root:x:0:0:root:/root:/bin/bash\n")],
    ),
    (
        "ids listed twice",
        &[
            ("usr/lib/sysusers.d/a.conf", "u a 5\nu y -\n"),
            ("etc/passwd", "x:x:5:5::/:/x\ny:x:5:5::/:/x\ny:x:6:6::/:/x\n"),
        ],
    ),
    ("no id is free", &[("usr/lib/sysusers.d/a.conf", "r - 10-11\nu a -\ng b -\nu c -\nu d 10\ng e 7\n")]),
    ("a NUL in a line", &[("usr/lib/sysusers.d/a.conf", "u a - x\0y\nu b -\n")]),
];

#[test]
fn every_feature_as_the_tool_does_it() {
    for (name, files) in CASES {
        for level in ["info", "debug"] {
            let given = Given { environment: &[("SYSTEMD_LOG_LEVEL", level)], ..Given::default() };
            if level == "info" {
                if compare(name, files, given).is_none() {
                    return;
                }
            } else if let Some([theirs, ours]) = both(files, given) {
                // Of the messages for debugging, the reasons for ids.
                assert_eq!(reasons(&theirs.err), reasons(&ours.err), "{name}: left the tool, right us");
            }
        }
    }
    eprintln!("{} cases compared", CASES.len());
}

/// The lines with the reason why an entry got an id or not.
fn reasons(said: &str) -> Vec<&str> {
    let starts =
        ["User ", "Group ", "Creating ", "Suggested ", "Adding implicit ", "No free ", "Failed to create "];
    said.lines().filter(|line| starts.iter().any(|start| line.starts_with(start))).collect()
}

#[test]
fn credentials_as_the_tool_takes_them() {
    let files: &Files<'_> =
        &[("usr/lib/sysusers.d/a.conf", "u root 0 - /root\nu a -\nu! b - - /b /bin/sh\n")];
    for (name, credentials) in [
        ("none", &[][..]),
        ("hashed", &[("passwd.hashed-password.root", "$6$abc$def"), ("passwd.hashed-password.b", "")]),
        (
            "shell",
            &[("passwd.shell.root", "/bin/zsh"), ("passwd.shell.b", "/bin/fish"), ("passwd.shell.x", "/x")],
        ),
        (
            "hashed before clear",
            &[("passwd.hashed-password.root", "$6$abc$def"), ("passwd.plaintext-password.root", "secret")],
        ),
    ] {
        if compare(name, files, Given { credentials, ..Given::default() }).is_none() {
            return;
        }
    }
}

/// Their paths differ, so messages are compared without them.
#[test]
fn lines_come_from_a_credential_too() {
    let files: &Files<'_> = &[("usr/lib/sysusers.d/a.conf", "u a -\n")];
    let credentials = &[("sysusers.extra", "u c -\nu d x\ng e 44\n")];
    let Some([theirs, ours]) = both(files, Given { credentials, ..Given::default() }) else { return };
    crate::bench::compare_databases("sysusers.extra", &theirs, &ours);
    let tail = |said: &str| {
        said.lines().map(|line| line.rsplit("/sysusers.extra").next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(tail(&theirs.err), tail(&ours.err));
    assert_eq!((theirs.status, ours.status), (Some(0), Some(0)));
}

/// Both hash with yescrypt and a random salt: the hashes differ, their form does not, and crypt(3) takes ours for the password.
#[test]
fn a_password_in_clear_is_hashed_as_the_tool_does() {
    let files: &Files<'_> = &[("usr/lib/sysusers.d/a.conf", "u root 0\nu a -\n")];
    let credentials =
        &[("passwd.plaintext-password.root", "s\u{e9}cret:\nx"), ("passwd.plaintext-password.a", "")];
    let Some([theirs, ours]) = both(files, Given { credentials, ..Given::default() }) else { return };
    let fields = |shadow: &str| {
        let entries = shadow.lines().map(|line| line.split(':').map(str::to_owned).collect::<Vec<_>>());
        entries.collect::<Vec<_>>()
    };
    let (theirs, ours) = (fields(theirs.database("shadow")), fields(ours.database("shadow")));
    assert_eq!((theirs.len(), ours.len()), (2, 2));
    for (number, (their, our)) in theirs.iter().zip(&ours).enumerate() {
        let form = |hash: &str| hash.split('$').map(str::len).collect::<Vec<_>>();
        assert_eq!(form(&their[1]), form(&our[1]), "{their:?} {our:?}");
        assert_eq!(their[1][..7], our[1][..7]);
        assert_eq!(their[2..], our[2..]);
        let mut perl = crate::common::tool("perl").unwrap();
        let crypted = perl
            .args(["-e", "print crypt($ARGV[0], $ARGV[1])", credentials[number].1, &our[1]])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&crypted.stdout), our[1]);
    }
}
