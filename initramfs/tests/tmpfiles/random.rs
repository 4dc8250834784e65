//! A thousand random files, each over the same populated root.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown, lchown, symlink},
    path::Path,
};

use crate::bench::{Round, compare};

/// A small linear congruential generator: the same numbers on every machine.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % limit
    }

    fn one(&mut self, choices: &[&'static str]) -> &'static str {
        choices[self.below(choices.len())]
    }

    fn pick(&mut self, [right, wrong]: Choices) -> &'static str {
        let choices = if self.below(16) == 0 { wrong } else { right };
        self.one(choices)
    }
}

/// The number of files; `HERMETIC_FILES` asks for another number.
const FILES: usize = 1000;

/// Valid values, and invalid ones; most of a line is valid.
type Choices = [&'static [&'static str]; 2];

const TYPES: Choices = [
    &[
        "f", "f", "f", "F", "w", "w", "d", "d", "d", "D", "e", "v", "q", "Q", "p", "L", "L", "L", "c", "b",
        "C", "C", "x", "X", "r", "R", "z", "z", "Z", "t", "T", "a", "A", "h", "H", "m",
    ],
    &["Y", "l", "1"],
];
const MODIFIERS: Choices = [
    &["", "", "", "", "", "", "+", "+", "+", "!", "-", "=", "=", "-=", "+=", "!+"],
    &["$", "?", "~", "^", "++", "^~", "!!", "?+", "*", "+$", "~+"],
];
/// New paths, paths that exist as something, paths that lead somewhere.
const PATHS: Choices = [
    &[
        "/new",
        "/new",
        "/new/a",
        "/new/a/b",
        "/new/a",
        "/var/x/y",
        "/run/r",
        "/var/run/q",
        "//d//./file/",
        "/d",
        "/d/file",
        "/d/file/below",
        "/d/exec",
        "/d/sub",
        "/d/sub/deep",
        "/d/.hidden",
        "/empty",
        "/fifo",
        "/link",
        "/link/file",
        "/filelink",
        "/dangling",
        "/dangling/x",
        "/twice",
        "/once",
        "/user",
        "/user/own",
        "/user/new",
        "/sticky/s",
        "/file",
        "/file/below",
        "\"/with space\"",
        "/with\\x20space",
        "/caf\\u00e9",
        "'/q'",
        "/%o-%w",
        "/%%",
        "/d/*",
        "/d/*/*",
        "/d/{file,exec}",
        "/d/.*",
        "/[de]*",
        "/d/[!f]*",
        "/none/*",
        "/{file,none,d}",
        "/link/*",
        "/d/sub/d?ep",
        "/etc/issue",
        "/etc/dir",
    ],
    &["/%m", "/%Y", "/d/../b", "relative", "/", "-", "/dev/x", "\"/open", "/bad\\q", "/d/.."],
];
const MODES: Choices = [
    &[
        "-", "-", "-", "0644", "0755", "755", "4711", "2750", "1777", "0", ":0700", "~0666", "~:4755",
        ":~2775", "\"\"",
    ],
    &["888", "10000", "+x", "~"],
];
const OWNERS: Choices = [
    &["-", "-", "-", "root", "0", "daemon", "1000", ":daemon", ":1000"],
    &["nobody-here", "65535", "01", ":", "4294967295"],
];
const AGES: Choices = [
    &["-", "-", "-", "-", "10d", "\"~1h 30min\"", "aM:5d", "infinity", "0"],
    &["x:1d", "bad", "~", "5 5", "-1"],
];
const TEXTS: Choices = [
    &[
        "",
        "-",
        "text",
        "two  words ",
        "with\\nline\\x21",
        "%v",
        "%%",
        "%b-%H-%u",
        "\"quoted\"",
        "../x",
        "\\u20ac",
        "motd",
    ],
    &["%Y", "bad\\q", "dGV4dA==", "dGV4dA", "d!"],
];
const LINKS: Choices =
    [&["", "d", "../d/file", "/d/file", "none", "/none", "%T", "\\x2fabsolute"], &["%Y", "\\"]];
/// None holds a path of [`PATHS`]: the tool copies a directory into itself until names are too long.
const SOURCES: Choices = [
    &[
        "",
        "/origin",
        "/origin/dir",
        "/file",
        "/fifo",
        "/filelink",
        "/none",
        "/origin/dir/",
        "/origin/dir/sub/link",
    ],
    &["relative", "%Y"],
];
const DEVICES: Choices =
    [&["1:3", "1:0x10", "8:017"], &["0x1:3", "", "1", "a:b", "4096:1", "1:1048576", "1:-3"]];
