//! `cargo vm …`, `cargo demo`, `cargo prove …`: the aliases of .cargo/config.toml give the first word.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use anyhow::Result;
use std::process::ExitCode;
use vm::arguments::Arguments;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("vm: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns false when it ran and a claim does not hold.
fn run() -> Result<bool> {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let what = words.first().cloned();
    match what.as_deref() {
        Some("prove") => {
            words.remove(0);
            vm::prove::prove(Arguments::new(words))
        }
        Some("demo") => {
            words.remove(0);
            vm::demo::demo(Arguments::new(words)).map(|()| true)
        }
        _ => vm::vm::vm(Arguments::new(words)).map(|()| true),
    }
}
