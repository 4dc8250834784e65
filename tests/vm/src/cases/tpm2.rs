//! The parts that the cases with a TPM2 share: an appliance with systemd's tools for it, unattended machines, and the
//! programs that the test init runs.

use super::small::DEADLINE;
use super::{Context, TEST_INIT, lasting};
use crate::console::Line;
use crate::initramfs::Initramfs;
use crate::machine::Machine;
use crate::usr::{Recipe, Usr};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// The files of systemd-cryptenroll and systemd-cryptsetup, with the libraries that they load for a TPM. They come from
/// the tool root, which is of the same release as the appliance: so the appliance stays the same as an image without a
/// TPM.
const TOOLS: [(&str, u32); 8] = [
    ("bin/systemd-cryptenroll", 0o755),
    ("lib/systemd/systemd-cryptsetup", 0o755),
    ("lib/x86_64-linux-gnu/cryptsetup/libcryptsetup-token-systemd-tpm2.so", 0o644),
    ("lib/x86_64-linux-gnu/libtss2-esys.so.0", 0o644),
    ("lib/x86_64-linux-gnu/libtss2-mu.so.0", 0o644),
    ("lib/x86_64-linux-gnu/libtss2-rc.so.0", 0o644),
    ("lib/x86_64-linux-gnu/libtss2-sys.so.1", 0o644),
    ("lib/x86_64-linux-gnu/libtss2-tcti-device.so.0", 0o644),
];

/// The options of an unattended machine: no question, and a failure ends at once.
pub const UNATTENDED: &str = "rd.luks.options=headless";

/// The whole appliance with the test init, systemd's tools for the TPM and this repart.d file.
///
/// # Errors
/// A tool is missing.
pub fn recipe(context: &Context<'_>, repart: &str) -> Result<Recipe> {
    equip(context, context.recipe()?.repart(repart))
}

/// systemd's tools for the TPM beside what a recipe has.
///
/// # Errors
/// A tool is missing.
pub fn equip(context: &Context<'_>, recipe: Recipe) -> Result<Recipe> {
    TOOLS.into_iter().try_fold(recipe, |recipe, (path, mode)| {
        let from = context.bench.own_tools.file(&format!("usr/{path}"));
        let content = fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
        Ok(recipe.file(path, content, mode))
    })
}

/// Lays systemd's tools for the TPM into a tree that becomes /usr.
///
/// # Errors
/// A tool is missing, or cannot be laid there.
pub fn lay(context: &Context<'_>, usr: &Path) -> Result<()> {
    for (path, _) in TOOLS {
        let (from, to) = (context.bench.own_tools.file(&format!("usr/{path}")), usr.join(path));
        fs::create_dir_all(to.parent().context("a tool without a directory")?)?;
        // One that is there is the same, and shares its content with the appliance.
        if !to.exists() {
            fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        }
    }
    Ok(())
}

/// A machine without a disk, and without a word about measuring, that boots this /usr into the test init, with the TPM of this directory.
///
/// # Errors
/// The initramfs cannot be made.
pub fn machine(context: &Context<'_>, initramfs: &Initramfs, usr: &Usr, tpm: &Path) -> Result<Machine> {
    let machine = lasting::bare(context, usr).initramfs(&context.initramfs(initramfs)?).tpm(tpm);
    Ok(machine.cmdline(&format!("hermetic.init={TEST_INIT}")).deadline(2 * DEADLINE))
}

/// The word that has phases measured where no sd-stub measured the kernel: signatures of PCR 11 are for a phase.
pub const PHASES: &str = "hermetic.measure=yes";

/// The word that has the test init run a program without udev.
#[must_use]
pub fn run(program: &str) -> String {
    format!(" hermetic.test.run=/usr/bin/env+DM_DISABLE_UDEV=1+{program}")
}

/// The bytes of PCR 15 before a root is opened, for `--tpm2-pcrs=` in [`run`].
pub const BOND: &str = "15:sha256=0000000000000000000000000000000000000000000000000000000000000000";

/// systemd-cryptsetup on a volume that only a TPM opens.
#[must_use]
pub fn attach(name: &str, device: &str) -> String {
    run(&format!("/usr/lib/systemd/systemd-cryptsetup+attach+{name}+{device}+-+tpm2-device=auto,headless=1"))
}

/// The output of the program of this number; it must have succeeded.
///
/// # Errors
/// It failed, or was not run.
pub fn succeeded(state: &Value, number: usize) -> Result<&str> {
    let run = ran(state, number)?;
    ensure!(run.get("status").and_then(Value::as_i64) == Some(0), "{run}");
    Ok(run.get("stdout").and_then(Value::as_str).unwrap_or_default())
}

/// Checks that the program of this number failed with this message.
///
/// # Errors
/// It succeeded, or has another message.
pub fn failed(state: &Value, number: usize, says: &str) -> Result<()> {
    let run = ran(state, number)?;
    ensure!(run.get("status").and_then(Value::as_i64).is_some_and(|status| status != 0), "{run}");
    let stderr = run.get("stderr").and_then(Value::as_str).unwrap_or_default();
    ensure!(stderr.contains(says), "it does not say `{says}`: {run}");
    Ok(())
}

fn ran(state: &Value, number: usize) -> Result<&Value> {
    state.pointer(&format!("/runs/{number}")).with_context(|| format!("no program {number} was run"))
}

/// The slots that systemd-cryptenroll lists, as `0 tpm2`.
#[must_use]
pub fn slots(listed: &str) -> Vec<String> {
    let lines = listed.lines().skip(1);
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// A copy of the partition named `root`, as a separate disk without a table.
///
/// # Errors
/// As [`copy_partition`].
pub fn copy_root(context: &Context<'_>, disk: &Path, copy: &Path) -> Result<()> {
    copy_partition(context, disk, "root", copy)
}

/// A copy of the partition of this name, as a separate disk without a table.
///
/// # Errors
/// There is no such partition, or it cannot be copied.
pub fn copy_partition(context: &Context<'_>, disk: &Path, name: &str, copy: &Path) -> Result<()> {
    let root = lasting::find(context, disk, 512, name)?;
    let (from, to) = (File::open(disk)?, File::create(copy)?);
    to.set_len(root.length)?;
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    while at < root.length {
        let length = usize::try_from((root.length - at).min(1 << 20))?;
        let chunk = buffer.get_mut(..length).context("a chunk is larger than its buffer")?;
        from.read_exact_at(chunk, root.start + at)?;
        if chunk.iter().any(|byte| *byte != 0) {
            to.write_all_at(chunk, at)?;
        }
        at += length as u64;
    }
    Ok(())
}

/// The recovery key that a boot showed on its console, once.
///
/// # Errors
/// It was not shown, or shown twice.
pub fn recovery_key(lines: &[Line]) -> Result<String> {
    let shown: Vec<&str> = lines
        .iter()
        .filter_map(|line| line.text.split_once("recovery key  "))
        .map(|(_, key)| key.trim())
        .collect();
    let [key] = shown.as_slice() else { bail!("recovery keys were shown: {shown:?}") };
    let groups: Vec<&str> = key.split('-').collect();
    let is_group =
        |group: &&str| group.len() == 8 && group.bytes().all(|letter| b"cbdefghijklnrtuv".contains(&letter));
    ensure!(groups.len() == 8 && groups.iter().all(is_group), "`{key}` is no recovery key");
    let first = groups.first().copied().unwrap_or_default();
    let told = lines.iter().filter(|line| line.text.contains(first)).count();
    ensure!(told == 1, "the recovery key is told {told} times");
    Ok((*key).to_owned())
}
