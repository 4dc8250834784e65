//! /usr as a file system image: a recipe names its kind, its differences from the appliance's tree, and the use of
//! dm-verity.

use crate::appliance::Appliance;
use crate::cache::{Cache, Key};
use crate::command;
use crate::selinux::Policy;
use crate::toolroot::ToolRoot;
use anyhow::{Context, Result, bail};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

/// Changes whenever the code below makes another image of the same recipe.
const VERSION: &str = "1";

/// Images that stay in the cache; those of whole systems have some 150 MB, most are small.
const KEPT: usize = 48;

/// The time of every file and superblock: the same inputs give the same bytes and the same root hash.
pub const EPOCH: &str = "1767225600";

/// Bytes of dm-verity's data and hash blocks.
pub const VERITY_BLOCK: u64 = 4096;

/// The file system that holds /usr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsrFs {
    /// erofs, not compressed: decompression costs more than reading under an emulated CPU.
    Erofs,
    /// squashfs, zstd.
    Squashfs,
    /// ext4 without a journal, never written.
    Ext4,
    /// btrfs, never written.
    Btrfs,
}

impl UsrFs {
    /// The name that mount(8) and the command line use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Erofs => "erofs",
            Self::Squashfs => "squashfs",
            Self::Ext4 => "ext4",
            Self::Btrfs => "btrfs",
        }
    }

    /// Reads a name.
    ///
    /// # Errors
    /// It is not one of the four.
    pub fn parse(name: &str) -> Result<Self> {
        [Self::Erofs, Self::Squashfs, Self::Ext4, Self::Btrfs]
            .into_iter()
            .find(|fs| fs.name() == name)
            .with_context(|| format!("`{name}` is no file system for /usr: erofs, squashfs, ext4 or btrfs"))
    }
}

/// One difference from the appliance's tree. Paths are relative to /usr.
#[derive(Clone, Debug)]
pub enum Change {
    /// A file with this content and mode; its directories are made, an old file is replaced.
    File {
        /// The path below /usr.
        path: String,
        /// The content.
        content: Vec<u8>,
        /// Permission bits.
        mode: u32,
    },
    /// A file or a whole directory goes.
    Remove {
        /// The path below /usr.
        path: String,
    },
}

/// The recipe of a /usr image.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// Its file system.
    pub fs: UsrFs,
    /// True when a hash tree and a root hash are made.
    pub verity: bool,
    /// The changes to the appliance.
    pub changes: Vec<Change>,
    /// The policy by which every file is labelled.
    pub policy: Option<Policy>,
}

impl Recipe {
    /// The appliance as it is, as verified erofs.
    #[must_use]
    pub fn new() -> Self {
        Self { fs: UsrFs::Erofs, verity: true, changes: Vec::new(), policy: None }
    }

    /// Another file system.
    #[must_use]
    pub fn fs(mut self, fs: UsrFs) -> Self {
        self.fs = fs;
        self
    }

    /// No hash tree.
    #[must_use]
    pub fn unverified(mut self) -> Self {
        self.verity = false;
        self
    }

    /// Adds or replaces a file; `path` is relative to /usr, `mode` are permission bits.
    #[must_use]
    pub fn file(mut self, path: &str, content: impl Into<Vec<u8>>, mode: u32) -> Self {
        self.changes.push(Change::File { path: path.to_owned(), content: content.into(), mode });
        self
    }

    /// Removes a file or a directory, relative to /usr.
    #[must_use]
    pub fn without(mut self, path: &str) -> Self {
        self.changes.push(Change::Remove { path: path.to_owned() });
        self
    }

    /// Adds every file of a tree of the host, by its path in it.
    ///
    /// # Errors
    /// The tree cannot be read.
    pub fn tree(mut self, tree: &Path) -> Result<Self> {
        let (mut directories, mut files) = (vec![tree.to_owned()], Vec::new());
        while let Some(directory) = directories.pop() {
            let entries = fs::read_dir(&directory);
            for entry in entries.with_context(|| format!("cannot read {}", directory.display()))? {
                let path = entry?.path();
                if path.is_dir() { directories.push(path) } else { files.push(path) }
            }
        }
        files.sort();
        for path in files {
            self = self.file(&path.strip_prefix(tree)?.display().to_string(), fs::read(&path)?, 0o644);
        }
        Ok(self)
    }

    /// The repart.d file that asks for root, `/usr/lib/repart.d/50-root.conf`.
    #[must_use]
    pub fn repart(self, definition: &str) -> Self {
        self.file("lib/repart.d/50-root.conf", definition, 0o644)
    }

