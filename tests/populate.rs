//! Populating against systemd-repart 257: the same definition and the same image give the same tree.

mod common;

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::Write as _,
    os::{
        fd::AsFd as _,
        unix::{
            ffi::OsStrExt as _,
            fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, chown, lchown, symlink},
        },
    },
    path::{Path, PathBuf},
    process::Command,
};

use common::Scratch;
use hermetic_init::populate::{Content, CopyFiles, PopulateError, Symlink, populate};
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, mknodat, utimensat};

/// The time of everything in the source.
const OLD: i64 = 1_234_567_890;

/// The definition whose content is compared.
const DEFINITION: &str = "[Partition]
Type=root
Format=ext4
SizeMinBytes=64M
CopyFiles=/first:/
CopyFiles=/second:/
CopyFiles=/second/deep:/made/on/the/way
CopyFiles=/first/etc/plain:/srv/renamed
CopyFiles=/not/there:/somewhere
CopyFiles=/first/gone:/gone/too
ExcludeFiles=/first/gone /first/hollow/
ExcludeFilesTarget=/second-only/left-out /merged/left-out/
MakeDirectories=/a/b /etc
MakeSymlinks=/a/link:../b
";

/// The same as a value.
struct Asked {
    copy_files: Vec<CopyFiles>,
    exclude_files: Vec<String>,
    exclude_files_target: Vec<String>,
    make_directories: Vec<String>,
    make_symlinks: Vec<Symlink>,
}

fn asked() -> Asked {
    let copy = |source: &str, target: &str| CopyFiles {
        source: source.into(),
        target: target.into(),
        fs_verity: false,
    };
    let words = |words: &str| words.split(' ').map(str::to_owned).collect();
    Asked {
        copy_files: vec![
            copy("/first", "/"),
            copy("/second", "/"),
            copy("/second/deep", "/made/on/the/way"),
            copy("/first/etc/plain", "/srv/renamed"),
            copy("/not/there", "/somewhere"),
            copy("/first/gone", "/gone/too"),
        ],
        exclude_files: words("/first/gone /first/hollow/"),
        exclude_files_target: words("/second-only/left-out /merged/left-out/"),
        make_directories: words("/a/b /etc"),
        make_symlinks: vec![Symlink { path: "/a/link".into(), target: "../b".into() }],
    }
}

impl Asked {
    fn content(&self) -> Content<'_> {
        Content {
            copy_files: &self.copy_files,
            exclude_files: &self.exclude_files,
            exclude_files_target: &self.exclude_files_target,
            make_directories: &self.make_directories,
            make_symlinks: &self.make_symlinks,
            root_of: Some(&["/home"]),
            epoch: None,
        }
    }
}

