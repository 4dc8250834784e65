//! A disk image as mkosi has it made: by systemd-repart, from a tree, with a hash tree and its signature.

use crate::bench::Bench;
use crate::cache::Key;
use crate::command;
use crate::image;
use crate::signer::Signer;
use crate::usr::Recipe;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// Changes whenever the code below makes another image of the same definitions.
const VERSION: &str = "1";

/// The images that stay in the cache, some 150 MB each.
const KEPT: usize = 4;

/// The seed of all identities.
const SEED: &str = "750b6cd5-c4ae-4012-a15e-7be3c29e6a47";

const DISK: &str = "disk.raw";
const ROWS: &str = "rows.json";

/// A made image.
#[derive(Clone, Debug)]
pub struct Built {
    place: PathBuf,
    root_hash: String,
}

impl Built {
    /// Makes the image that these definitions (files of a directory) ask for, of the appliance's /usr with this recipe.
    ///
    /// # Errors
    /// systemd-repart fails, or makes nothing that is verified.
    pub fn make(bench: &Bench, recipe: &Recipe, definitions: &Path, signer: &Signer) -> Result<Self> {
        let mut key = Key::default().with("version", VERSION).with("usr", recipe.key(&bench.appliance).hex());
        let mut files: Vec<PathBuf> =
            fs::read_dir(definitions)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        files.sort();
        for path in files.iter().chain([&signer.certificate()]) {
            // Not its directory: two clones of the repository share an image.
            let name = path.file_name().context("a definition without a name")?;
            key = key.with("file", name.as_encoded_bytes()).with("content", fs::read(path)?);
        }
        let place = bench.cache.artefact("image", &key, |place| {
            let (root, into) = (place.join("root"), place.join("definitions"));
            fs::create_dir(&root)?;
            recipe.stage(&bench.appliance.usr(), &root.join("usr"))?;
            fs::create_dir(&into)?;
            for path in &files {
                fs::copy(path, into.join(path.file_name().context("a definition without a name")?))?;
            }
            fs::copy(signer.key(), place.join("key"))?;
            fs::copy(signer.certificate(), place.join("certificate"))?;
            let mut repart = bench.tools.inside(place, "systemd-repart");
            repart.args([
                "--root=root",
                "--definitions=definitions",
                "--empty=create",
                "--size=auto",
                "--offline=yes",
            ]);
            repart.args(["--private-key=key", "--certificate=certificate", "--dry-run=no", "--json=short"]);
            fs::write(place.join(ROWS), command::output(repart.arg(format!("--seed={SEED}")).arg(DISK))?)?;
            for directory in [root, into] {
                fs::remove_dir_all(&directory)?;
            }
            Ok(fs::remove_file(place.join("key"))?)
        })?;
        bench.cache.prune("image", KEPT)?;
        let rows: Value = serde_json::from_str(&fs::read_to_string(place.join(ROWS))?)?;
        let hash = rows.as_array().into_iter().flatten().find_map(|row| row.get("roothash")?.as_str());
        let root_hash = hash.context("systemd-repart made nothing that is verified")?.to_owned();
        Ok(Self { place, root_hash })
    }

    /// The root hash: 64 hexadecimal digits.
    #[must_use]
    pub fn root_hash(&self) -> &str {
        &self.root_hash
    }

    /// Copies the image onto a disk of this many bytes.
    ///
    /// # Errors
    /// It cannot be copied.
    pub fn copy(&self, disk: &Path, size: u64) -> Result<()> {
        image::copy(&self.place.join(DISK), disk)?;
        Ok(fs::OpenOptions::new().write(true).open(disk)?.set_len(size)?)
    }
}

/// The rows of systemd-repart for a disk of the host and the definitions of a tree, when this is the seed. The disk stays as it is.
///
/// # Errors
/// It refuses.
pub fn plan(bench: &Bench, disk: &Path, usr: &Path, seed: &str) -> Result<Vec<Value>> {
    let work = bench.cache.scratch("plan")?;
    image::copy(disk, &work.join(DISK))?;
    let root = work.join("root");
    fs::create_dir(&root)?;
    command::run(std::process::Command::new("cp").arg("--recursive").arg(usr).arg(root.join("usr")))?;
    // It does not look beyond the end of the table, where the disk has grown.
    command::run(
        bench.tools.tool("sfdisk")?.args(["--quiet", "--relocate", "gpt-bak-std"]).arg(work.join(DISK)),
    )?;
    let mut repart = bench.tools.inside(work.path(), "systemd-repart");
    repart.args(["--root=root", "--empty=refuse", "--dry-run=yes", "--json=short"]);
    let said = command::output(repart.arg(format!("--seed={seed}")).arg(DISK))?;
    serde_json::from_str(&said).with_context(|| format!("systemd-repart says {said}"))
}