const XATTRS: Choices = [
    &["user.a=1", "user.a=1 user.b=\"x y\"", "user.c=%o", "trusted.t=%%", "user.d=\\x41"],
    &["bad", "user.a=", "=x", "", "nospace.a=1", "user.a=%Y"],
];
const ACLS: Choices = [
    &[
        "u:daemon:rwx",
        "u:1000:rX",
        "g:daemon:rX,u::rwX",
        "d:u:daemon:rwx",
        "d:g::r-x,g:1:r,m::rx",
        "default:group:daemon:rX,g:daemon:rX",
        "o::r",
        "m::rwx",
        "u:daemon:rwx,u:daemon:r",
        "u: daemon :r",
        "u::x,g::x,o::x",
        "u:0:r,g:0:w,o::X",
    ],
    &["u:nobody-here:r", "u:daemon", "", "x:y:z", "u:daemon:rr"],
];
const ATTRIBUTES: Choices = [&["+d", "d", "-d", "+dA", "=A", "=", "+D", "-S"], &["+", "", "x", "+C"]];

fn argument(numbers: &mut Numbers, kind: &str) -> &'static str {
    // Now and then something that is for another type.
    let kind = if numbers.below(30) == 0 { numbers.pick(TYPES) } else { kind };
    numbers.pick(match kind {
        "L" => LINKS,
        "C" => SOURCES,
        "c" | "b" => DEVICES,
        "t" | "T" => XATTRS,
        "a" | "A" => ACLS,
        "h" | "H" => ATTRIBUTES,
        "f" | "F" | "w" => TEXTS,
        _ => [&["", "", "", "", "-"], &["text"]],
    })
}

fn lines(numbers: &mut Numbers) -> String {
    let mut text = String::new();
    for _ in 0..1 + numbers.below(8) {
        let kind = numbers.pick(TYPES);
        let modifiers = numbers.pick(MODIFIERS);
        let path = numbers.pick(PATHS);
        let (mode, user, group) = (numbers.pick(MODES), numbers.pick(OWNERS), numbers.pick(OWNERS));
        let columns = [
            kind.to_owned() + modifiers,
            path.to_owned(),
            mode.to_owned(),
            user.to_owned(),
            group.to_owned(),
            numbers.pick(AGES).to_owned(),
            argument(numbers, kind).to_owned(),
        ];
        // Lines may end early.
        let length = if numbers.below(12) == 0 { 1 + numbers.below(6) } else { columns.len() };
        text += &columns[..length].join(" ");
        text.push('\n');
    }
    text
}

/// A root in which something of every kind exists.
pub fn lay(root: &Path) {
    let write = |path: &str, mode| {
        fs::write(root.join(path), format!("content of {path}\n")).unwrap();
        fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    for directory in [
        "d/sub/deep",
        "empty",
        "etc/dir",
        "user",
        "sticky",
        "usr/share/factory/etc/dir",
        "origin/dir/sub",
        "run",
        "var",
    ] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    write("d/file", 0o644);
    write("d/exec", 0o755);
    write("d/.hidden", 0o600);
    write("d/sub/file", 0o444);
    write("file", 0o640);
    write("once", 0o644);
    write("user/own", 0o644);
    write("sticky/s", 0o1644);
    write("usr/share/factory/etc/issue", 0o644);
    write("usr/share/factory/etc/dir/one", 0o600);
    write("origin/dir/one", 0o4755);
    write("origin/dir/two", 0o644);
    write("origin/dir/sub/three", 0o640);
    fs::hard_link(root.join("once"), root.join("twice")).unwrap();
    fs::hard_link(root.join("origin/dir/two"), root.join("origin/dir/sub/two")).unwrap();
    symlink("../one", root.join("origin/dir/sub/link")).unwrap();
    symlink("d", root.join("link")).unwrap();
    symlink("d/file", root.join("filelink")).unwrap();
    symlink("none", root.join("dangling")).unwrap();
    for path in ["user", "user/own", "origin/dir/two"] {
        chown(root.join(path), Some(1000), Some(1000)).unwrap();
    }
    lchown(root.join("origin/dir/sub/link"), Some(1), Some(1)).unwrap();
    let fifo = root.join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o644.into(), 0).unwrap();
    rustix::fs::setxattr(
        root.join("origin/dir/one"),
        "user.origin",
        b"factory",
        rustix::fs::XattrFlags::empty(),
    )
    .unwrap();
    fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\ndaemon:x:1:1::/:/bin/sh\n").unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\ndaemon:x:1:\n").unwrap();
    fs::write(root.join("etc/os-release"), "ID=debian\nVERSION_ID=\"13\"\n").unwrap();
}

#[test]
fn a_thousand_files() {
    let mut numbers = Numbers(257);
    let asked = std::env::var("HERMETIC_FILES").ok().and_then(|number| number.parse().ok());
    let files = asked.unwrap_or(FILES);
    let rounds: Vec<Round> = (0..files)
        .map(|number| Round {
            name: format!("file {number}"),
            lines: Some(lines(&mut numbers)),
            words: numbers.one(&[
                "--create",
                "--create --boot",
                "--create --remove --boot",
                "--remove",
                "--create --graceful",
                "--create -E",
                "--create --prefix=/d --prefix=/new --exclude-prefix=/new/a",
                "--create --dry-run",
            ]),
        })
        .collect();
    let Some(pairs) = compare(&rounds, &lay) else { return };
    let complaints = pairs.iter().filter(|[theirs, _]| !theirs.of_lines.is_empty()).count();
    // Some files are wrong somewhere, and not all.
    assert!((files / 10..files).contains(&complaints), "{complaints} files were complained about");
}
