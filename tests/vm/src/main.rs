//! `cargo vm`, `cargo demo`, `cargo prove`.

use std::process::ExitCode;
use vm::arguments::Arguments;

fn main() -> ExitCode {
    let words = Arguments::new(std::env::args().skip(1));
    match vm::vm::vm(words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vm: {error:#}");
            ExitCode::FAILURE
        }
    }
}
