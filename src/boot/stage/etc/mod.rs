//! Stage "etc": what must be there before systemd starts: base directories, /etc from the factory, users, machine id.

mod links;
mod tell;
mod users;

pub use users::facts_of;

use std::{
    fs::{self, File},
    os::{
        fd::{AsFd as _, BorrowedFd},
        unix::fs::PermissionsExt as _,
    },
};

use rustix::{
    fs::{Mode, OFlags, openat},
    process::umask,
};

use crate::{
    boot::{
        failure::{Failure, OrFail as _},
        machine::{credentials::Imported, id},
        means::Means,
        stage::{root::Root, usr::Usr},
        text::text_of,
    },
    config::Config,
    etc::{
        Strategy,
        atomic::{Durable, Unwatched},
        base, factory, follow,
        machine_id::{self, MachineId, State},
        manifest::Head,
        store,
    },
    info, notice,
    sysusers::Flush,
    warning,
};

/// Where systemd looks for an id that was chosen for it (systemd: src/shared/machine-id-setup.c).
const OFFERED: &str = "/run/machine-id";

/// What a root is furnished as: which machine, from which /usr.
#[derive(Clone)]
pub struct Identity {
    /// The machine's id.
    pub machine: MachineId,
    /// The /usr whose factory it gets, and how.
    pub head: Head,
}

impl Identity {
    /// This machine, with the factory of this /usr.
    pub fn new(config: &Config, usr: BorrowedFd<'_>, machine: MachineId) -> Self {
        Self { machine, head: head(config, usr) }
    }
}

/// Which /usr this is, and what its factory is for.
fn head(config: &Config, usr: BorrowedFd<'_>) -> Head {
    let root_hash = config.usr.verity.as_ref().map(|verity| &verity.root_hash);
    Head { usr: follow::identity(root_hash, os_release(usr).as_deref()), strategy: config.hermetic.etc }
}

