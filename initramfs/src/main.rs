//! The host tool `hermetic`: a thin dispatcher. Each subcommand is a module of its own, with its arguments, its story
//! and its errors; a failure is one line on stderr and exit status 1. Mirrors of systemd's tools come first ([`names`]).
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod check;
mod clock;
mod etc;
mod initramfs;
mod luks;
mod machine;
mod manual;
mod mirror;
mod mkfs;
mod modules;
mod names;
mod plan;
mod populate;
mod repart;
mod sysusers;
mod tmpfiles;
mod uki;
mod wait;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

/// Builds what hermetic-init boots.
#[derive(Parser)]
#[command(name = "hermetic", version, about, after_help = names::HELP)]
struct Command {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Make the initramfs: hermetic-init, kernel modules and the tables by which they are loaded.
    Initramfs(initramfs::Args),
    /// Make an empty file system: ext4, btrfs, vfat or swap, the same as hermetic-init makes at boot.
    Mkfs(mkfs::Args),
    /// See how /etc of a root follows the factory of a /usr, or make it follow.
    Etc(etc::Args),
    /// Show the changes that the first boot would make to an image, and make none
    Plan(plan::Args),
    /// Say what the next boot of an image would say: everything that it refuses, and what it would do
    Check(check::Args),
    /// Make, open, inspect and change LUKS2 volumes.
    Luks(luks::Args),
    /// Write the manual pages and the completions of shells.
    Manual(manual::Args),
}

fn main() -> ExitCode {
    if let Some(status) = names::dispatch(std::env::args_os()) {
        return status;
    }
    match Command::parse().what {
        What::Initramfs(args) => end(initramfs::run(&args)),
        What::Luks(args) => end(luks::run(&args)),
        What::Mkfs(args) => end(mkfs::run(&args)),
        What::Etc(args) => end(etc::run(&args)),
        What::Check(args) => check::run(&args),
        What::Plan(args) => end(plan::run(&args)),
        What::Manual(args) => end(manual::run(&args, Command::command())),
    }
}

/// The exit status of a subcommand; a failure is printed in one line.
fn end(result: Result<(), impl std::fmt::Display>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
