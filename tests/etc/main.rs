//! The rooms of /etc on real trees: what the factory copy makes is compared with its source by a walker of our own that
//! looks at everything a file has, and so are hostile targets and second runs.

#[path = "../common/mod.rs"]
mod common;

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    os::{
        fd::AsFd,
        unix::{
            ffi::OsStrExt,
            fs::{MetadataExt, PermissionsExt, chown, lchown, symlink},
        },
    },
    path::{Path, PathBuf},
    process::Command,
};

use common::Scratch;
use hermetic_init::durable::Durable;
use hermetic_init::etc::{
    EtcError, Rules, Strategy, base,
    factory::{self, Report},
    machine_id::{self, KEPT, MachineId, State},
    manifest::{Head, Manifest},
    scan,
};
use hermetic_init::tree::{open, watch::Unwatched};
use rustix::fs::{FileType, Mode, Timespec, Timestamps, XattrFlags, utimensat};

/// Everything that one entry of a tree is.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Entry {
    mode: u32,
    owner: (u32, u32),
    modified: (i64, i64),
    device: u64,
    /// The content of a file, the target of a link.
    content: Vec<u8>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The first path, in order, that is the same file.
    first_name: PathBuf,
}

/// All entries below a directory, by their path from there.
fn walk(root: &Path) -> BTreeMap<PathBuf, Entry> {
    let (mut entries, mut inodes) = (BTreeMap::new(), BTreeMap::new());
    walk_into(root, Path::new(""), &mut entries, &mut inodes);
    entries
}

fn walk_into(
    root: &Path,
    at: &Path,
    entries: &mut BTreeMap<PathBuf, Entry>,
    inodes: &mut BTreeMap<(u64, u64), PathBuf>,
) {
    let mut names: Vec<_> =
        fs::read_dir(root.join(at)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    for name in names {
        let path = at.join(name);
        let whole = root.join(&path);
        let stat = fs::symlink_metadata(&whole).unwrap();
        let kind = stat.file_type();
        let content = match () {
            () if kind.is_symlink() => fs::read_link(&whole).unwrap().as_os_str().as_bytes().to_vec(),
            () if kind.is_file() => fs::read(&whole).unwrap(),
            () => Vec::new(),
        };
        let first_name = inodes.entry((stat.dev(), stat.ino())).or_insert_with(|| path.clone()).clone();
        entries.insert(
            path.clone(),
            Entry {
                mode: stat.mode(),
                owner: (stat.uid(), stat.gid()),
                modified: (stat.mtime(), stat.mtime_nsec()),
                device: stat.rdev(),
                content,
                // Those of a link stay behind, as with systemd.
                xattrs: if kind.is_symlink() { BTreeMap::new() } else { xattrs(&whole) },
                first_name,
            },
        );
        if kind.is_dir() {
            walk_into(root, &path, entries, inodes);
        }
    }
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 4096];
    let length = rustix::fs::llistxattr(path, &mut names).unwrap_or(0);
    let mut found = BTreeMap::new();
    for name in names[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 4096];
        let length = rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut value).unwrap();
        found.insert(name.to_vec(), value[..length].to_vec());
    }
    found
}

/// Compares entry by entry, so that a failure names the path.
fn assert_same(source: &Path, copy: &Path) {
    let (source, copy) = (walk(source), walk(copy));
    for (path, entry) in &source {
        assert_eq!(copy.get(path), Some(entry), "{}", path.display());
    }
    assert_eq!(source.len(), copy.len());
}

fn populate(root: &Path, usr: &Path) -> Result<Report, EtcError> {
    let (root, usr) = (open::root(root).unwrap(), open::root(usr).unwrap());
    let head = Head { usr: "test".into(), strategy: Strategy::Track };
    let (report, manifest) = factory::copy(root.as_fd(), usr.as_fd(), &head, &Rules::new(Strategy::Track))?;
    agrees(&Manifest::parse(&manifest).unwrap(), usr.as_fd(), &report);
    Ok(report)
}

