//! Running the real tools: they live in a tree of their own, named by `HERMETIC_TOOLS`, and run below chroot.
#![allow(dead_code)]

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

/// The tool root, if there is one.
fn root() -> Option<PathBuf> {
    std::env::var_os("HERMETIC_TOOLS").map(PathBuf::from)
}

/// A command that runs a tool from the tool root; its arguments and its paths are as seen from there. None, after saying so,
/// when the tool is not to be had; with `HERMETIC_NO_SKIP=1` that is a failure.
pub fn tool(name: &str) -> Option<Command> {
    let found = root().and_then(|root| {
        let path = ["/usr/sbin", "/usr/bin"].iter().map(|bin| format!("{bin}/{name}"));
        path.into_iter()
            .find(|path| root.join(path.trim_start_matches('/')).exists())
            .map(|path| (root, path))
    });
    let Some((root, path)) = found else {
        eprintln!("SKIPPED: needs HERMETIC_TOOLS ({name})");
        assert!(std::env::var_os("HERMETIC_NO_SKIP").is_none_or(|value| value != "1"), "skipped: {name}");
        return None;
    };
    let mut command = Command::new("chroot");
    command.arg(root).arg(path);
    Some(command)
}

/// A directory of the tool root's /tmp that both sides see; removed on drop.
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new one; without a tool root it lies in the host's own temporary directory.
    pub fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let unique = format!("{name}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = root().map_or_else(std::env::temp_dir, |root| root.join("tmp")).join(unique);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// Where a file of this directory is, for this process.
    pub fn host(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Where a file of this directory is, for a tool.
    pub fn inside(&self, name: &str) -> String {
        Path::new("/tmp").join(self.0.file_name().unwrap()).join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
