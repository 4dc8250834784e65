//! `cargo demo`, `cargo vm …`, `cargo prove …`: the aliases of .cargo/config.toml begin the words with what is wanted.

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

/// False: it ran, and what was to be proven does not hold.
fn run() -> Result<bool> {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "prove") {
        words.remove(0);
        return vm::prove::prove(Arguments::new(words));
    }
    if words.first().is_some_and(|word| word == "demo") {
        words.remove(0);
        return vm::demo::demo(Arguments::new(words)).map(|()| true);
    }
    vm::vm::vm(Arguments::new(words)).map(|()| true)
}
