//! The parts that the integration tests share: the tools of Debian that they compare with, which run in the tool root
//! that the environment variable `HERMETIC_TOOLS` names, directories below that root's /tmp, the kernel of the tree
//! that `HERMETIC_APPLIANCE` names, and a small kernel tree made up for refusals.
#![allow(dead_code)]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{self, Command, Output},
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
        skip(&format!("HERMETIC_TOOLS ({name})"));
        return None;
    };
    let mut command = Command::new("chroot");
    command.arg(root).arg(path);
    Some(command)
}

/// Reports that a test needs something that is missing, or fails if `HERMETIC_NO_SKIP=1`.
pub fn skip(needs: &str) {
    assert!(env::var_os("HERMETIC_NO_SKIP").is_none_or(|no| no != "1"), "needs {needs}");
    eprintln!("SKIPPED: needs {needs}");
}

/// A private directory, removed when dropped.
pub struct Scratch {
    root: PathBuf,
    name: String,
}

impl Scratch {
    /// Makes the directory below the tool root's /tmp; None without tool root, after the same word as [`tool`].
    pub fn new(test: &str) -> Option<Self> {
        tool("true")?;
        Some(Self::below(PathBuf::from(env::var_os("HERMETIC_TOOLS")?), test))
    }

    /// Makes the directory below the /tmp of sid's tool root; None where there is none, with a word on stderr.
    pub fn of_sid(test: &str) -> Option<Self> {
        if let Some(root) = env::var_os("HERMETIC_SID_TOOLS") {
            return Some(Self::below(root.into(), test));
        }
        match env::var("HERMETIC_SID_MISSING") {
            Ok(why) => eprintln!("SKIPPED: needs HERMETIC_SID_TOOLS: {why}"),
            Err(_) => skip("HERMETIC_SID_TOOLS"),
        }
        None
    }

    /// The root that it is below.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes the directory below /tmp of the host, for tests that need no tool.
    pub fn here(test: &str) -> Self {
        Self::below(PathBuf::from("/"), test)
    }

    fn below(root: PathBuf, test: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{test}-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        fs::create_dir_all(root.join("tmp").join(&name)).unwrap();
        Self { root, name }
    }

    /// The path of a file of this directory on the host.
    pub fn host(&self, name: &str) -> PathBuf {
        self.root.join(Path::new("tmp")).join(&self.name).join(name)
    }

    /// The path of the same file for a tool.
    pub fn inside(&self, name: &str) -> String {
        format!("/tmp/{}/{name}", self.name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A remainder that cannot be removed is below /tmp of a tree made for tests.
        let _ = fs::remove_dir_all(self.host(""));
    }
}

/// A tree with one kernel of Debian: its root, the kernel's release, its image.
pub struct Appliance {
    pub root: PathBuf,
    pub release: String,
    pub kernel: PathBuf,
}

impl Appliance {
    /// The tree that `HERMETIC_APPLIANCE` names.
    pub fn find() -> Option<Self> {
        let Some(root) = env::var_os("HERMETIC_APPLIANCE").map(PathBuf::from) else {
            skip("HERMETIC_APPLIANCE (a tree with Debian's kernel)");
            return None;
        };
        let modules = root.join("usr/lib/modules");
        let release =
            fs::read_dir(modules).unwrap().next().unwrap().unwrap().file_name().into_string().unwrap();
        let kernel = root.join("boot").join(format!("vmlinuz-{release}"));
        Some(Self { root, release, kernel })
    }

    /// Its `lib/modules/RELEASE`.
    pub fn modules(&self) -> PathBuf {
        self.root.join("usr/lib/modules").join(&self.release)
    }
}

/// `hermetic initramfs`, ready for its arguments.
pub fn hermetic() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hermetic"));
    command.arg("initramfs");
    command
}

/// Runs `command` and requires success.
pub fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// A static program for the machine of Debian's amd64: as much of one as the builder looks at.
pub fn program() -> Vec<u8> {
    let mut elf = vec![0; 64];
    elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
    elf[18] = 62;
    elf[54] = 56;
    elf.extend((0..5000u32).flat_map(u32::to_le_bytes));
    elf
}

/// As much of a module for `release` as the builder looks at.
pub fn module(release: &str) -> Vec<u8> {
    let mut elf = program();
    elf.extend(format!("\0vermagic={release} SMP preempt mod_unload \0").bytes());
    elf
}

/// Links the modules of `from` below `to`, and copies depmod's files.
pub fn link(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            link(&entry.path(), &target);
        } else if fs::hard_link(entry.path(), &target).is_err()
            || target.to_string_lossy().contains("/modules.")
        {
            let _ = fs::remove_file(&target);
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}

/// Writes such a program, to be executed by all.
pub fn program_at(path: &Path) {
    fs::write(path, program()).unwrap();
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}