    /// Labels every file by this policy.
    #[must_use]
    pub fn labelled(self, policy: Policy) -> Self {
        Self { policy: Some(policy), ..self }
    }

    /// The image of this recipe, from the cache or made now.
    ///
    /// # Errors
    /// A change cannot be made, or a tool fails.
    pub fn make(&self, cache: &Cache, tools: &ToolRoot, appliance: &Appliance) -> Result<Usr> {
        let key = self.key(appliance);
        let path = cache.artefact("usr", &key, |place| {
            let root = place.join("root");
            let stage = root.join("usr");
            fs::create_dir(&root)?;
            self.stage(&appliance.usr(), &stage)?;
            self.policy.iter().try_for_each(|policy| policy.label(tools, &root))?;
            self.format(tools, &key, &stage, &place.join(DATA))?;
            fs::remove_dir_all(&root).context("cannot remove the staged /usr")?;
            if self.verity { verify(tools, &key, place) } else { Ok(()) }
        })?;
        cache.prune("usr", KEPT)?;
        let root_hash = if self.verity { Some(fs::read_to_string(path.join(ROOT_HASH))?) } else { None };
        Ok(Usr { path, root_hash })
    }

    /// The inputs of everything that is made of it.
    pub(crate) fn key(&self, appliance: &Appliance) -> Key {
        let mut key = Key::default()
            .with("version", VERSION)
            .with("appliance", appliance.identity())
            .with("fs", self.fs.name())
            .with("verity", [u8::from(self.verity)]);
        if let Some(policy) = &self.policy {
            key = key.with("policy", policy.identity());
        }
        for change in &self.changes {
            key = match change {
                Change::File { path, content, mode } => {
                    key.with("file", path).with("content", content).with("mode", mode.to_le_bytes())
                }
                Change::Remove { path } => key.with("remove", path),
            };
        }
        key
    }

    /// A copy of the tree in hard links, with the changes in it; the cached tree stays as it is. What is to be labelled is copied.
    pub(crate) fn stage(&self, usr: &Path, stage: &Path) -> Result<()> {
        let way = if self.policy.is_some() { "--reflink=auto" } else { "--link" };
        command::run(Command::new("cp").args(["--archive", way]).arg(usr).arg(stage))?;
        for change in &self.changes {
            match change {
                Change::File { path, content, mode } => {
                    let place = below(stage, path)?;
                    let parent = place.parent().context("a file needs a name")?;
                    fs::create_dir_all(parent)?;
                    // The file that is there shares its content with the cached tree.
                    if place.symlink_metadata().is_ok() {
                        fs::remove_file(&place)?;
                    }
                    fs::write(&place, content)?;
                    fs::set_permissions(&place, fs::Permissions::from_mode(*mode))?;
                }
                Change::Remove { path } => {
                    let place = below(stage, path)?;
                    let kind =
                        place.symlink_metadata().with_context(|| format!("/usr/{path} is not there"))?;
                    if kind.is_dir() { fs::remove_dir_all(&place)? } else { fs::remove_file(&place)? }
                }
            }
        }
        Ok(())
    }

    fn format(&self, tools: &ToolRoot, key: &Key, stage: &Path, image: &Path) -> Result<()> {
        let uuid = key.clone().with("uuid of", "file system").uuid();
        match self.fs {
            UsrFs::Erofs => command::run(
                tools.tool("mkfs.erofs")?.args(["--quiet", "-T", EPOCH, "-U", &uuid]).arg(image).arg(stage),
            ),
            UsrFs::Squashfs => command::run(
                tools
                    .tool("mksquashfs")?
                    .arg(stage)
                    .arg(image)
                    .args([
                        "-noappend",
                        "-quiet",
                        "-no-progress",
                        "-comp",
                        "zstd",
                        "-Xcompression-level",
                        "3",
                    ])
                    .args(["-mkfs-time", EPOCH, "-all-time", EPOCH]),
            ),
            UsrFs::Ext4 => {
                let size = ext4_size(stage)?;
                fs::File::create(image)?.set_len(size)?;
                let seed = format!("hash_seed={uuid},root_owner=0:0,lazy_itable_init=0");
                command::run(
                    tools
                        .tool("mkfs.ext4")?
                        .args(["-q", "-F", "-O", "^has_journal", "-m", "0", "-b", "4096", "-U", &uuid])
                        .args(["-E", &seed])
                        .arg("-d")
                        .arg(stage)
                        .arg(image),
                )
            }
            UsrFs::Btrfs => {
                // The smallest that mkfs.btrfs makes without mixed block groups, and room for a small tree.
                fs::File::create(image)?.set_len(256 << 20)?;
                let mut mkfs = tools.tool("mkfs.btrfs")?;
                command::run(mkfs.args(["-q", "--shrink", "-U", &uuid, "--rootdir"]).arg(stage).arg(image))
            }
        }
    }
}

