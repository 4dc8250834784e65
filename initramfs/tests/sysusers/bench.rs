//! Two copies of one root, and the question whether both tools made the same of them.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::Path,
    process::{Command, Output, Stdio},
};

use crate::common::{Scratch, tool};

/// 20,000 days and some seconds: the date of new entries in shadow.
const EPOCH: &str = "1728000007";
const DATABASES: [&str; 9] =
    ["passwd", "group", "shadow", "gshadow", "passwd-", "group-", "shadow-", "gshadow-", ".pwd.lock"];

/// A root as a list of files: path and content. Content `->X` is a link to X, `@UID:GID` an empty file of that owner.
pub type Files<'a> = [(&'a str, &'a str)];

/// The input of both besides the root.
#[derive(Clone, Copy, Default)]
pub struct Given<'a> {
    /// Words behind `--root=`.
    pub words: &'a [&'a str],
    pub stdin: &'a str,
    pub credentials: &'a [(&'a str, &'a str)],
    /// More of the environment.
    pub environment: &'a [(&'a str, &'a str)],
}

/// The result of one of them.
pub struct Done {
    pub status: Option<i32>,
    pub out: String,
    pub err: String,
    databases: BTreeMap<&'static str, (String, u32, u32, u32)>,
}

/// Lays a root out.
pub fn lay(root: &Path, files: &Files<'_>) {
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

/// The databases: content, mode, owner.
fn databases(root: &Path) -> BTreeMap<&'static str, (String, u32, u32, u32)> {
    let mut found = BTreeMap::new();
    let others: Vec<_> = fs::read_dir(root.join("etc"))
        .map(|entries| entries.map(|entry| entry.unwrap().file_name()).collect())
        .unwrap_or_default();
    assert!(!others.iter().any(|name| name.to_string_lossy().starts_with(".#")), "left behind: {others:?}");
    for name in DATABASES {
        let path = root.join("etc").join(name);
        let Ok(stat) = fs::symlink_metadata(&path) else { continue };
        let content = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
        found.insert(name, (content, stat.mode() & 0o7777, stat.uid(), stat.gid()));
    }
    found
}

/// The tool with /proc mounted for it alone: without, it knows neither boot id nor os-release.
pub fn with_proc(tool: &Command) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", "mount -t proc proc \"$1/proc\" && exec chroot \"$@\"", "sh"]);
    command.args(tool.get_args());
    command
}

/// `hermetic sysusers`, ready for its words.
pub fn hermetic() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hermetic"));
    command.arg("sysusers");
    command
}

fn run(mut command: Command, given: Given<'_>, root: &str, credentials: &str) -> Output {
    command.arg(format!("--root={root}")).args(given.words);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("SOURCE_DATE_EPOCH", EPOCH).envs(given.environment.iter().copied());
    if !given.credentials.is_empty() {
        command.env("CREDENTIALS_DIRECTORY", credentials);
    }
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A child that does not read its words is not at fault.
    let _ = child.stdin.take().unwrap().write_all(given.stdin.as_bytes());
    child.wait_with_output().unwrap()
}

/// Runs both on a root of these files. None without the tool.
pub fn both(files: &Files<'_>, given: Given<'_>) -> Option<[Done; 2]> {
    let theirs = with_proc(&tool("systemd-sysusers")?);
    let scratch = Scratch::new("sysusers")?;
    for name in ["tool", "ours"] {
        lay(&scratch.host(name), files);
    }
    fs::create_dir(scratch.host("credentials")).unwrap();
    for (name, value) in given.credentials {
        fs::write(scratch.host("credentials").join(name), value).unwrap();
    }
    let done = |output: Output, name: &str, root: &str| {
        let plain = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(root, "ROOT");
        Done {
            status: output.status.code(),
            out: plain(&output.stdout),
            err: plain(&output.stderr),
            databases: databases(&scratch.host(name)),
        }
    };
    let root = scratch.inside("tool");
    let theirs = run(theirs, given, &root, &scratch.inside("credentials"));
    let theirs = done(theirs, "tool", &root);
    let root = scratch.host("ours").display().to_string();
    let ours = run(hermetic(), given, &root, &scratch.host("credentials").display().to_string());
    Some([theirs, done(ours, "ours", &root)])
}

/// Requires the same databases, words and end of both.
pub fn compare(name: &str, files: &Files<'_>, given: Given<'_>) -> Option<[Done; 2]> {
    let [theirs, ours] = both(files, given)?;
    compare_databases(name, &theirs, &ours);
    assert_eq!(theirs.err, ours.err, "{name}: what was said: left the tool, right us");
    assert_eq!(theirs.out, ours.out, "{name}: what was printed: left the tool, right us");
    assert_eq!(theirs.status, ours.status, "{name}: how it ended: left the tool, right us\n{}", ours.err);
    Some([theirs, ours])
}

/// Requires the same databases.
pub fn compare_databases(name: &str, theirs: &Done, ours: &Done) {
    for file in DATABASES {
        let (theirs_file, ours_file) = (theirs.databases.get(file), ours.databases.get(file));
        assert_eq!(
            theirs_file, ours_file,
            "{name}: {file}: left the tool, right us\n{}\n{}",
            theirs.err, ours.err
        );
    }
}

impl Done {
    /// The content of a database.
    pub fn database(&self, name: &str) -> &str {
        self.databases.get(name).map_or("", |(content, ..)| content)
    }
}

/// Makes a file that everybody may execute.
pub fn executable(path: &Path, content: &str) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}
