//! Differential test against systemd-sysusers: the same root twice, once for the tool and once for us, then all four databases
//! and their backups must be equal: every byte, mode and owner. The lines that are complained about must be the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::{
        fd::AsFd,
        unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    },
    path::Path,
    process::Command,
};

use common::{Scratch, tool};
use hermetic_init::{
    etc::{base, tree::Tree},
    fragments::facts,
    sysusers::{Facts, Flush, Report, SysusersError, populate},
};

const TODAY: u32 = 20_000;
const DATABASES: [&str; 9] =
    ["passwd", "group", "shadow", "gshadow", "passwd-", "group-", "shadow-", "gshadow-", ".pwd.lock"];

/// A root as a list of files: path and content. Content `->X` is a link to X, `@UID:GID` an empty file of that owner.
type Files<'a> = [(&'a str, &'a str)];

/// Lays a root out.
fn lay(root: &Path, files: &Files<'_>) {
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::create_dir_all(root.join("usr/lib/sysusers.d")).unwrap();
    for (path, content) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if let Some(target) = content.strip_prefix("->") {
            symlink(target, path).unwrap();
        } else if let Some((uid, gid)) = content.strip_prefix('@').and_then(|owner| owner.split_once(':')) {
            fs::write(&path, "").unwrap();
            chown(path, Some(uid.parse().unwrap()), Some(gid.parse().unwrap())).unwrap();
        } else {
            fs::write(&path, content).unwrap();
        }
    }
}

/// What is in the databases: content, mode, owner.
fn databases(root: &Path) -> BTreeMap<&'static str, (String, u32, u32, u32)> {
    let mut found = BTreeMap::new();
    for name in DATABASES {
        let path = root.join("etc").join(name);
        let Ok(stat) = fs::symlink_metadata(&path) else { continue };
        let content = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
        found.insert(name, (content, stat.mode() & 0o7777, stat.uid(), stat.gid()));
    }
    let others: Vec<_> =
        fs::read_dir(root.join("etc")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!others.iter().any(|name| name.to_string_lossy().starts_with(".#")), "left behind: {others:?}");
    found
}

fn facts_of(root: &Path) -> Facts {
    let line = |path: &str| Some(fs::read_to_string(path).ok()?.trim().to_owned());
    let os_release = fs::read_to_string(root.join("etc/os-release"))
        .or_else(|_| fs::read_to_string(root.join("usr/lib/os-release")))
        .ok();
    Facts {
        machine_id: fs::read_to_string(root.join("etc/machine-id")).ok().map(|id| id.trim().to_owned()),
        boot_id: line("/proc/sys/kernel/random/boot_id").map(|id| id.replace('-', "")),
        kernel_release: line("/proc/sys/kernel/osrelease"),
        hostname: line("/proc/sys/kernel/hostname"),
        pretty_hostname: None,
        architecture: Some(facts::architecture(std::env::consts::ARCH).to_owned()),
        os_release: os_release.map(|text| facts::parse_os_release(&text)),
    }
}

fn ours(root: &Path, credentials: &BTreeMap<String, Vec<u8>>) -> Result<Report, SysusersError> {
    let (directory, usr) = (base::open(root).unwrap(), base::open(&root.join("usr")).unwrap());
    let tree = Tree { root: directory.as_fd(), usr: usr.as_fd() };
    populate(tree, &facts_of(root), credentials, TODAY, Flush::Caller)
}

/// The tool with /proc mounted for it alone: without, it knows neither boot id nor os-release.
fn with_proc(tool: &Command) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", "mount -t proc proc \"$1/proc\" && exec chroot \"$@\"", "sh"]);
    command.args(tool.get_args());
    command
}

/// Runs both over copies of one root and compares. Returns our report; None when there is no tool.
fn compare(name: &str, files: &Files<'_>, credentials: &[(&str, &str)]) -> Option<Report> {
    let mut command = with_proc(&tool("systemd-sysusers")?);
    let scratch = Scratch::new()?;
    lay(&scratch.host("tool"), files);
    lay(&scratch.host("ours"), files);
    Some(compare_roots(name, &scratch, &mut command, credentials))
}

