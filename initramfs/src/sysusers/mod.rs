//! `hermetic sysusers`: systemd-sysusers 257, on our engine.

use std::{ffi::OsString, os::fd::AsFd as _, path::PathBuf, process::ExitCode, time::SystemTime};

use clap::Parser;
use hermetic_init::{
    etc::{base, tree::Tree},
    sysusers::{Facts, Flush, populate},
};

use crate::mirror::{log::Log, words};

/// The words of systemd-sysusers.
#[derive(Parser)]
#[command(name = "systemd-sysusers", disable_help_flag = true, disable_version_flag = true)]
struct Args {
    #[arg(long)]
    root: Option<PathBuf>,
}

/// Runs it.
pub fn run(words: Vec<OsString>) -> ExitCode {
    let args: Args = match words::parse(words) {
        Ok(args) => args,
        Err(status) => return status,
    };
    let log = Log::from_environment();
    match furnish(&args, log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log.error(error);
            ExitCode::FAILURE
        }
    }
}

fn furnish(args: &Args, log: Log) -> Result<(), String> {
    let path = args.root.clone().unwrap_or_else(|| "/".into());
    let root = base::open(&path).map_err(|error| format!("Failed to open {}: {error}", path.display()))?;
    let usr = base::open(&path.join("usr"))
        .map_err(|error| format!("Failed to open {}/usr: {error}", path.display()))?;
    let tree = Tree { root: root.as_fd(), usr: usr.as_fd() };
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let today = u32::try_from(seconds / 86_400).unwrap_or(u32::MAX);
    let report =
        populate(tree, &Facts::default(), &(), today, Flush::Here).map_err(|error| error.to_string())?;
    for line in report.errors.iter().chain(&report.conflicts) {
        log.error(line);
    }
    report.problems.iter().for_each(|problem| log.error(problem));
    Ok(())
}
