//! The tool root: a Debian tree with every tool that the proof runs or compares with, in known versions. That of sid has
//! the newest of what is compared with; machines run by the first one's QEMU.
//!
//! Its tools run on the host's files with the tree's own loader and libraries, so that the host's release does not
//! matter; integration tests get [`ToolRoot::path`] as `HERMETIC_TOOLS`, and run tools in it by chroot.

use crate::cache::{Cache, Key};
use crate::debian::{Suite, Tree};
use crate::progress;
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The tools of both trees.
const BOTH: [&str; 31] = [
    "acl",
    "attr",
    "btrfs-progs",
    "cpio",
    "cryptsetup-bin",
    "dmsetup",
    "dosfstools",
    "e2fsprogs",
    "erofs-utils",
    "fdisk",
    "kmod",
    "libtss2-esys-3.0.2-0t64",
    "libtss2-mu-4.0.1-0t64",
    "libtss2-rc0t64",
    "libtss2-tcti-swtpm0t64",
    "mtools",
    "openssl",
    "policycoreutils",
    "python3",
    "squashfs-tools",
    "strace",
    "swtpm",
    "systemd",
    "systemd-boot-efi",
    "systemd-boot-tools",
    "systemd-cryptsetup",
    "systemd-repart",
    "systemd-ukify",
    "util-linux",
    "xz-utils",
    "zstd",
];

/// The machines' own: firmware, boot loader, QEMU and its TPM, the tools that sign and label.
const TRIXIE: [&str; 7] = [
    "man-db",
    "mandoc",
    "ovmf",
    "python3-cryptography",
    "python3-virt-firmware",
    "qemu-system-x86",
    "sbsigntool",
];

/// systemd's tools load most of their libraries when they need them: those are named here.
const SID: [&str; 9] = [
    "jq",
    "libfido2-1",
    "libpwquality1",
    "libqrencode4",
    "passwd",
    "systemd-tpm",
    "systemd-userdbd",
    "tpm2-tools",
    "xxd",
];

const EXCLUDED: [&str; 4] =
    ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*"];

/// The directories of programs, in the order of Debian's PATH.
const PROGRAMS: [&str; 4] = ["usr/bin", "usr/sbin", "usr/lib/systemd", "usr/libexec"];

/// The directories of libraries; systemd's tools and swtpm have their own.
const LIBRARIES: [&str; 3] =
    ["usr/lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu/systemd", "usr/lib/x86_64-linux-gnu/swtpm"];

/// Mounts the directory `$2` into the tree `$1`, where nobody else sees it, and runs the rest there.
const INSIDE: &str = "\
root=$1; mount --bind \"$2\" \"$root/mnt\"; mount -t proc proc \"$root/proc\"; mount --bind /dev \"$root/dev\"; shift 2
exec env --ignore-environment PATH=/usr/sbin:/usr/bin:/usr/lib/systemd LC_ALL=C.UTF-8 \\
    chroot \"$root\" sh -c 'cd /mnt && exec \"$@\"' sh \"$@\"";

fn tree(suite: Suite, own: &[&'static str]) -> Tree {
    let mut packages = [BOTH.as_slice(), own].concat();
    packages.sort_unstable();
    Tree { suite, variant: "apt", packages: packages.into(), excluded: &EXCLUDED }
}

/// The tree of a release, and its kind in the cache: each has a lock of its own.
fn of(suite: Suite) -> (Tree, &'static str) {
    match suite {
        Suite::Trixie => (tree(suite, &TRIXIE), "tools"),
        Suite::Sid => (tree(suite, &SID), "tools-sid"),
    }
}

fn key(tree: &Tree) -> Key {
    Key::default().with("tree", tree.inputs())
}

/// The tree of tools.
#[derive(Clone, Debug)]
pub struct ToolRoot {
    path: PathBuf,
}

impl ToolRoot {
    /// The tool root of this cache with the tools of a release, made when it is missing.
    ///
    /// # Errors
    /// The tree cannot be made.
    pub fn get(cache: &Cache, suite: Suite) -> Result<Self> {
        let (tree, kind) = of(suite);
        let what = match suite {
            Suite::Trixie => "the tool root: QEMU, systemd, cryptsetup …",
            Suite::Sid => "the tool root of Debian sid: the newest systemd, cryptsetup …",
        };
        let path = cache.artefact(kind, &key(&tree), |place| {
            progress::step(&format!("making {what} (about a minute, once)"), || tree.make(place))
        })?;
        Ok(Self { path })
    }

    /// Returns true when the tree is in this cache.
    #[must_use]
    pub fn is_made(cache: &Cache, suite: Suite) -> bool {
        let (tree, kind) = of(suite);
        cache.has(kind, &key(&tree))
    }

    /// The path of the tree.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file of the tree.
    #[must_use]
    pub fn file(&self, path: &str) -> PathBuf {
        self.path.join(path)
    }

    /// A command that runs a tool of the tree on the host's files.
    ///
    /// # Errors
    /// The tree has no such tool.
    pub fn tool(&self, name: &str) -> Result<Command> {
        let mut command = Command::new(self.loader());
        command.args(self.loader_options());
        command.arg(self.find(name)?);
        // A host's configuration of e2fsprogs and of glibc's character sets must not show.
        command.env("MKE2FS_CONFIG", self.file("etc/mke2fs.conf"));
        command.env("GCONV_PATH", self.file("usr/lib/x86_64-linux-gnu/gconv"));
        command.env("LC_ALL", "C.UTF-8");
        command.env_remove("LD_LIBRARY_PATH");
        Ok(command)
    }

    /// As [`ToolRoot::tool`], and the kernel kills the tool when the thread that started it ends.
    ///
    /// # Errors
    /// As [`ToolRoot::tool`].
    pub fn leashed(&self, name: &str) -> Result<Command> {
        let mut command = self.tool("setpriv")?;
        command.args(["--pdeathsig", "KILL"]);
        command.arg(self.loader()).args(self.loader_options()).arg(self.find(name)?);
        Ok(command)
    }

    /// A command that runs a program of the tree with the tree as its root: a script, or a program that starts others of the
    /// tree. `directory` is its working directory, and the only place of the host that it sees: files have names without a path.
    #[must_use]
    pub fn inside(&self, directory: &Path, name: &str) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-euc", INSIDE, "sh"]);
        command.arg(&self.path).arg(directory).arg(name);
        command
    }

    fn loader(&self) -> PathBuf {
        self.file("usr/lib64/ld-linux-x86-64.so.2")
    }

    fn loader_options(&self) -> [String; 2] {
        let libraries: Vec<_> = LIBRARIES.iter().map(|path| self.file(path).display().to_string()).collect();
        ["--library-path".to_owned(), libraries.join(":")]
    }

    fn find(&self, name: &str) -> Result<PathBuf> {
        for directory in PROGRAMS {
            let path = self.file(directory).join(name);
            if path.exists() {
                return Ok(path);
            }
        }
        bail!("the tool root {} has no tool `{name}`", self.path.display())
    }
}