/// Checks that the record of a copy equals a look at the factory.
fn agrees(manifest: &Manifest, usr: std::os::fd::BorrowedFd<'_>, report: &Report) {
    let Some(source) = &report.source else { return assert!(manifest.tree.is_empty()) };
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
    let tree = rustix::fs::openat(usr, source.as_str(), flags, Mode::empty()).unwrap();
    let there = scan::scan(tree.as_fd(), hermetic_init::etc::Side::Factory, &|_| true).unwrap();
    // Entries below something that is in the way were not looked at.
    let there = there.iter().filter(|(path, _)| report.kept == 0 || manifest.tree.contains_key(path));
    let there = there.map(|(path, entry)| (&**path, entry.clone())).collect();
    assert_eq!(manifest.tree, there);
}

fn create_base(root: &Path, usr: &Path) -> Result<usize, EtcError> {
    let (root, usr) = (open::root(root).unwrap(), open::root(usr).unwrap());
    base::create(root.as_fd(), usr.as_fd())
}

fn set_mtime(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A factory tree with one of everything.
fn everything(etc: &Path) {
    fs::create_dir_all(etc.join("a/b/c")).unwrap();
    fs::create_dir(etc.join("private")).unwrap();
    fs::create_dir(etc.join("shared")).unwrap();
    fs::write(etc.join("empty"), "").unwrap();
    fs::write(etc.join("a/small"), "small\n").unwrap();
    fs::write(etc.join("a/b/large"), (0..700_001u32).map(|n| (n % 251) as u8).collect::<Vec<u8>>()).unwrap();
    fs::write(etc.join("a/chunk"), vec![7; 128 << 10]).unwrap();
    fs::write(etc.join("a/setuid"), "x").unwrap();
    fs::write(etc.join("private/shadow"), "x").unwrap();
    fs::write(etc.join("private/unreadable"), "y").unwrap();
    fs::write(etc.join("shared/file"), "z").unwrap();
    fs::hard_link(etc.join("a/small"), etc.join("a/b/second")).unwrap();
    fs::hard_link(etc.join("a/small"), etc.join("zz-third")).unwrap();
    symlink("/usr/share/zoneinfo/UTC", etc.join("localtime")).unwrap();
    symlink("../nowhere", etc.join("a/dangling")).unwrap();
    fs::write(etc.join(OsStr::from_bytes(b"not-utf8-\xff")), "n").unwrap();
    let mode = Mode::from_raw_mode(0o620);
    rustix::fs::mknodat(rustix::fs::CWD, etc.join("fifo"), FileType::Fifo, mode, 0).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, etc.join("socket"), FileType::Socket, mode, 0).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, etc.join("null"), FileType::CharacterDevice, mode, 0x103).unwrap();
    chown(etc.join("a/setuid"), Some(33), Some(998)).unwrap();
    chown(etc.join("private"), Some(5), Some(6)).unwrap();
    chown(etc.join("private/shadow"), Some(0), Some(42)).unwrap();
    chown(etc.join("shared"), Some(0), Some(50)).unwrap();
    lchown(etc.join("a/dangling"), Some(7), Some(8)).unwrap();
    chown(etc.join("fifo"), Some(9), Some(9)).unwrap();
    set_mode(&etc.join("a/setuid"), 0o6755);
    set_mode(&etc.join("private"), 0o700);
    set_mode(&etc.join("private/shadow"), 0o640);
    set_mode(&etc.join("private/unreadable"), 0o000);
    set_mode(&etc.join("shared"), 0o3777);
    set_mode(&etc.join("a/b"), 0o555);
    let set = |path: &Path, name: &str, value: &[u8]| {
        rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
    };
    // cap_net_raw=ep, in the format of revision 2 (linux/capability.h).
    set(
        &etc.join("a/setuid"),
        "security.capability",
        &[1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    );
    // u::rw-, u:33:r--, g::r--, m::r--, o::--- (linux/posix_acl_xattr.h), as access ACL and as default ACL.
    let acl: &[u8] = &[
        2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 33, 0, 0, 0, 4, 0, 4, 0, 255, 255, 255, 255,
        16, 0, 4, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255,
    ];
    for (path, name) in [("private/shadow", "system.posix_acl_access"), ("a/b/c", "system.posix_acl_default")]
    {
        if rustix::fs::lsetxattr(etc.join(path), name, acl, XattrFlags::empty()).is_err() {
            eprintln!("no ACLs on this file system: not tested");
        }
    }
    fs::write(etc.join("a/b/c/under-default-acl"), "d").unwrap();
    rustix::fs::removexattr(etc.join("a/b/c/under-default-acl"), "system.posix_acl_access").unwrap_or(());
    set_mode(&etc.join("a/b/c/under-default-acl"), 0o644);
    for (path, name) in
        [("a/small", "user.note"), ("a", "user.note"), ("private", "trusted.x"), ("a/dangling", "trusted.y")]
    {
        if rustix::fs::lsetxattr(etc.join(path), name, b"v", XattrFlags::empty()).is_err() {
            eprintln!("no {name} on this file system: not tested");
        }
    }
    for (number, path) in
        ["a/b", "a", "private", "a/dangling", "fifo", "a/small", "empty"].into_iter().enumerate()
    {
        set_mtime(&etc.join(path), 1_000_000_000 + number as i64, 123_456_789);
    }
}

