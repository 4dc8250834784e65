//! Stage "etc": what must be there before systemd starts: base directories, /etc from the factory, users, machine id.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsFd as _, BorrowedFd},
        unix::fs::PermissionsExt as _,
    },
};

use rustix::{
    fs::{Mode, OFlags, openat},
    process::umask,
};

use super::{
    credentials,
    failure::{Failure, OrFail},
    machine,
    root::Root,
    usr::Usr,
};
use crate::{
    config::Config,
    etc::{
        base, factory,
        machine_id::{self, MachineId, State},
        tree::Tree,
    },
    fragments::{Facts, facts},
    info, notice,
    sys::{attribute, clock},
    sysusers::{self, Flush, Level},
    warning,
};

const STAGE: &str = "etc";

/// Where systemd looks for an id that was chosen for it (systemd: src/shared/machine-id-setup.c).
const OFFERED: &str = "/run/machine-id";

/// Makes an empty root one that systemd can start on. Idempotent, and the machine id comes last: as long as there is none
/// the next boot does it again.
///
/// # Errors
/// Anything that could not be written, a user database that cannot be read.
pub fn populate(
    stage: &'static str,
    root: BorrowedFd<'_>,
    usr: BorrowedFd<'_>,
    id: MachineId,
) -> Result<(), Failure> {
    // Files get the modes they are created with; without a mask that takes no second call for each of them.
    let mask = umask(Mode::empty());
    let result = furnish(stage, root, usr, id);
    umask(mask);
    result
}

fn furnish(
    stage: &'static str,
    root: BorrowedFd<'_>,
    usr: BorrowedFd<'_>,
    id: MachineId,
) -> Result<(), Failure> {
    base::create(root, usr).or_fail(stage, || "base directories".into())?;
    let copied = factory::populate(root, usr).or_fail(stage, || "copying /etc".into())?;
    let options = sysusers::Options {
        credentials: &credentials::import(),
        service: &(),
        today: today(),
        flush: Flush::Caller,
        dry_run: false,
    };
    let users = sysusers::populate(Tree { root, usr }, &facts_of(usr, Some(id)), options)
        .or_fail(stage, || "users".into())?;
    // As systemd-sysusers does: one bad line costs its user, not the boot.
    for message in users.messages.iter().filter(|message| message.level <= Level::Warning) {
        warning!("sysusers.d: {message}");
    }
    machine_id::keep(root, id).or_fail(stage, || "keeping the machine id".into())?;
    machine_id::initialize(root).or_fail(stage, || "/etc/machine-id".into())?;
    info!(
        "/etc: {} files, {} directories, {} links from the factory; {} users and groups added",
        copied.files,
        copied.directories,
        copied.symlinks,
        users.users.len() + users.groups.len()
    );
    Ok(())
}

fn today() -> u32 {
    u32::try_from(clock::unix_seconds() / 86_400).unwrap_or(u32::MAX)
}

/// What specifiers in the definitions of `usr` stand for on this machine; `id` is None before there is one.
pub(super) fn facts_of(usr: BorrowedFd<'_>, id: Option<MachineId>) -> Facts {
    let os_release = openat(usr, "lib/os-release", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .ok()
        .and_then(|file| io::read_to_string(File::from(file)).ok());
    let uname = rustix::system::uname();
    Facts {
        machine_id: id.map(|id| id.line().trim_end().into()),
        boot_id: attribute("/proc/sys/kernel/random/boot_id").map(|id| id.replace('-', "")),
        kernel_release: uname.release().to_str().ok().map(Into::into),
        hostname: None,
        pretty_hostname: None,
        architecture: Some(facts::architecture(std::env::consts::ARCH).into()),
        os_release: os_release.as_deref().map(facts::parse_os_release),
    }
}

/// Looks after the root that was mounted: one that nobody populated is populated, and as long as systemd has not
/// committed its machine id, every boot offers the same one again.
///
/// # Errors
/// As [`populate`], and a machine id that cannot be read or offered.
pub fn prepare(config: &Config, usr: &Usr, root: &Root) -> Result<(), Failure> {
    let directory =
        File::open(root.path()).or_fail(STAGE, || format!("cannot open {}", root.path().display()))?;
    let tree = directory.as_fd();
    let state = machine_id::state(tree).or_fail(STAGE, || "/etc/machine-id".into())?;
    let kept = machine_id::kept(tree).or_fail(STAGE, || "the kept machine id".into())?;
    if !root.is_read_only() {
        if state == State::Missing {
            notice!("root has no /etc/machine-id; populating it");
            let id = match kept {
                Some(id) => id,
                None => machine::choose(config.machine_id.as_ref()).or_fail(STAGE, || "machine id".into())?,
            };
            let usr = usr.open(STAGE)?;
            populate(STAGE, tree, usr.as_fd(), id)?;
            return offer(id);
        }
        let usr = usr.open(STAGE)?;
        base::create(tree, usr.as_fd()).or_fail(STAGE, || "base directories".into())?;
    }
    match (state.first_boot(), kept) {
        (true, Some(id)) => offer(id),
        _ => Ok(()),
    }
}

/// Leaves the id where systemd takes it from.
fn offer(id: MachineId) -> Result<(), Failure> {
    fs::write(OFFERED, id.line())
        .and_then(|()| fs::set_permissions(OFFERED, fs::Permissions::from_mode(0o444)))
        .or_fail(STAGE, || format!("cannot write {OFFERED}"))
}
