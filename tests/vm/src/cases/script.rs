//! Shell scripts for the inside of a machine, each on a separate disk: /usr is the same for all of them, and so its
//! image is made once.

use super::Context;
use super::small::ENCRYPTED;
use crate::disk::Disk;
use crate::usr::Recipe;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::fs;

/// The whole appliance with the test init: a shell and every tool. Root is encrypted, and only hermetic-init grows it.
///
/// # Errors
/// The test init was not built.
pub fn recipe(context: &Context<'_>) -> Result<Recipe> {
    Ok(context.recipe()?.repart(ENCRYPTED).without("lib/systemd/systemd-growfs"))
}

/// A disk that holds this script. The shell reads it as it reads a file, up to its `exit`; the rest are empty lines.
///
/// # Errors
/// The disk cannot be written.
pub fn disk(context: &Context<'_>, script: &str) -> Result<Disk> {
    let path = context.file("script.raw");
    let mut text = format!("set -e\n{script}\nexit\n").into_bytes();
    text.resize(text.len().next_multiple_of(4096), b'\n');
    fs::write(&path, text)?;
    Ok(Disk::new(&path).read_only())
}

/// The word that makes the test init run the script on this device.
#[must_use]
pub fn word(device: &str) -> String {
    format!("hermetic.test.run=/usr/bin/sh+/dev/{device}")
}

/// The output of the script. It must have ended well.
///
/// # Errors
/// It was not run, or failed.
pub fn said(state: &Value) -> Result<&str> {
    let run = state.pointer("/runs/0").context("no script was run")?;
    ensure!(run.get("status").and_then(Value::as_i64) == Some(0), "the script failed: {run}");
    Ok(run.get("stdout").and_then(Value::as_str).unwrap_or_default())
}
