//! Fills /etc of a root as PID 1 does, as a process of its own: `populate ROOT USR`. Its cost is compared with
//! systemd's tools by `cargo prove` (tests/vm/src/cost.rs); built as PID 1 is, it costs what a boot pays, and a
//! process.

use std::{
    env,
    error::Error,
    ffi::OsString,
    fs,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use hermetic_init::{
    etc::{Strategy, follow, machine_id::MachineId, manifest::Head, store},
    fragments::Facts,
    furnish::{self, Identity, Report, Request},
    os_release::OsRelease,
    sys::clock,
    sysusers::Waiting,
    tree::open,
};

fn main() -> ExitCode {
    let words: Vec<OsString> = env::args_os().skip(1).collect();
    let [root, usr] = words.as_slice() else {
        eprintln!("populate ROOT USR");
        return ExitCode::FAILURE;
    };
    match populate(root.as_ref(), &PathBuf::from(usr)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("populate: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Furnishes a root as the first boot does, or looks at one that follows this /usr as later boots do.
fn populate(root: &Path, usr: &Path) -> Result<(), Box<dyn Error>> {
    let os_release = fs::read_to_string(usr.join("lib/os-release"))?;
    let (root, usr) = (open::root(root)?, open::root(usr)?);
    let (root, usr) = (root.as_fd(), usr.as_fd());
    let head = Head { usr: follow::identity(None, Some(&os_release)), strategy: Strategy::Track };
    if store::followed(root)?.as_ref() == Some(&head) {
        furnish::complete(root, usr)?;
        return Ok(());
    }
    let identity = Identity { machine: Some(MachineId::from_random([7; 16])), head };
    let facts = Facts { os_release: Some(OsRelease::parse(&os_release)), ..Facts::default() };
    let now = clock::unix_seconds();
    let request = Request {
        root,
        usr,
        identity: &identity,
        credentials: &(),
        facts: &facts,
        now,
        waiting: Waiting::Never,
    };
    furnish::create(&request, &mut Report::default())?;
    Ok(())
}
