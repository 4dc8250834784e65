//! What the integration tests share: the tools of Debian that they compare with, which run in the tool root that the
//! environment variable `HERMETIC_TOOLS` names, and directories below that root's /tmp.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::atomic::{AtomicU32, Ordering},
};

/// A tool of the tool root, ready for its arguments. Without the tool root, or without this tool in it, the test is
/// skipped with a word on stderr, or fails if `HERMETIC_NO_SKIP=1`.
pub fn tool(name: &str) -> Option<Command> {
    let root = env::var_os("HERMETIC_TOOLS").map(PathBuf::from);
    let places = ["usr/sbin", "usr/bin", "sbin", "bin", "usr/lib/systemd"];
    let found = root.as_ref().and_then(|root| {
        let found = places.iter().find(|place| fs::symlink_metadata(root.join(place).join(name)).is_ok())?;
        Some(format!("/{found}/{name}"))
    });
    let (Some(root), Some(path)) = (root, found) else {
        assert!(env::var_os("HERMETIC_NO_SKIP").is_none_or(|no| no != "1"), "needs HERMETIC_TOOLS ({name})");
        eprintln!("SKIPPED: needs HERMETIC_TOOLS ({name})");
        return None;
    };
    let mut command = Command::new("chroot");
    command.arg(root).arg(path);
    Some(command)
}

/// A directory of its own below the tool root's /tmp, removed when dropped.
pub struct Scratch {
    root: PathBuf,
    name: String,
}

impl Scratch {
    /// Makes the directory; None without tool root, after the same word as [`tool`].
    pub fn new(test: &str) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        tool("true")?;
        let root = PathBuf::from(env::var_os("HERMETIC_TOOLS")?);
        let name = format!("{test}-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        fs::create_dir_all(root.join("tmp").join(&name)).unwrap();
        Some(Self { root, name })
    }

    /// Where a file of this directory is for us.
    pub fn host(&self, name: &str) -> PathBuf {
        self.root.join(Path::new("tmp")).join(&self.name).join(name)
    }

    /// Where the same file is for a tool.
    pub fn inside(&self, name: &str) -> String {
        format!("/tmp/{}/{name}", self.name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is below /tmp of a tree made for tests.
        let _ = fs::remove_dir_all(self.host(""));
    }
}