fn os_release(usr: BorrowedFd<'_>) -> Option<String> {
    let file = openat(usr, "lib/os-release", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    text_of(File::from(file)).ok()
}

/// Makes an empty root one that systemd can start on. Nothing is flushed: the root counts only when the caller has flushed
/// all of it.
///
/// # Errors
/// Anything that could not be written, a user database that cannot be read.
pub fn populate(
    root: BorrowedFd<'_>,
    usr: BorrowedFd<'_>,
    identity: &Identity,
    credentials: &Imported,
) -> Result<(), Failure> {
    // Files get the modes they are created with; without a mask that takes no second call for each of them.
    let mask = umask(Mode::empty());
    let result = furnish(root, usr, identity, credentials);
    umask(mask);
    result
}

fn furnish(
    root: BorrowedFd<'_>,
    usr: BorrowedFd<'_>,
    Identity { machine, head }: &Identity,
    credentials: &Imported,
) -> Result<(), Failure> {
    base::create(root, usr).or_fail(|| "base directories".into())?;
    let (rules, errors) = factory::rules(usr, head).or_fail(|| "etc.conf".into())?;
    errors.iter().for_each(|error| warning!("{error}"));
    let (copied, manifest) = factory::populate(root, usr, head, &rules).or_fail(|| "copying /etc".into())?;
    if head.strategy == Strategy::Symlink {
        links::make(root, usr, *machine, credentials, Durable::Caller)?;
    }
    let added = users::add(root, usr, *machine, credentials, Flush::Caller)?;
    machine_id::keep(root, *machine, Durable::Caller).or_fail(|| "keeping the machine id".into())?;
    machine_id::initialize(root, Durable::Caller).or_fail(|| "/etc/machine-id".into())?;
    store::commit(root, &manifest, Durable::Caller, &mut Unwatched)
        .or_fail(|| "the manifest of /etc".into())?;
    info!(
        "/etc: {} files, {} directories, {} links from the factory; {added} users and groups added",
        copied.files, copied.directories, copied.symlinks,
    );
    Ok(())
}

/// Looks after the root that was mounted. /etc follows a /usr that is another one than last time; as long as systemd has not
/// committed its machine id, every boot offers the same one again. A root that lasts for one boot is populated.
///
/// # Errors
/// As [`populate`], and a machine id that cannot be read or offered.
pub fn prepare(means: &Means, usr: &Usr, root: &Root) -> Result<(), Failure> {
    let Means { config, credentials, .. } = means;
    let directory = File::open(root.path()).or_fail(|| format!("cannot open {}", root.path().display()))?;
    let tree = directory.as_fd();
    let state = machine_id::state(tree).or_fail(|| "/etc/machine-id".into())?;
    let kept = machine_id::kept(tree).or_fail(|| "the kept machine id".into())?;
    let choose = || id::choose(config.machine_id.as_ref(), credentials);
    let mut id = kept;
    if !root.is_read_only() {
        let usr = usr.open()?;
        let head = head(config, usr.as_fd());
        if root.is_new() {
            let machine = choose()?;
            populate(tree, usr.as_fd(), &Identity { machine, head }, credentials)?;
            tell::relabel_all(tree)?;
            return offer(machine);
        }
        if store::followed(tree).or_fail(|| "the manifest of /etc".into())?.as_ref() != Some(&head) {
            let machine = match (state, kept) {
                (State::Valid(id), _) | (_, Some(id)) => id,
                _ => choose()?,
            };
            follow(tree, usr.as_fd(), &Identity { machine, head }, credentials, state)?;
            id = Some(machine);
        } else {
            base::create(tree, usr.as_fd()).or_fail(|| "base directories".into())?;
            if state.first_boot() {
                tell::relabel_all(tree)?;
            }
        }
    }
    match (state.first_boot(), id) {
        (true, Some(id)) => offer(id),
        _ => Ok(()),
    }
}

/// Brings a root that counts already to this /usr. Every step is crash-safe, and the manifest comes last: as long as it does not
/// name this /usr the next boot goes on from here.
fn follow(
    root: BorrowedFd<'_>,
    usr: BorrowedFd<'_>,
    Identity { machine, head }: &Identity,
    credentials: &Imported,
    state: State,
) -> Result<(), Failure> {
    match store::followed(root) {
        Ok(Some(last)) => info!("/etc follows {} and is brought to {}", last.usr, head.usr),
        _ => notice!("nothing tells which /usr /etc follows; it is brought to {}", head.usr),
    }
    base::create(root, usr).or_fail(|| "base directories".into())?;
    let (rules, errors) = factory::rules(usr, head).or_fail(|| "etc.conf".into())?;
    errors.iter().for_each(|error| warning!("{error}"));
    let (plan, problems) = follow::update(root, usr, head, &rules, Durable::Here, &mut Unwatched)
        .or_fail(|| "following /usr".into())?;
    problems.iter().for_each(|problem| warning!("{problem}"));
    if head.strategy == Strategy::Symlink {
        links::make(root, usr, *machine, credentials, Durable::Here)?;
    }
    let added = users::add(root, usr, *machine, credentials, Flush::Here)?;
    follow::needs_update(root).or_fail(|| "systemd's stamps".into())?;
    if state == State::Missing {
        machine_id::keep(root, *machine, Durable::Here).or_fail(|| "keeping the machine id".into())?;
        machine_id::initialize(root, Durable::Here).or_fail(|| "/etc/machine-id".into())?;
    }
    store::commit(root, &plan.manifest.text(), Durable::Here, &mut Unwatched)
        .or_fail(|| "the manifest of /etc".into())?;
    tell::deviations(&plan)?;
    info!(
        "/etc: {} changes, {} deviations; {added} users and groups added",
        plan.steps.len(),
        plan.deviations.len()
    );
    match state.first_boot() {
        true => tell::relabel_all(root),
        false => tell::relabel(root, &plan, head.strategy),
    }
}

/// Leaves the id where systemd takes it from.
fn offer(id: MachineId) -> Result<(), Failure> {
    fs::write(OFFERED, id.line())
        .and_then(|()| fs::set_permissions(OFFERED, fs::Permissions::from_mode(0o444)))
        .or_fail(|| format!("cannot write {OFFERED}"))
}