fn compare_roots(
    name: &str,
    scratch: &Scratch,
    command: &mut Command,
    credentials: &[(&str, &str)],
) -> Report {
    if !credentials.is_empty() {
        fs::create_dir(scratch.host("credentials")).unwrap();
        for (name, value) in credentials {
            fs::write(scratch.host("credentials").join(name), value).unwrap();
        }
        command.env("CREDENTIALS_DIRECTORY", scratch.inside("credentials"));
    }
    command.arg(format!("--root={}", scratch.inside("tool")));
    command.env("SOURCE_DATE_EPOCH", (u64::from(TODAY) * 86400 + 7).to_string());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let credentials =
        credentials.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
    let report = ours(&scratch.host("ours"), &credentials);
    let report = match report {
        Ok(report) => report,
        Err(error) => {
            assert!(!output.status.success(), "{name}: only we fail: {error}\n{said}");
            return Report::default();
        }
    };
    assert!(output.status.success(), "{name}: only the tool fails\n{said}");
    let (theirs, ours) = (databases(&scratch.host("tool")), databases(&scratch.host("ours")));
    for name_of in DATABASES {
        assert_eq!(
            theirs.get(name_of),
            ours.get(name_of),
            "{name}: {name_of}: left the tool, right us\n{said}\n{report:#?}"
        );
    }
    let complained: BTreeSet<(String, usize)> = said
        .lines()
        .filter_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (file, number) = (parts.next()?, parts.next()?.parse().ok()?);
            Some((file.rsplit('/').next()?.to_owned(), number))
        })
        .collect();
    let reported: BTreeSet<(String, usize)> = report
        .errors
        .iter()
        .chain(&report.conflicts)
        .map(|error| (error.file.rsplit(['/', ' ']).next().unwrap().to_owned(), error.line))
        .collect();
    assert_eq!(
        complained, reported,
        "{name}: lines complained about: left the tool, right us\n{said}\n{report:#?}"
    );
    report
}

include!("sysusers/cases.rs");

#[test]
fn every_feature_as_the_tool_does_it() {
    for (name, files) in CASES {
        if compare(name, files, &[]).is_none() {
            return;
        }
    }
    eprintln!("{} cases compared", CASES.len());
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
        ("extra", &[("sysusers.extra", "u c -\nu d x\ng e 44\n")]),
    ] {
        let Some(_) = compare(name, files, credentials) else { return };
    }
}

#[test]
fn a_password_in_clear_is_reported_and_the_account_stays_locked() {
    let Some(scratch) = Scratch::new() else { return };
    lay(&scratch.host("r"), &[("usr/lib/sysusers.d/a.conf", "u a -\n")]);
    let credentials = BTreeMap::from([("passwd.plaintext-password.a".to_owned(), b"x".to_vec())]);
    let report = ours(&scratch.host("r"), &credentials).unwrap();
    assert_eq!(report.problems.len(), 1, "{report:?}");
    assert_eq!(fs::read_to_string(scratch.host("r/etc/shadow")).unwrap(), format!("a:!*:{TODAY}::::::\n"));
}

/// Copies the appliance's or the tool root's definitions and, if asked, its databases.
fn real(from: &Path, with_etc: bool) -> Vec<(String, String)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(from.join("usr/lib/sysusers.d")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        files.push((format!("usr/lib/sysusers.d/{name}"), fs::read_to_string(path).unwrap()));
    }
    for name in DATABASES.iter().filter(|_| with_etc) {
        // The appliance of the machine tests has its /etc in the factory.
        let content =
            ["etc", "usr/share/factory/etc"].map(|etc| fs::read_to_string(from.join(etc).join(name)));
        if let Some(content) = content.into_iter().flatten().next() {
            files.push((format!("etc/{name}"), content));
        }
    }
    files
}

#[test]
fn real_definitions_on_empty_and_populated_roots() {
    let Some(tools) = std::env::var_os("HERMETIC_TOOLS").map(std::path::PathBuf::from) else {
        tool("systemd-sysusers");
        return;
    };
    let appliance = std::env::var_os("HERMETIC_APPLIANCE").map(std::path::PathBuf::from);
    for from in [Some(tools), appliance].into_iter().flatten() {
        for with_etc in [false, true] {
            for extra in ["", "u neu - \"Neu\"\nm neu adm\nm neu neu\nm _apt neu\n"] {
                let mut files = real(&from, with_etc);
                files.push(("etc/sysusers.d/zz.conf".to_owned(), extra.to_owned()));
                let files: Vec<(&str, &str)> =
                    files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
                compare(&format!("{} {with_etc}", from.display()), &files, &[]).unwrap();
            }
        }
    }
}

