//! The variables of UEFI firmware with Secure Boot on: whose programs it starts.
//!
//! The kernel takes the certificates of `db` into its platform keyring.

use crate::cache::{Cache, Key};
use crate::command;
use crate::signer::Signer;
use crate::toolroot::ToolRoot;
use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Changes whenever the code below makes other variables of the same keys.
const VERSION: &str = "1";

/// The owner of every key, as UEFI's signature lists name one.
const OWNER: &str = "2b1f3a6e-5d0c-4f7b-8a19-6c4e9d20b7f5";

/// OVMF's variables before any key is enrolled.
const EMPTY: &str = "usr/share/OVMF/OVMF_VARS_4M.fd";

/// Makes variables in which Secure Boot is on and `db` has the certificates of these signers, for
/// [`crate::machine::Machine::secure_firmware`]. The machine writes to them.
///
/// # Errors
/// virt-fw-vars fails.
pub fn variables(cache: &Cache, tools: &ToolRoot, db: &[&Signer], into: &Path) -> Result<()> {
    let platform = Signer::get(cache, tools, "platform key")?;
    let mut key = Key::default().with("version", VERSION).with("empty", fs::read(tools.file(EMPTY))?);
    let mut files: Vec<(String, PathBuf)> = vec![("platform.pem".into(), platform.certificate())];
    files.extend(db.iter().enumerate().map(|(at, signer)| (format!("db-{at}.pem"), signer.certificate())));
    for (_, path) in &files {
        key = key.with("certificate", fs::read(path)?);
    }
    let made = cache.artefact("firmware", &key, |place| {
        for (name, path) in &files {
            fs::copy(path, place.join(name))?;
        }
        let mut enrol = tools.inside(place, "virt-fw-vars");
        enrol.args(["--input", &format!("/{EMPTY}"), "--output", "variables.fd", "--secure-boot"]);
        enrol.args(["--set-pk", OWNER, "platform.pem", "--add-kek", OWNER, "platform.pem"]);
        for (name, _) in files.iter().skip(1) {
            enrol.args(["--add-db", OWNER, name]);
        }
        command::run(&mut enrol)
    })?;
    fs::copy(made.join("variables.fd"), into)
        .map(drop)
        .with_context(|| format!("cannot make the firmware's variables {}", into.display()))
}
