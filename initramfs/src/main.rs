//! The host tool `hermetic`: a thin dispatcher. Each subcommand is a module of its own, with its arguments, its story
//! and its errors; a failure is one line on stderr and exit status 1. Mirrors of systemd's tools come first ([`mirror`]).

mod initramfs;
mod mirror;
mod modules;
mod sysusers;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Builds what hermetic-init boots.
#[derive(Parser)]
#[command(name = "hermetic", version, about, after_help = mirror::HELP)]
struct Command {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Make the initramfs: hermetic-init, kernel modules and the tables by which they are loaded.
    Initramfs(initramfs::Args),
}

fn main() -> ExitCode {
    if let Some(status) = mirror::dispatch(std::env::args_os()) {
        return status;
    }
    let result = match Command::parse().what {
        What::Initramfs(args) => initramfs::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