/// A small linear congruential generator: the same numbers on every machine.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % limit
    }

    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }
}

const NAMES: [&str; 9] = ["a", "b", "c", "d", "e", "f", "_g", "root", "h-1"];
const IDS: [&str; 24] = [
    "-", "-", "-", "5", "6", "7", "5:6", "6:7", "-:a", "-:b", "7:c", "-:f", "/owned", "/other", "999", "998",
    "65535", "x", "0", "'-'", "997:997", "996:a", "-:5", "/none",
];

fn random_lines(numbers: &mut Numbers) -> String {
    let mut text = String::new();
    for _ in 0..1 + numbers.below(12) {
        let name = numbers.pick(&NAMES);
        match numbers.below(10) {
            0..4 => {
                let kind = numbers.pick(&["u", "u", "u!", "u!!"]);
                let (id, gecos) =
                    (numbers.pick(&IDS), numbers.pick(&["", "-", "\"G x\"", "'%a'", "a:b", "%T"]));
                let home = numbers.pick(&["", "-", "/h", "//h/./x/", "h", "/.."]);
                let shell = numbers.pick(&["", "-", "/bin/sh", "/usr/bin/false", "sh"]);
                match gecos {
                    "" => text += &format!("{kind} {name} {id}\n"),
                    _ if home.is_empty() => text += &format!("{kind} {name} {id} {gecos}\n"),
                    _ => text += &format!("{kind} {name} {id} {gecos} {home} {shell}\n"),
                }
            }
            4..6 => text += &format!("g {name} {}\n", numbers.pick(&IDS)),
            6..9 => text += &format!("m {name} {}\n", numbers.pick(&NAMES)),
            _ => text += &format!("r - {}\n", numbers.pick(&["5-8", "500", "100-110", "9-1", "990-1200"])),
        }
    }
    text
}

fn random_database(
    numbers: &mut Numbers,
    names: &[&str],
    line: impl Fn(&str, usize, &str) -> String,
) -> String {
    let mut text = String::new();
    for name in names {
        if numbers.below(3) == 0 {
            text += &line(name, numbers.pick(&["0", "5", "6", "998", "999", "100"]).parse().unwrap(), "");
            text.push('\n');
        }
    }
    text
}

#[test]
fn two_hundred_random_roots() {
    let mut numbers = Numbers(257);
    for round in 0..200 {
        let one = random_lines(&mut numbers);
        let two = random_lines(&mut numbers);
        let populated = numbers.below(2) == 0;
        let nis = numbers.below(4) == 0;
        let mut passwd =
            random_database(&mut numbers, &NAMES, |name, id, _| format!("{name}:x:{id}:{id}:G:/:/bin/sh"));
        let mut group = random_database(&mut numbers, &NAMES, |name, id, _| format!("{name}:x:{id}:a,zz"));
        let shadow =
            random_database(&mut numbers, &NAMES, |name, id, _| format!("{name}:!:{id}:0:99999:7:::"));
        let gshadow = random_database(&mut numbers, &NAMES, |name, _, _| format!("{name}:!:x:zz,b"));
        if nis {
            passwd += "+::::::\n";
            group += "+:::\n";
        }
        let mut files = vec![
            ("usr/lib/sysusers.d/one.conf", one.as_str()),
            ("etc/sysusers.d/two.conf", two.as_str()),
            ("owned", "@997:996"),
            ("other", "@5:500"),
        ];
        if populated {
            files.extend([
                ("etc/passwd", passwd.as_str()),
                ("etc/group", &group),
                ("etc/shadow", &shadow),
                ("etc/gshadow", &gshadow),
            ]);
        }
        if compare(&format!("round {round}\n{files:#?}"), &files, &[]).is_none() {
            return;
        }
    }
}

