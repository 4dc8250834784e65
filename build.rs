//! Bakes the build's facts into the binary and keeps out of it what PID 1 never uses. Reads neither network nor host kernel.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{env, error::Error, fs, path::PathBuf, process::Command};

/// Unwind tables: a panic ends in the failure policy, nothing ever unwinds (see src/sys/unwind.rs).
const NO_UNWIND_TABLES: &str =
    "SECTIONS { /DISCARD/ : { *(.eh_frame) *(.gcc_except_table*) } } INSERT AFTER .rodata;\n";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    // The files that git names: the repository of a worktree lies elsewhere, and cargo would run this script every time
    // for a file that does not exist.
    for name in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", name]) {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    println!("cargo:rerun-if-env-changed=HERMETIC_COMMIT");
    let commit = env::var("HERMETIC_COMMIT").ok().or_else(|| git(&["rev-parse", "--short=12", "HEAD"]));
    println!("cargo:rustc-env=HERMETIC_COMMIT={}", commit.as_deref().unwrap_or("unknown"));

    // Both musl targets are linked by rust-lld, whose options these are.
    if env::var("CARGO_CFG_TARGET_ENV")? == "musl" && env::var("PROFILE")? == "release" {
        let script = PathBuf::from(env::var("OUT_DIR")?).join("no-unwind-tables.ld");
        fs::write(&script, NO_UNWIND_TABLES)?;
        for argument in [&*format!("-T{}", script.display()), "--icf=all", "-zpack-relative-relocs"] {
            println!("cargo:rustc-link-arg-bins={argument}");
            println!("cargo:rustc-link-arg-examples={argument}");
        }
    }
    Ok(())
}

/// Runs git on this checkout and returns the line it prints; None outside of a checkout.
fn git(words: &[&str]) -> Option<String> {
    let out = Command::new("git").args(words).output().ok()?;
    out.status.success().then(|| String::from_utf8_lossy(&out.stdout).trim().to_owned())
}
