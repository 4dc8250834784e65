//! Debian's SELinux policy, as its package makes it, and the labels that setfiles gives to a tree by it.

use crate::cache::{Cache, Key};
use crate::debian::{Suite, Tree};
use crate::toolroot::ToolRoot;
use crate::usr::Recipe;
use crate::{command, progress};
use anyhow::{Context as _, Result};
use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const TREE: Tree = Tree {
    suite: Suite::Trixie,
    variant: "essential",
    packages: Cow::Borrowed(&["policycoreutils", "selinux-policy-default", "selinux-utils"]),
    excluded: &["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*"],
};

/// Changes whenever the code below keeps something else of the tree.
const VERSION: &str = "1";

/// Parts of the tree that are kept, and their place in an image's /usr: configuration is the factory's, and the library makes the
/// policy fit an older kernel when systemd loads it.
const KEPT: [(&str, &str); 3] =
    [("etc/selinux", "usr/share/factory/etc/selinux"), (GETENFORCE, GETENFORCE), (LIBRARY, LIBRARY)];

const LIBRARY: &str = "usr/lib/x86_64-linux-gnu/libsepol.so.2";

/// The program that says in which mode the kernel is.
const GETENFORCE: &str = "usr/sbin/getenforce";

/// The policy in the cache.
#[derive(Clone, Debug)]
pub struct Policy {
    path: PathBuf,
}

impl Policy {
    /// The policy of this cache, made when it is missing.
    ///
    /// # Errors
    /// Its tree cannot be made.
    pub fn get(cache: &Cache) -> Result<Self> {
        let key = Key::default().with("tree", TREE.inputs()).with("version", VERSION);
        let path = cache.artefact("selinux", &key, |place| {
            progress::step("making Debian's SELinux policy (some minutes, once)", || {
                let tree = place.join("tree");
                TREE.make(&tree)?;
                for (from, to) in KEPT {
                    let to = place.join(to);
                    fs::create_dir_all(to.parent().context("a path without a directory")?)?;
                    fs::rename(tree.join(from), to).with_context(|| format!("the policy has no {from}"))?;
                }
                fs::remove_dir_all(&tree).context("cannot remove the rest of the policy's tree")
            })
        })?;
        Ok(Self { path })
    }

    /// The recipe with the policy in its factory, as `permissive` or `enforcing`, and with labels.
    ///
    /// # Errors
    /// The policy cannot be read.
    pub fn rule(self, recipe: Recipe, mode: &str) -> Result<Recipe> {
        let configuration = format!("SELINUX={mode}\nSELINUXTYPE=default\n");
        let recipe = recipe
            .tree(&self.path.join("usr"))?
            .file("share/factory/etc/selinux/config", configuration, 0o644)
            .file("sbin/getenforce", fs::read(self.path.join(GETENFORCE))?, 0o755);
        Ok(recipe.labelled(self))
    }

    /// A name for its content, for the keys of artefacts that are labelled by it.
    #[must_use]
    pub fn identity(&self) -> String {
        self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Labels the directory /usr of a root, as mkosi does.
    ///
    /// # Errors
    /// setfiles fails.
    pub fn label(&self, tools: &ToolRoot, root: &Path) -> Result<()> {
        let default = self.path.join("usr/share/factory/etc/selinux/default");
        let mut policies = fs::read_dir(default.join("policy"))?;
        let policy = policies.next().context("the package made no policy")??.path();
        let mut setfiles: Command = tools.tool("setfiles")?;
        setfiles.args(["-F", "-m", "-r"]).arg(root).arg("-c").arg(policy);
        command::run(setfiles.arg(default.join("contexts/files/file_contexts")).arg(root.join("usr")))
    }
}