#[test]
fn one_of_everything_is_copied_whole() {
    let Some(scratch) = Scratch::new() else { return };
    let (usr, root) = (scratch.host("usr"), scratch.host("root"));
    fs::create_dir_all(usr.join("share/factory/etc")).unwrap();
    fs::create_dir_all(usr.join("etc/not-this-one")).unwrap();
    fs::create_dir(&root).unwrap();
    everything(&usr.join("share/factory/etc"));
    let report = populate(&root, &usr).unwrap();
    assert_same(&usr.join("share/factory/etc"), &root.join("etc"));
    let counts =
        (report.directories, report.files, report.symlinks, report.hard_links, report.specials, report.kept);
    assert_eq!(counts, (5, 10, 2, 2, 3, 0), "{report:?}");
    assert_eq!(report.source.as_deref(), Some("share/factory/etc"));

    let before = walk(&root);
    let second = populate(&root, &usr).unwrap();
    assert_eq!(walk(&root), before);
    assert_eq!((second.kept, second.files, second.bytes), (5 + 10 + 2 + 2 + 3, 0, 0));
}

#[test]
fn usr_etc_is_taken_when_there_is_no_factory() {
    let Some(scratch) = Scratch::new() else { return };
    let (usr, root) = (scratch.host("usr"), scratch.host("root"));
    fs::create_dir_all(usr.join("etc")).unwrap();
    fs::create_dir(&root).unwrap();
    fs::write(usr.join("etc/f"), "f").unwrap();
    assert_eq!(populate(&root, &usr).unwrap().source.as_deref(), Some("etc"));
    assert_same(&usr.join("etc"), &root.join("etc"));
    fs::create_dir(scratch.host("none")).unwrap();
    assert_eq!(populate(&root, &scratch.host("none")).unwrap(), Report::default());
}

#[test]
fn what_exists_is_not_touched() {
    let Some(scratch) = Scratch::new() else { return };
    let (usr, root) = (scratch.host("usr"), scratch.host("root"));
    let source = usr.join("share/factory/etc");
    fs::create_dir_all(&source).unwrap();
    everything(&source);
    fs::create_dir_all(root.join("etc/private")).unwrap();
    fs::write(root.join("etc/private/shadow"), "mine").unwrap();
    fs::write(root.join("etc/a"), "a file where the factory has a directory").unwrap();
    fs::create_dir(root.join("etc/empty")).unwrap();
    symlink("mine", root.join("etc/localtime")).unwrap();
    set_mode(&root.join("etc/private"), 0o2750);
    chown(root.join("etc/private"), Some(1), Some(2)).unwrap();
    set_mode(&root.join("etc/private"), 0o2750);
    let before = walk(&root.join("etc"));
    populate(&root, &usr).unwrap();
    let after = walk(&root.join("etc"));
    for (path, entry) in &before {
        let now = &after[path];
        // Only the time of the directory that got a new entry moved.
        let like = Entry { modified: now.modified, first_name: now.first_name.clone(), ..entry.clone() };
        assert_eq!(now, &like, "{}", path.display());
    }
    // The set-group-id directory of the target did not give its group to entries of the factory.
    assert_eq!(after[Path::new("private/unreadable")].owner, (0, 0));
    assert!(!after.contains_key(Path::new("empty/x")));
}

