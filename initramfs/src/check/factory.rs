//! A new root, furnished in a directory of its own as the boot does it, and looked at: users, their shells, links of /etc, owners of
//! what is in /usr.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, DirBuilder, DirEntry, File},
    io,
    os::{
        fd::AsFd as _,
        unix::fs::{DirBuilderExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
};

use hermetic_init::{
    config::Config,
    etc::{follow, manifest::Head},
    fragments::{Facts, facts, usr::os_release},
    furnish::{self, Identity, Request},
    level::Level,
    os_release::OsRelease,
    sysusers::Waiting,
};

use super::{report::Report, tree::UsrTree};
use crate::{clock::Clock, repart::Failure};

/// The findings of a kind that have a line; the rest is counted.
const NAMED: usize = 5;
/// The deepest directory that is looked at: file systems have no circles, but a tree may be deep.
const DEPTH: usize = 64;
/// Directories that are filled when the system runs.
const LATER: [&str; 6] = ["run", "proc", "dev", "sys", "var", "tmp"];

/// Furnishes a root in a scratch directory and reports what it lacks. `stage` is that in which the boot does it.
///
/// # Errors
/// No scratch directory.
pub fn look(
    config: &Config,
    tree: &UsrTree,
    stage: &'static str,
    report: &mut Report,
) -> Result<(), Failure> {
    if !rustix::process::geteuid().is_root() {
        report.fact(stage, "users and the factory's /etc are not looked at: that takes root");
        return Ok(());
    }
    let scratch = Scratch::new()?;
    let root = File::open(&scratch.0).map_err(|error| unread(&scratch.0, &error))?;
    let os_release = os_release(tree.usr()).ok();
    let root_hash = config.usr.verity.as_ref().map(|verity| &verity.root_hash);
    let usr = follow::identity(root_hash, os_release.as_deref());
    let identity = Identity { machine: None, head: Head { usr, strategy: config.hermetic.etc } };
    let facts = Facts {
        architecture: Some(facts::architecture(std::env::consts::ARCH).into()),
        os_release: os_release.as_deref().map(OsRelease::parse),
        ..Facts::default()
    };
    let request = Request {
        root: root.as_fd(),
        usr: tree.usr(),
        identity: &identity,
        credentials: &(),
        facts: &facts,
        now: Clock::of_machine().now(),
        waiting: Waiting::Never,
    };
    let mut made = furnish::Report::default();
    let done = furnish::create(&request, &mut made);
    for (level, message) in &made.messages {
        if *level <= Level::Warning {
            report.warn(stage, message);
        }
    }
    if let Err(error) = done {
        report.refuse(stage, error);
        return Ok(());
    }
    report.fact(
        stage,
        format!(
            "/etc of a new root: {} files of the factory, {} users and groups added",
            made.copied.files, made.users
        ),
    );
    let mut lacks = Lacks::default();
    shells(&scratch.0, tree, &mut lacks)?;
    links(&scratch.0, Path::new("/etc"), tree, 0, &mut lacks)?;
    if tree.is_mounted() {
        owners(&scratch.0, tree, &mut lacks)?;
    }
    lacks.named.into_iter().for_each(|line| report.warn(stage, line));
    if lacks.further > 0 {
        report.warn(stage, format!("{} more of such", lacks.further));
    }
    Ok(())
}

/// Lines of what a root lacks: the first ones, and the number of the further ones.
#[derive(Default)]
struct Lacks {
    named: Vec<String>,
    further: usize,
}

impl Lacks {
    fn add(&mut self, line: String) {
        if self.named.len() < NAMED {
            self.named.push(line);
        } else {
            self.further = self.further.saturating_add(1);
        }
    }
}

/// The lines of a user database, each in its fields. A database that is missing has none.
fn rows(root: &Path, name: &str) -> Result<Vec<Vec<String>>, Failure> {
    let path = root.join("etc").join(name);
    let text = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        text => text.map_err(|error| unread(&path, &error))?,
    };
    let text = String::from_utf8_lossy(&text).into_owned();
    Ok(text.lines().map(|line| line.split(':').map(str::to_owned).collect()).collect())
}

/// The entries of a directory, by name.
fn entries(directory: &Path) -> Result<Vec<DirEntry>, Failure> {
    let read = fs::read_dir(directory).and_then(Iterator::collect::<io::Result<Vec<DirEntry>>>);
    let mut entries = read.map_err(|error| unread(directory, &error))?;
    entries.sort_by_key(DirEntry::file_name);
    Ok(entries)
}

