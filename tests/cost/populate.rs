//! Fills /etc of a root as PID 1 does, as a process of its own: `populate ROOT USR`. What it costs is compared with systemd's
//! tools by `cargo prove` (tests/vm/src/cost.rs); built as PID 1 is, it costs what a boot pays, and a process.

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
    etc::{
        Strategy,
        atomic::{Durable, Unwatched},
        base, factory, follow,
        machine_id::{self, MachineId},
        manifest::Head,
        store,
    },
    fragments::Facts,
    os_release::OsRelease,
    sys::clock,
    sysusers::{self, Flush, Options},
    tree::Tree,
};
use rustix::{fs::Mode, process::umask};

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

/// What `boot::etc` does on the first boot, and on one on which nothing changed.
fn populate(root: &Path, usr: &Path) -> Result<(), Box<dyn Error>> {
    let os_release = fs::read_to_string(usr.join("lib/os-release"))?;
    let (root, usr) = (base::open(root)?, base::open(usr)?);
    let (root, usr) = (root.as_fd(), usr.as_fd());
    let head = Head { usr: follow::identity(None, Some(&os_release)), strategy: Strategy::Track };
    umask(Mode::empty());
    base::create(root, usr)?;
    if store::followed(root)?.as_ref() == Some(&head) {
        return Ok(());
    }
    let (rules, _) = factory::rules(usr, &head)?;
    let (_, manifest) = factory::populate(root, usr, &head, &rules)?;
    let id = MachineId::from_random([7; 16]);
    let facts = Facts {
        machine_id: Some(id.line().trim_end().to_owned()),
        os_release: Some(OsRelease::parse(&os_release)),
        ..Facts::default()
    };
    let today = u32::try_from(clock::unix_seconds() / 86_400)?;
    let options = Options { credentials: &(), service: &(), today, flush: Flush::Caller, dry_run: false };
    sysusers::populate(Tree { root, usr }, &facts, options)?;
    machine_id::keep(root, id, Durable::Caller)?;
    machine_id::initialize(root, Durable::Caller)?;
    store::commit(root, &manifest, Durable::Caller, &mut Unwatched)?;
    Ok(())
}