#[test]
fn links_in_the_target_lead_nowhere() {
    let Some(scratch) = Scratch::new() else { return };
    let (usr, outside) = (scratch.host("usr"), scratch.host("outside"));
    fs::create_dir_all(usr.join("share/factory/etc/a/b")).unwrap();
    fs::write(usr.join("share/factory/etc/a/b/f"), "f").unwrap();
    fs::write(usr.join("share/factory/etc/g"), "g").unwrap();
    fs::create_dir(&outside).unwrap();
    // The premise: a copy that follows links does write outside.
    fs::create_dir(scratch.host("premise")).unwrap();
    symlink(&outside, scratch.host("premise/etc")).unwrap();
    fs::write(scratch.host("premise/etc/g"), "g").unwrap();
    assert!(outside.join("g").exists());
    fs::remove_file(outside.join("g")).unwrap();

    let error = populate(&scratch.host("premise"), &usr).unwrap_err();
    assert_eq!(error, EtcError::NotADirectory { path: "/etc".to_owned() });
    let error = create_base(&scratch.host("premise"), &usr).unwrap_err();
    assert_eq!(error, EtcError::NotADirectory { path: "/etc".to_owned() });
    machine_id::initialize(open::root(&scratch.host("premise")).unwrap().as_fd(), Durable::Here, &Unwatched)
        .unwrap_err();

    fs::create_dir_all(scratch.host("root/etc")).unwrap();
    symlink(&outside, scratch.host("root/etc/a")).unwrap();
    symlink(outside.join("g"), scratch.host("root/etc/g")).unwrap();
    symlink(&outside, scratch.host("root/var")).unwrap();
    assert_eq!(populate(&scratch.host("root"), &usr).unwrap().kept, 2);
    let id = MachineId::from_random([1; 16]);
    machine_id::keep(open::root(&scratch.host("root")).unwrap().as_fd(), id, Durable::Here, &Unwatched)
        .unwrap_err();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn a_link_to_a_factory_elsewhere_is_no_factory() {
    let Some(scratch) = Scratch::new() else { return };
    fs::create_dir_all(scratch.host("usr/share")).unwrap();
    fs::create_dir_all(scratch.host("elsewhere/etc")).unwrap();
    fs::create_dir(scratch.host("root")).unwrap();
    symlink(scratch.host("elsewhere"), scratch.host("usr/share/factory")).unwrap();
    assert_eq!(populate(&scratch.host("root"), &scratch.host("usr")).unwrap().source, None);
}

#[test]
fn the_base_of_a_root_and_a_second_run() {
    let Some(scratch) = Scratch::new() else { return };
    let (usr, root) = (scratch.host("usr"), scratch.host("root"));
    for directory in ["bin", "sbin", "lib", "lib64"] {
        fs::create_dir_all(usr.join(directory)).unwrap();
    }
    // As Debian has it, and absolute: it must not be followed.
    let loader = match std::env::consts::ARCH {
        "x86_64" => "ld-linux-x86-64.so.2",
        "aarch64" => "ld-linux-aarch64.so.1",
        _ => "ld-linux-riscv64-lp64d.so.1",
    };
    symlink("/lib/nowhere", usr.join("lib64").join(loader)).unwrap();
    fs::create_dir(&root).unwrap();
    assert_eq!(create_base(&root, &usr).unwrap(), 12);
    for (name, mode) in [
        ("root", 0o750),
        ("usr", 0o755),
        ("var", 0o755),
        ("etc", 0o755),
        ("proc", 0o555),
        ("sys", 0o555),
        ("dev", 0o555),
        ("run", 0o555),
    ] {
        assert_eq!(fs::metadata(root.join(name)).unwrap().mode() & 0o7777, mode, "{name}");
    }
    for (name, target) in
        [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")]
    {
        assert_eq!(fs::read_link(root.join(name)).unwrap(), Path::new(target));
    }
    let before = walk(&root);
    assert_eq!(create_base(&root, &usr).unwrap(), 0);
    assert_eq!(walk(&root), before);
}

#[test]
fn merged_sbin_and_no_loader() {
    let Some(scratch) = Scratch::new() else { return };
    let (usr, root) = (scratch.host("usr"), scratch.host("root"));
    fs::create_dir_all(usr.join("bin")).unwrap();
    symlink("bin", usr.join("sbin")).unwrap();
    fs::create_dir(&root).unwrap();
    create_base(&root, &usr).unwrap();
    assert_eq!(fs::read_link(root.join("sbin")).unwrap(), Path::new("usr/bin"));
    assert!(fs::symlink_metadata(root.join("lib64")).is_err());
}

#[test]
fn the_machine_id_is_kept_until_systemd_has_one() {
    let Some(scratch) = Scratch::new() else { return };
    let root = scratch.host("root");
    fs::create_dir_all(root.join("var")).unwrap();
    fs::create_dir(root.join("etc")).unwrap();
    let fd = open::root(&root).unwrap();
    assert_eq!(machine_id::state(fd.as_fd()), Ok(State::Missing));
    assert_eq!(machine_id::kept(fd.as_fd()), Ok(None));
    assert_eq!(machine_id::initialize(fd.as_fd(), Durable::Here, &Unwatched), Ok(State::Uninitialized));
    let file = root.join("etc/machine-id");
    assert_eq!(fs::read(&file).unwrap(), b"uninitialized\n");
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o444);
    let id = MachineId::from_random([9; 16]);
    machine_id::keep(fd.as_fd(), MachineId::from_random([8; 16]), Durable::Caller, &Unwatched).unwrap();
    machine_id::keep(fd.as_fd(), id, Durable::Here, &Unwatched).unwrap();
    assert_eq!(machine_id::kept(fd.as_fd()), Ok(Some(id)));
    assert_eq!(fs::read_to_string(root.join(KEPT)).unwrap(), format!("{id}\n"));
    fs::remove_file(&file).unwrap();
    fs::write(&file, format!("{id}\n")).unwrap();
    assert_eq!(machine_id::initialize(fd.as_fd(), Durable::Here, &Unwatched), Ok(State::Valid(id)));
}

/// A distribution's whole /etc.
#[test]
fn a_distributions_etc_is_copied_whole() {
    let Some(appliance) = std::env::var_os("HERMETIC_APPLIANCE").map(PathBuf::from) else {
        assert!(std::env::var_os("HERMETIC_NO_SKIP").is_none_or(|no| no != "1"), "needs HERMETIC_APPLIANCE");
        eprintln!("SKIPPED: needs HERMETIC_APPLIANCE (a Debian tree)");
        return;
    };
    let Some(scratch) = Scratch::new() else { return };
    let factory = scratch.host("usr/share/factory");
    fs::create_dir_all(&factory).unwrap();
    fs::create_dir(scratch.host("root")).unwrap();
    let copied = Command::new("cp")
        .arg("-a")
        .arg(appliance.join("usr/share/factory/etc"))
        .arg(&factory)
        .status()
        .unwrap();
    assert!(copied.success());
    let report = populate(&scratch.host("root"), &scratch.host("usr")).unwrap();
    assert_same(&factory.join("etc"), &scratch.host("root/etc"));
    eprintln!("{report:?}");
}