impl Default for Recipe {
    fn default() -> Self {
        Self::new()
    }
}

const DATA: &str = "usr.img";
const HASHES: &str = "usr-verity.img";
const ROOT_HASH: &str = "roothash";

/// A made /usr: files in the cache, never written again.
#[derive(Clone, Debug)]
pub struct Usr {
    path: PathBuf,
    root_hash: Option<String>,
}

impl Usr {
    /// The file system.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.path.join(DATA)
    }

    /// The verity superblock and hash tree, when there is one.
    #[must_use]
    pub fn hashes(&self) -> Option<PathBuf> {
        self.root_hash.as_ref().map(|_| self.path.join(HASHES))
    }

    /// The root hash: 64 hexadecimal digits.
    #[must_use]
    pub fn root_hash(&self) -> Option<&str> {
        self.root_hash.as_deref()
    }
}

fn verify(tools: &ToolRoot, key: &Key, place: &Path) -> Result<()> {
    let data = place.join(DATA);
    let length = fs::metadata(&data)?.len();
    if !length.is_multiple_of(VERITY_BLOCK) {
        // squashfs ends where its content ends; verity has whole blocks.
        fs::OpenOptions::new().write(true).open(&data)?.set_len(length.next_multiple_of(VERITY_BLOCK))?;
    }
    let root_hash = place.join(ROOT_HASH);
    command::run(
        tools
            .tool("veritysetup")?
            .arg("format")
            .args(["--salt", &key.clone().with("salt of", "verity").hex()])
            .args(["--uuid", &key.clone().with("uuid of", "verity").uuid()])
            .arg("--root-hash-file")
            .arg(&root_hash)
            .arg(&data)
            .arg(place.join(HASHES)),
    )?;
    let hash = fs::read_to_string(&root_hash)?;
    if hash.len() != 64 || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        bail!("veritysetup wrote `{hash}` where a root hash of 64 digits was expected");
    }
    Ok(())
}

/// Bytes that ext4 needs for a tree: whole blocks per file, an inode each, and a margin for its own tables.
fn ext4_size(tree: &Path) -> Result<u64> {
    let mut bytes = 0;
    let mut directories = vec![tree.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            bytes += metadata.len().next_multiple_of(4096) + 256;
            if metadata.is_dir() {
                directories.push(entry.path());
            }
        }
    }
    Ok((bytes + bytes / 8 + (16 << 20)).next_multiple_of(1 << 20))
}

/// A path below the tree, never beside it.
fn below(tree: &Path, path: &str) -> Result<PathBuf> {
    let relative = Path::new(path);
    if path.is_empty() || !relative.components().all(|part| matches!(part, Component::Normal(_))) {
        bail!("`{path}` is not a plain path below /usr");
    }
    Ok(tree.join(relative))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn staging_leaves_the_tree_alone() {
        let place = std::env::temp_dir().join(format!("hermetic-stage-{}", std::process::id()));
        let (usr, stage) = (place.join("usr"), place.join("stage"));
        fs::create_dir_all(usr.join("lib/systemd")).unwrap();
        fs::write(usr.join("lib/os-release"), "Debian").unwrap();
        fs::write(usr.join("lib/systemd/systemd"), "elf").unwrap();
        let recipe = Recipe::new()
            .file("lib/os-release", "changed", 0o600)
            .repart("[Partition]\nType=root\n")
            .without("lib/systemd/systemd");
        recipe.stage(&usr, &stage).unwrap();
        assert_eq!(fs::read_to_string(usr.join("lib/os-release")).unwrap(), "Debian");
        assert_eq!(fs::read_to_string(stage.join("lib/os-release")).unwrap(), "changed");
        assert!(usr.join("lib/systemd/systemd").exists() && !stage.join("lib/systemd/systemd").exists());
        assert!(stage.join("lib/repart.d/50-root.conf").exists());
        fs::remove_dir_all(place).unwrap();
    }

    #[test]
    fn changes_stay_below_usr() {
        for path in ["", "/etc/passwd", "../etc/passwd", "lib/../../x"] {
            assert!(below(Path::new("/t"), path).is_err(), "{path}");
        }
        assert_eq!(below(Path::new("/t"), "lib/x").unwrap(), Path::new("/t/lib/x"));
    }
}