/// A tree with one of everything that a file system holds.
fn make_source(top: &Path) {
    let file = |path: &str, content: &[u8], mode: u32| {
        let path = top.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    file("first/etc/plain", b"plain\n", 0o640);
    file("first/etc/suid", b"x", 0o4755);
    file("first/empty", b"", 0o600);
    file("first/hollow/inside", b"x", 0o644);
    file("first/gone/inside", b"x", 0o644);
    file("first/merged/one", b"first", 0o644);
    file("first/merged/left-out/inside", b"x", 0o644);
    file("first/home/user/file", b"x", 0o644);
    file("first/proc/version", b"x", 0o644);
    file("first/var/tmp/file", b"x", 0o644);
    file("first/usr/tmp/file", b"kept: only the one at the top goes", 0o644);
    file("second/merged/one", b"second, too late", 0o600);
    file("second/merged/two", b"second", 0o600);
    file("second/second-only/left-out/x", b"x", 0o644);
    file("second/second-only/stays", b"x", 0o644);
    file("second/deep/1/2/3/4/5/file", &[7; 300_000], 0o444);
    // A name that is invalid UTF-8, as tar archives have them.
    let odd = std::ffi::OsStr::from_bytes(b"first/n\xe4me");
    fs::write(top.join(odd), "odd").unwrap();

    let sparse = File::create(top.join("first/sparse")).unwrap();
    sparse.write_all_at(b"start", 0).unwrap();
    sparse.write_all_at(b"end", (3 << 20) + 77).unwrap();
    sparse.set_len(4 << 20).unwrap();
    fs::hard_link(top.join("first/etc/plain"), top.join("first/etc/again")).unwrap();
    fs::hard_link(top.join("first/etc/plain"), top.join("first/other-name")).unwrap();
    symlink("../etc/plain", top.join("first/merged/link")).unwrap();
    symlink("/nowhere", top.join("first/dangling")).unwrap();
    mknodat(CWD, top.join("first/fifo"), FileType::Fifo, Mode::from_raw_mode(0o620), 0).unwrap();
    let null = rustix::fs::makedev(1, 3);
    mknodat(CWD, top.join("first/null"), FileType::CharacterDevice, Mode::from_raw_mode(0o666), null)
        .unwrap();

    let set = |path: &str, name: &str, value: &[u8]| {
        rustix::fs::lsetxattr(top.join(path), name, value, XattrFlags::empty()).unwrap();
    };
    set("first/etc/plain", "user.colour", b"blue");
    set("first/merged", "user.empty", b"");
    set("first/merged/link", "trusted.link", b"yes");
    // CAP_NET_RAW, permitted and effective (struct vfs_ns_cap_data, version 2).
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    set("first/etc/suid", "security.capability", &capability);

    chown(top.join("first/merged"), Some(123), Some(456)).unwrap();
    lchown(top.join("first/merged/link"), Some(7), Some(8)).unwrap();
    chown(top.join("first/etc/plain"), Some(1000), Some(1001)).unwrap();
    for (path, mode) in [("first", 0o751), ("first/merged", 0o2770), ("first/var/tmp", 0o1777)] {
        fs::set_permissions(top.join(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    age(top);
}

/// Sets the times of a whole tree, from the leaves up.
fn age(path: &Path) {
    if path.symlink_metadata().unwrap().is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| age(&entry.unwrap().path()));
    }
    let time = Timespec { tv_sec: OLD, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Everything below `top`, by path, as text: what two trees must have in common.
fn listed(top: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut names: BTreeMap<u64, PathBuf> = BTreeMap::new();
    list(top, Path::new("/"), &mut all, &mut names);
    all
}

fn list(top: &Path, path: &Path, all: &mut BTreeMap<PathBuf, String>, names: &mut BTreeMap<u64, PathBuf>) {
    let real = top.join(path.strip_prefix("/").unwrap());
    let stat = real.symlink_metadata().unwrap();
    let kind = FileType::from_raw_mode(stat.mode());
    // A file that was made a moment ago has an unpredictable time.
    let time = if stat.mtime() == OLD { stat.mtime_nsec().to_string() } else { "now".to_owned() };
    let mut said = format!("{kind:?} {:o} {}:{} {time}", stat.mode() & 0o7777, stat.uid(), stat.gid());
    match kind {
        FileType::RegularFile => {
            let content = fs::read(&real).unwrap();
            let sum = content.iter().fold(0u64, |sum, &byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
            said += &format!(" {} bytes {sum:x}", content.len());
            if stat.nlink() > 1 {
                let first = names.entry(stat.ino()).or_insert_with(|| path.to_owned());
                said += &format!(" of {} names, the first is {}", stat.nlink(), first.display());
            }
        }
        FileType::Symlink => said += &format!(" to {}", fs::read_link(&real).unwrap().display()),
        FileType::CharacterDevice | FileType::BlockDevice => said += &format!(" {:x}", stat.rdev()),
        _ => {}
    }
    let mut buffer = vec![0; 65536];
    let length = rustix::fs::llistxattr(&real, &mut buffer[..]).unwrap();
    let mut attributes: Vec<String> = buffer[..length]
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut value = vec![0; 4096];
            let length = rustix::fs::lgetxattr(&real, name, &mut value[..]).unwrap();
            format!(" {}={:?}", String::from_utf8_lossy(name), &value[..length])
        })
        .collect();
    attributes.sort();
    said += &attributes.concat();
    all.insert(path.to_owned(), said);
    if kind == FileType::Directory {
        let mut entries: Vec<_> =
            fs::read_dir(&real).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        entries.sort();
        for name in entries.iter().filter(|name| *name != "lost+found") {
            list(top, &path.join(name), all, names);
        }
    }
}

/// A file system of an image, mounted as long as the value lives.
struct Mounted(PathBuf);

impl Mounted {
    fn new(image: &Path, offset: u64, length: u64, at: PathBuf) -> Option<Self> {
        fs::create_dir(&at).unwrap();
        let options = format!("loop,ro,noload,offset={offset},sizelimit={length}");
        let mounted = Command::new("mount").args(["-o", &options]).arg(image).arg(&at).output().unwrap();
        if mounted.status.success() {
            return Some(Self(at));
        }
        assert!(std::env::var_os("HERMETIC_NO_SKIP").is_none_or(|no| no != "1"), "{mounted:?}");
        eprintln!("SKIPPED: needs loop devices ({mounted:?})");
        None
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _stays_in_the_list_of_mounts = Command::new("umount").arg(&self.0).status();
    }
}

/// systemd-repart, with its own /proc in the tool root.
fn repart(scratch: &Scratch) -> serde_json::Value {
    let root = std::env::var("HERMETIC_TOOLS").unwrap();
    let mut command = Command::new("unshare");
    let script = "mount -t proc proc \"$0/proc\" && exec chroot \"$0\" \"$@\"";
    command.args(["--mount", "sh", "-c", script, &root]);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C");
    command.args(["systemd-repart", "--offline=yes", "--empty=create", "--size=256M", "--dry-run=no"]);
    command.args(["--json=short", "--no-pager", "--seed=11111111222233334444555555555555"]);
    command.arg(format!("--definitions={}", scratch.inside("definitions")));
    command.arg(format!("--copy-source={}", scratch.inside("source")));
    let output = command.arg(scratch.inside("disk")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_tree_is_what_systemd_repart_makes_of_it() {
    let Some(scratch) = Scratch::new() else { return };
    make_source(&scratch.host("source"));
    fs::create_dir(scratch.host("definitions")).unwrap();
    fs::write(scratch.host("definitions/50-root.conf"), DEFINITION).unwrap();
    // Another partition of the image: what root has at its mount point does not come along.
    let home = "[Partition]\nType=home\nFormat=ext4\nSizeMinBytes=32M\nSizeMaxBytes=32M\n";
    fs::write(scratch.host("definitions/60-home.conf"), home).unwrap();
    let table = repart(&scratch);
    let number = |field: &str| table[0][field].as_u64().unwrap();
    let (offset, length) = (number("offset"), number("raw_size"));
    let Some(theirs) = Mounted::new(&scratch.host("disk"), offset, length, scratch.host("theirs")) else {
        return;
    };

    fs::create_dir(scratch.host("ours")).unwrap();
    let (ours, source) =
        (File::open(scratch.host("ours")).unwrap(), File::open(scratch.host("source")).unwrap());
    let asked = asked();
    let report = populate(ours.as_fd(), source.as_fd(), &asked.content()).unwrap();
    assert_eq!(report.missing, ["/not/there"]);
    assert_eq!((report.hard_links, report.specials, report.skipped.len()), (2, 2, 0));
    assert!(report.bytes < 1 << 20, "holes were copied: {report:?}");

    let (mut ours, mut theirs) = (listed(&scratch.host("ours")), listed(&theirs.0));
    // Here systemd-repart fills the file system by mke2fs, which makes the top directory itself; where it mounts, it
    // does the same as here (src/repart/repart.c, do_copy_files).
    theirs.remove(Path::new("/"));
    assert_eq!(ours.remove(Path::new("/")).unwrap(), "Directory 751 0:0 now");
    let only = |a: &BTreeMap<PathBuf, String>, b: &BTreeMap<PathBuf, String>| -> Vec<String> {
        let differs = a.iter().filter(|(path, said)| b.get(*path) != Some(said));
        differs.map(|(path, said)| format!("{}: {said}", path.display())).collect()
    };
    let (a, b) = (only(&ours, &theirs), only(&theirs, &ours));
    assert!(a.is_empty() && b.is_empty(), "ours alone:\n{}\ntheirs alone:\n{}", a.join("\n"), b.join("\n"));
    assert!(ours.len() > 40, "{ours:?}");
}

/// A directory for a test that needs no tools.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let place =
            Self(std::env::temp_dir().join(format!("hermetic-populate-{}-{name}", std::process::id())));
        fs::create_dir_all(place.0.join("source")).unwrap();
        fs::create_dir_all(place.0.join("target")).unwrap();
        place
    }

    fn populate(&self, copies: &[(&str, &str)]) -> Result<(), PopulateError> {
        let copy_files: Vec<CopyFiles> = copies
            .iter()
            .map(|(source, target)| CopyFiles {
                source: (*source).into(),
                target: (*target).into(),
                fs_verity: false,
            })
            .collect();
        let (target, source) =
            (File::open(self.0.join("target")).unwrap(), File::open(self.0.join("source")).unwrap());
        let content = Content { copy_files: &copy_files, ..Content::default() };
        populate(target.as_fd(), source.as_fd(), &content).map(drop)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _gone_with_the_next_boot_at_the_latest = fs::remove_dir_all(&self.0);
    }
}

/// Links in the image point where they please: neither reading nor writing leaves the two trees.
#[test]
fn links_lead_out_of_neither_tree() {
    let place = Place::new("links");
    let outside = place.0.join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    fs::write(place.0.join("source/file"), "file").unwrap();
    symlink(&outside, place.0.join("source/out")).unwrap();
    symlink("../../../../../..", place.0.join("source/up")).unwrap();
    symlink(&outside, place.0.join("target/out")).unwrap();
    symlink("../outside", place.0.join("target/beside")).unwrap();

    // Read through a link that leads out: there is no such path inside of the tree.
    place.populate(&[("/out/secret", "/taken")]).unwrap();
    assert!(!place.0.join("target/taken").exists());
    // From inside of the tree, the way up ends at its top.
    place.populate(&[("/up/file", "/up-file")]).unwrap();
    assert_eq!(fs::read_to_string(place.0.join("target/up-file")).unwrap(), "file");
    // Written through links that lead out: refused, and nothing is there.
    for target in ["/out/file", "/beside/file"] {
        let error = place.populate(&[("/file", target)]).unwrap_err();
        assert!(matches!(error, PopulateError::Call { .. }), "{error}");
    }
    fs::create_dir(place.0.join("source/beside")).unwrap();
    fs::write(place.0.join("source/beside/new"), "new").unwrap();
    // A directory over a link: refused as well, as systemd does.
    let error = place.populate(&[("/", "/")]).unwrap_err();
    assert!(error.to_string().starts_with("cannot open directory /beside of the new file system"), "{error}");
    let mut there: Vec<_> = fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    there.sort();
    assert_eq!(there, ["secret"]);
}

#[test]
fn what_cannot_be_copied_says_why() {
    let place = Place::new("errors");
    fs::write(place.0.join("source/file"), "file").unwrap();
    let mut there = OpenOptions::new().create(true).append(true).open(place.0.join("target/there")).unwrap();
    there.write_all(b"mine").unwrap();
    mknodat(CWD, place.0.join("source/fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    for (source, target, expected) in [
        ("/file", "/", "CopyFiles=/file:/ copies a file to a directory: name the file in the target as well"),
        ("/fifo", "/x", "CopyFiles=/fifo is neither a file nor a directory: name its directory"),
        (
            "/file",
            "/there",
            "cannot create /there of the new file system: File exists (os error 17): check CopyFiles= and the links in its way",
        ),
        (
            "/file/below",
            "/x",
            "cannot open /file/below of the image: Not a directory (os error 20): check CopyFiles= and the image",
        ),
    ] {
        assert_eq!(place.populate(&[(source, target)]).unwrap_err().to_string(), expected);
    }
    assert_eq!(fs::read_to_string(place.0.join("target/there")).unwrap(), "mine");
}
