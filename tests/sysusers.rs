//! The behaviour of the engine beyond the tool that it mirrors (`initramfs/tests/sysusers` compares both): links are
//! not followed out of the root, a line that is not understood stays, comments survive, and /usr may be mounted
//! elsewhere.

mod common;

use std::{
    collections::BTreeMap,
    fs,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    },
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use common::Scratch;
use hermetic_init::{
    durable::Durable,
    sysusers::{Facts, Options, Report, SysusersError, Waiting, add},
    tree::{Tree, open, watch::Unwatched},
};

const OPTIONS: Options<'_> = Options {
    credentials: &(),
    service: &(),
    today: 20_000,
    durable: Durable::Here,
    waiting: Waiting::UntilFree,
    watch: &Unwatched,
    dry_run: false,
};

/// Lays a root out: path and content. Content `->X` is a link to X, `@UID:GID` an empty file of that owner.
fn lay(root: &Path, files: &[(&str, &str)]) {
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

/// The databases and their backups: content and mode.
fn databases(root: &Path) -> BTreeMap<String, (String, u32)> {
    let entries = fs::read_dir(root.join("etc")).unwrap().map(|entry| entry.unwrap());
    let files = entries.filter(|entry| entry.file_type().unwrap().is_file()).map(|entry| {
        let content = fs::read_to_string(entry.path()).unwrap();
        (entry.file_name().into_string().unwrap(), (content, entry.metadata().unwrap().mode() & 0o7777))
    });
    files.collect()
}

fn ours(root: &Path) -> Result<Report, SysusersError> {
    let directory = open::root(root).unwrap();
    add(Tree::whole(directory.as_fd()), &Facts::default(), OPTIONS)
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
    let error = ours(&scratch.host("file")).unwrap_err();
    assert!(error.to_string().contains("/etc/passwd"), "{error}");
    lay(&scratch.host("lock"), &[lines, ("etc/.pwd.lock", to_outside.as_str())]);
    ours(&scratch.host("lock")).unwrap_err();
    fs::create_dir_all(scratch.host("dir/usr/lib/sysusers.d")).unwrap();
    fs::write(scratch.host("dir").join(lines.0), lines.1).unwrap();
    symlink(&outside, scratch.host("dir/etc")).unwrap();
    ours(&scratch.host("dir")).unwrap_err();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(outside.join("passwd")).unwrap(), "root:x:0:0::/:/bin/sh\n");
}

#[test]
fn a_line_that_is_not_understood_stays_as_it_is() {
    let Some(scratch) = Scratch::new() else { return };
    for (number, (file, content, line)) in [
        ("passwd", "root:x:0:0::/:\nbroken\n", 2),
        ("group", "a:x:b:\n", 1),
        ("shadow", "a\n", 1),
        ("gshadow", ":x\n", 1),
    ]
    .into_iter()
    .enumerate()
    {
        let root = scratch.host(&number.to_string());
        lay(&root, &[("usr/lib/sysusers.d/a.conf", "u a -\n"), (&format!("etc/{file}"), content)]);
        let report = ours(&root).unwrap();
        let said: Vec<String> = report.messages.iter().map(ToString::to_string).collect();
        assert!(said[0].starts_with(&format!("/etc/{file}:{line}: ")), "{said:?}");
        let now = fs::read_to_string(root.join("etc").join(file)).unwrap();
        let added = now.strip_prefix(content).unwrap();
        assert!(added.starts_with("a:") && added.lines().count() == 1, "{now}");
    }
}

#[test]
fn comments_survive_and_a_second_run_changes_nothing() {
    let Some(scratch) = Scratch::new() else { return };
    let root = scratch.host("r");
    let passwd = "# mine\nroot:x:00:0::/:/bin/sh\n\n";
    lay(&root, &[("usr/lib/sysusers.d/a.conf", "u a -\nm a b\n"), ("etc/passwd", passwd)]);
    fs::set_permissions(root.join("etc/passwd"), fs::Permissions::from_mode(0o600)).unwrap();
    ours(&root).unwrap();
    let first = databases(&root);
    assert_eq!(first["passwd"].0, format!("{passwd}a:x:998:998::/:/usr/sbin/nologin\n"));
    assert_eq!((first["passwd"].1, first["passwd-"].1), (0o600, 0o600));
    let inode = fs::metadata(root.join("etc/passwd")).unwrap().ino();
    let report = ours(&root).unwrap();
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
    let (root, usr) = (open::root(&scratch.host("r")).unwrap(), open::root(&scratch.host("v/usr")).unwrap());
    let tree = Tree { root: root.as_fd(), usr: usr.as_fd() };
    add(tree, &Facts::default(), OPTIONS).unwrap();
    let passwd = fs::read_to_string(scratch.host("r/etc/passwd")).unwrap();
    assert_eq!(passwd, "root:x:0:0::/:/bin/bash\na:x:600:999::/:/usr/sbin/nologin\n");
    assert_eq!(fs::read_to_string(scratch.host("r/etc/group")).unwrap(), "b:x:700:\nroot:x:0:\na:x:999:\n");
}