#[test]
fn links_in_the_target_lead_nowhere() {
    let Some(scratch) = Scratch::new() else { return };
    let outside = scratch.host("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("passwd"), "root:x:0:0::/:/bin/sh\n").unwrap();
    let lines = ("usr/lib/sysusers.d/a.conf", "u a -\n");
    let to_passwd = format!("->{}", outside.join("passwd").display());
    let to_outside = format!("->{}", outside.display());
    lay(&scratch.host("file"), &[lines, ("etc/passwd", to_passwd.as_str())]);
    let error = ours(&scratch.host("file"), &BTreeMap::new()).unwrap_err();
    assert!(error.to_string().contains("/etc/passwd"), "{error}");
    lay(&scratch.host("lock"), &[lines, ("etc/.pwd.lock", to_outside.as_str())]);
    ours(&scratch.host("lock"), &BTreeMap::new()).unwrap_err();
    fs::create_dir_all(scratch.host("dir/usr/lib/sysusers.d")).unwrap();
    fs::write(scratch.host("dir").join(lines.0), lines.1).unwrap();
    symlink(&outside, scratch.host("dir/etc")).unwrap();
    ours(&scratch.host("dir"), &BTreeMap::new()).unwrap_err();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(outside.join("passwd")).unwrap(), "root:x:0:0::/:/bin/sh\n");
}

#[test]
fn a_database_that_is_not_understood_stays_as_it_is() {
    let Some(scratch) = Scratch::new() else { return };
    for (number, (file, content)) in [
        ("passwd", "root:x:0:0::/:\nbroken\n"),
        ("group", "a:x:b:\n"),
        ("shadow", "a\n"),
        ("gshadow", ":x\n"),
    ]
    .into_iter()
    .enumerate()
    {
        let root = scratch.host(&number.to_string());
        lay(&root, &[("usr/lib/sysusers.d/a.conf", "u a -\n"), (&format!("etc/{file}"), content)]);
        let error = ours(&root, &BTreeMap::new()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("/etc/{file}:")), "{error}");
        assert_eq!(fs::read_to_string(root.join("etc").join(file)).unwrap(), content);
    }
}

#[test]
fn comments_survive_and_a_second_run_changes_nothing() {
    let Some(scratch) = Scratch::new() else { return };
    let root = scratch.host("r");
    let passwd = "# mine\nroot:x:00:0::/:/bin/sh\n\n";
    lay(&root, &[("usr/lib/sysusers.d/a.conf", "u a -\nm a b\n"), ("etc/passwd", passwd)]);
    fs::set_permissions(root.join("etc/passwd"), fs::Permissions::from_mode(0o600)).unwrap();
    ours(&root, &BTreeMap::new()).unwrap();
    let first = databases(&root);
    assert_eq!(first["passwd"].0, format!("{passwd}a:x:998:998::/:/usr/sbin/nologin\n"));
    assert_eq!((first["passwd"].1, first["passwd-"].1), (0o600, 0o600));
    let inode = fs::metadata(root.join("etc/passwd")).unwrap().ino();
    let report = ours(&root, &BTreeMap::new()).unwrap();
    assert_eq!((report.users.len(), report.groups.len()), (0, 0));
    assert_eq!(databases(&root), first);
    assert_eq!(fs::metadata(root.join("etc/passwd")).unwrap().ino(), inode);
}

#[test]
fn definitions_and_owners_come_from_the_other_usr() {
    let Some(scratch) = Scratch::new() else { return };
    lay(&scratch.host("r"), &[("bin", "->usr/bin")]);
    lay(
        &scratch.host("v"),
        &[
            ("usr/lib/sysusers.d/a.conf", "u root 0\nu a /usr/lib/owned\ng b /lib/owned\n"),
            ("usr/bin/bash", ""),
            ("usr/lib/owned", "@600:700"),
        ],
    );
    symlink("/usr/../usr/./lib", scratch.host("r/lib")).unwrap();
    let (root, usr) = (base::open(&scratch.host("r")).unwrap(), base::open(&scratch.host("v/usr")).unwrap());
    let tree = Tree { root: root.as_fd(), usr: usr.as_fd() };
    populate(tree, &Facts::default(), &(), TODAY, Flush::Here).unwrap();
    let passwd = fs::read_to_string(scratch.host("r/etc/passwd")).unwrap();
    assert_eq!(passwd, "root:x:0:0::/:/bin/bash\na:x:600:999::/:/usr/sbin/nologin\n");
    assert_eq!(fs::read_to_string(scratch.host("r/etc/group")).unwrap(), "b:x:700:\nroot:x:0:\na:x:999:\n");
}