fn unread(path: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("{}: {error}", path.display()))
}

/// Shells that are not there, with their users. One that lets nobody in is not missed.
fn shells(root: &Path, tree: &UsrTree, lacks: &mut Lacks) -> Result<(), Failure> {
    let mut missing: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in rows(root, "passwd")? {
        let [name, _, _, _, _, _, shell] = row.as_slice() else { continue };
        let lets_in = !shell.is_empty() && !shell.ends_with("/nologin") && !shell.ends_with("/false");
        if lets_in && !is_there(root, tree, Path::new(shell)) {
            missing.entry(shell.clone()).or_default().push(name.clone());
        }
    }
    for (shell, users) in missing {
        let users = users.join(", ");
        lacks.add(format!("{shell} is not in this /usr, the shell of {users}: install it, or give another"));
    }
    Ok(())
}

/// Links below a directory of the root that lead nowhere.
fn links(
    root: &Path,
    directory: &Path,
    tree: &UsrTree,
    depth: usize,
    lacks: &mut Lacks,
) -> Result<(), Failure> {
    let here = root.join(directory.strip_prefix("/").unwrap_or(directory));
    for entry in entries(&here)? {
        let (path, place) = (directory.join(entry.file_name()), entry.path());
        let kind = entry.file_type().map_err(|error| unread(&place, &error))?;
        if kind.is_symlink() {
            let target = fs::read_link(&place).map_err(|error| unread(&place, &error))?;
            if !is_there(root, tree, &directory.join(&target)) {
                let (path, target) = (path.display(), target.display());
                lacks.add(format!("{path} leads to {target}, which is not there"));
            }
        } else if kind.is_dir() && depth < DEPTH {
            links(root, &path, tree, depth + 1, lacks)?;
        }
    }
    Ok(())
}

/// True when an absolute path is in /usr, in the root, or where something may come later.
fn is_there(root: &Path, tree: &UsrTree, path: &Path) -> bool {
    let mut parts: Vec<&std::ffi::OsStr> = Vec::new();
    for part in path.components() {
        match part {
            std::path::Component::Normal(name) => parts.push(name),
            std::path::Component::ParentDir => drop(parts.pop()),
            _ => {}
        }
    }
    let below = |parts: &[&std::ffi::OsStr]| parts.iter().collect::<PathBuf>();
    match parts.as_slice() {
        [first, ..] if LATER.iter().any(|later| first == later) => true,
        [first, rest @ ..] if *first == "usr" => tree.has(&below(rest)),
        // A system whose /usr is merged.
        [first, ..] if *first == "bin" || *first == "sbin" || first.to_string_lossy().starts_with("lib") => {
            tree.has(&below(&parts))
        }
        parts => root.join(below(parts)).symlink_metadata().is_ok(),
    }
}

/// Files of /usr whose owner has no name.
fn owners(root: &Path, tree: &UsrTree, lacks: &mut Lacks) -> Result<(), Failure> {
    let ids = |name| -> Result<BTreeSet<u32>, Failure> {
        Ok(rows(root, name)?.iter().filter_map(|row| row.get(2)?.parse().ok()).collect())
    };
    let (users, groups) = (ids("passwd")?, ids("group")?);
    let mut open = vec![PathBuf::new()];
    while let Some(directory) = open.pop() {
        for entry in entries(&tree.path().join(&directory))? {
            let metadata = entry.metadata().map_err(|error| unread(&entry.path(), &error))?;
            let path = directory.join(entry.file_name());
            for (what, id, known) in [("user", metadata.uid(), &users), ("group", metadata.gid(), &groups)] {
                if id != 0 && !known.contains(&id) {
                    let path = path.display();
                    let line = format!("/usr/{path} belongs to {what} {id}, which has no name");
                    lacks.add(line + ": add a line to sysusers.d");
                }
            }
            if metadata.is_dir() {
                open.push(path);
            }
        }
    }
    Ok(())
}

/// A directory that goes again.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("hermetic-check-root-{}", std::process::id()));
        // Nobody else looks into what may hold passwords. What is there already is another's, and stays.
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => Ok(Self(path)),
            Err(error) => Err(unread(&path, &error)),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("warning: {}: {error}", self.0.display());
        }
    }
}
