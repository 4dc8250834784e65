//! The parts that integration tests share: the real tools, run from the tool root, and a directory for files that both
//! sides see.
#![allow(dead_code)]

pub mod power;

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

/// The root of the tree with the real tools; None (and a loud word) when HERMETIC_TOOLS does not say where it is.
fn root(what: &str) -> Option<PathBuf> {
    if let Some(root) = std::env::var_os("HERMETIC_TOOLS") {
        return Some(root.into());
    }
    assert!(std::env::var_os("HERMETIC_NO_SKIP").is_none_or(|no| no != "1"), "needs HERMETIC_TOOLS ({what})");
    eprintln!("SKIPPED: needs HERMETIC_TOOLS ({what})");
    None
}

/// The root of the tree with Debian sid's tools; None (and a loud word) where there is none, or where HERMETIC_SID_MISSING says why
/// this machine cannot have one.
fn sid(what: &str) -> Option<PathBuf> {
    if let Some(root) = std::env::var_os("HERMETIC_SID_TOOLS") {
        return Some(root.into());
    }
    let why = std::env::var("HERMETIC_SID_MISSING");
    let is_demanded = std::env::var_os("HERMETIC_NO_SKIP").is_some_and(|no| no == "1");
    assert!(why.is_ok() || !is_demanded, "needs HERMETIC_SID_TOOLS ({what})");
    eprintln!("SKIPPED: needs HERMETIC_SID_TOOLS ({what}): {}", why.unwrap_or_default());
    None
}

/// A command that runs `name` from the tool root, or None when there is no tool root. Arguments follow; files are named
/// as [`Scratch::inside`] says.
pub fn tool(name: &str) -> Option<Command> {
    Some(tool_of(&root(name)?, name))
}

/// A command that runs `name` from this tool root.
fn tool_of(root: &Path, name: &str) -> Command {
    let path = ["usr/sbin", "usr/bin", "usr/lib/systemd"]
        .iter()
        .map(|dir| Path::new("/").join(dir).join(name))
        .find(|path| root.join(path.strip_prefix("/").unwrap()).exists())
        .unwrap_or_else(|| panic!("{name} is not in the tool root {}", root.display()));
    let mut command = Command::new("chroot");
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C");
    command.arg(root).arg(path);
    command
}

/// The same command for a tool that reads the list of mounts: it gets a /proc, in its own mount namespace.
pub fn with_proc(tool: &Command) -> Command {
    let script = r#"mount -t proc proc "$HERMETIC_TOOLS/proc" && exec "$@""#;
    let mut command = Command::new("unshare");
    command.env("LC_ALL", "C");
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(tool.get_program()).args(tool.get_args());
    command
}

/// A directory below the tool root's /tmp, removed at the end.
pub struct Scratch {
    root: PathBuf,
    name: String,
}

impl Scratch {
    /// Makes a new one; None without a tool root.
    pub fn new() -> Option<Self> {
        root("scratch directory").map(Self::below)
    }

    /// Makes a new one in the tool root of sid; None where there is none.
    pub fn of_sid() -> Option<Self> {
        sid("scratch directory").map(Self::below)
    }

    fn below(root: PathBuf) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let scratch = Self { root, name: format!("hermetic-{}-{count}", std::process::id()) };
        std::fs::create_dir_all(scratch.host("")).unwrap();
        scratch
    }

    /// A command that runs `name` from the tool root that this is in.
    pub fn tool(&self, name: &str) -> Command {
        tool_of(&self.root, name)
    }

    /// The same with its own /proc, for a tool that reads the list of mounts or starts others.
    pub fn tool_with_proc(&self, name: &str) -> Command {
        let script = "mount -t proc proc \"$0/proc\" && exec chroot \"$0\" \"$@\"";
        let mut command = Command::new("unshare");
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C");
        command.args(["--mount", "sh", "-c", script]).arg(&self.root).arg(name);
        command
    }

    /// The /usr of its tools.
    pub fn usr(&self) -> PathBuf {
        self.root.join("usr")
    }

    /// A file's path for us.
    pub fn host(&self, name: &str) -> PathBuf {
        self.root.join("tmp").join(&self.name).join(name)
    }

    /// The same file's path for a tool.
    pub fn inside(&self, name: &str) -> String {
        format!("/tmp/{}/{name}", self.name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _gone_with_the_next_boot_at_the_latest = std::fs::remove_dir_all(self.host(""));
    }
}
