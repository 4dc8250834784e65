//! The work that a stranger's header can cost: `hermetic luks open-key`, the engine that PID 1 runs, with a wrong key and
//! headers of 32 keyslots that together are far more than an unlock may cost. It has to try until its budget is spent
//! and leave the rest, in a CPU time that does not depend on the kind of key derivation.

use crate::bench::Bench;
use crate::cargo::Products;
use crate::claim::Claim;
use crate::command;
use crate::cost::unlock;
use crate::forged::{self, HEADER};
use crate::report::Verdict;
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Minutes of a processor: three on one of 2021. One of half its speed takes twice that.
const MINUTES: Claim = Claim::AtMost(3.0, 6.0);

/// A processor that spends the whole in less would be ten times as fast as one of 2021.
const LEAST: Duration = Duration::from_secs(15);

/// The message about a keyslot that is left.
const LEFT: &str = "take longer than an unlock may";

/// Spends a whole budget with each kind of key derivation.
///
/// # Errors
/// Less is spent than there is, or it takes far longer than is claimed.
pub fn spend(bench: &Bench, products: &Products) -> Result<Verdict> {
    let work = bench.cache.scratch("budget")?;
    let (key, wrong, volume) = (work.join("key"), work.join("wrong"), work.join("volume"));
    fs::write(&key, "thirty-two bytes of random, say.")?;
    fs::write(&wrong, "thirty-two others, by a stranger")?;
    File::create(&volume)?.set_len(20 << 20)?;
    let mut format = bench.tools.tool("cryptsetup")?;
    format.args(["luksFormat", "--batch-mode", "--type=luks2", "--pbkdf=pbkdf2"]);
    command::run(format.args(["--pbkdf-force-iterations=1000", "--key-file"]).arg(&key).arg(&volume))?;
    let argon2id =
        |kib: u32, passes: u32| json!({ "type": "argon2id", "time": passes, "memory": kib, "cpus": 4 });
    let pbkdf2 = |hash: &str| json!({ "type": "pbkdf2", "hash": hash, "iterations": 10_000_000 });
    let derivations = [
        ("argon2id 1 GiB", argon2id(1 << 20, 4)),
        ("argon2id 64 MiB", argon2id(1 << 16, 64)),
        ("argon2id 64 KiB", argon2id(64, 50_000)),
        ("pbkdf2-sha1", pbkdf2("sha1")),
        ("pbkdf2-sha256", pbkdf2("sha256")),
        ("pbkdf2-sha512", pbkdf2("sha512")),
    ];
    let mut said = Vec::new();
    for (name, kdf) in derivations {
        forge(bench, &volume, &kdf).context(name)?;
        let before = unlock::children()?;
        let output = Command::new(&products.hermetic)
            .args(["luks", "open-key"])
            .arg(&volume)
            .arg("--key-file")
            .arg(&wrong)
            .output()?;
        let spent = unlock::children()?.saturating_sub(before);
        let refusal = String::from_utf8_lossy(&output.stderr);
        ensure!(
            !output.status.success() && refusal.contains(LEFT),
            "{name}: the budget is not spent: {refusal}"
        );
        ensure!(refusal.len() < 1000, "{name}: a line of {} bytes: {refusal}", refusal.len());
        ensure!(spent >= LEAST, "{name}: only {} ms were spent: {refusal}", spent.as_millis());
        MINUTES.check(spent.as_secs_f64() / 60.0).with_context(|| format!("{name}, in minutes"))?;
        said.push(format!("{name} {} s of CPU", spent.as_secs()));
    }
    Ok(Verdict::Passed(said.join("; ")))
}

/// Fills the header of the volume up; cryptsetup has to take it for one.
fn forge(bench: &Bench, volume: &Path, kdf: &Value) -> Result<()> {
    let file = File::options().read(true).write(true).open(volume)?;
    let mut headers = vec![0; 2 * HEADER];
    file.read_exact_at(&mut headers, 0)?;
    for copy in headers.chunks_mut(HEADER) {
        forged::rewrite(copy, |document| forged::fill_up(document, kdf))?;
    }
    file.write_all_at(&headers, 0)?;
    let dump = command::output(bench.tools.tool("cryptsetup")?.arg("luksDump").arg(volume))?;
    ensure!(dump.contains("  31: luks2"), "cryptsetup does not take the forged header for one:\n{dump}");
    Ok(())
}