/// The variable that names the file that [`held_by_another_process`] locks.
const HELD: &str = "HERMETIC_TEST_HELD";

/// No test by itself: the other program that has the lock, until its stdin ends.
#[test]
fn held_by_another_process() {
    let Some(path) = std::env::var_os(HELD) else { return };
    let file = fs::File::options().write(true).create(true).truncate(false).open(path).unwrap();
    rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
    fs::write(std::env::var_os("HERMETIC_TEST_TELL").unwrap(), "").unwrap();
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

/// Starts that program, and returns once it has the lock of `root`.
fn holder(root: &Path) -> Child {
    let fifo = root.join("tell");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "held_by_another_process"]).stdin(Stdio::piped()).stdout(Stdio::null());
    child.env(HELD, root.join("etc/.pwd.lock")).env("HERMETIC_TEST_TELL", &fifo);
    let child = child.spawn().unwrap();
    // Ends when the other side has written and closed it.
    fs::read(&fifo).unwrap();
    fs::remove_file(&fifo).unwrap();
    child
}

/// Adds the users of `root` in a thread of its own, so that a call that waits for ever is seen.
fn beside(root: &Path, waiting: Waiting) -> Receiver<Result<Report, SysusersError>> {
    let directory: OwnedFd = open::root(root).unwrap();
    let (done, report) = channel();
    thread::spawn(move || {
        let options = Options { waiting, ..OPTIONS };
        let result = add(Tree::whole(directory.as_fd()), &Facts::default(), options);
        // Nobody listens when the test has failed meanwhile.
        let _ = done.send(result);
    });
    report
}

/// Far longer than the work takes.
const SOON: Duration = Duration::from_secs(30);

fn added(report: &Report) -> Vec<&str> {
    report.users.iter().map(|(name, ..)| name.as_str()).collect()
}

#[test]
fn pid_1_does_not_wait_for_the_lock_and_the_tools_do() {
    let Some(scratch) = Scratch::new() else { return };
    let root = scratch.host("root");
    lay(&root, &[("usr/lib/sysusers.d/a.conf", "u a -\n")]);
    let mut other = holder(&root);
    let tool = beside(&root, Waiting::UntilFree);
    // The premise: somebody who waits gets nowhere.
    tool.recv_timeout(Duration::from_millis(300)).unwrap_err();
    let report = beside(&root, Waiting::Never).recv_timeout(SOON).expect("waits for the lock").unwrap();
    assert_eq!(added(&report), ["a"]);
    let messages: Vec<String> = report.messages.iter().map(ToString::to_string).collect();
    let warned = |message: &String| message.contains("another program changes users right now");
    assert!(messages.iter().any(warned), "{messages:?}");
    drop(other.stdin.take());
    assert!(other.wait().unwrap().success());
    let report = tool.recv_timeout(SOON).expect("waits for a lock that is free").unwrap();
    assert_eq!(added(&report), [""; 0]);
}

/// Something that is no lock takes the place of the lock: a tool fails and says so, PID 1 goes on without.
fn stops_nobody(name: &str, put: fn(&Path)) {
    let Some(scratch) = Scratch::new() else { return };
    let root = scratch.host(name);
    lay(&root, &[("usr/lib/sysusers.d/a.conf", "u a -\n")]);
    put(&root.join("etc/.pwd.lock"));
    let tool = beside(&root, Waiting::UntilFree).recv_timeout(SOON).expect(name);
    let error = tool.unwrap_err().to_string();
    assert!(error.contains("/etc/.pwd.lock"), "{name}: {error}");
    let report = beside(&root, Waiting::Never).recv_timeout(SOON).expect(name).unwrap();
    assert_eq!(added(&report), ["a"], "{name}");
    let warned = report.messages.iter().any(|message| message.to_string().contains("/etc/.pwd.lock"));
    assert!(warned, "{name}: {:?}", report.messages);
}

#[test]
fn a_fifo_at_etc_pwd_lock_stops_nobody() {
    stops_nobody("fifo", |path| {
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    });
}

#[test]
fn a_directory_at_etc_pwd_lock_stops_nobody() {
    stops_nobody("directory", |path| fs::create_dir(path).unwrap());
}

#[test]
fn a_link_at_etc_pwd_lock_stops_nobody() {
    stops_nobody("link", |path| symlink("passwd", path).unwrap());
}
