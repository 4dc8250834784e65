//! Stage "etc": the files that a root needs before systemd starts. This room decides what a root needs and reports the
//! changes; [`crate::furnish`] does it.

mod report;

use std::{
    fs::{self, File},
    os::{
        fd::{AsFd as _, BorrowedFd},
        unix::fs::PermissionsExt as _,
    },
};

use crate::{
    boot::{
        failure::{Failure, OrFail as _},
        furnished::{self, Way, create, failed},
        machine::{
            credentials::Imported,
            facts::{head, identity},
            id,
        },
        means::Means,
        stage::{root::Root, usr::Usr},
    },
    etc::{
        machine_id::{self, MachineId, State},
        manifest::Head,
        store,
    },
    furnish::{self, Identity, Report},
    info, notice,
    tree::watch::Unwatched,
    warning,
};

/// The file in which systemd looks for an id that was chosen for it (systemd: src/shared/machine-id-setup.c).
const OFFERED: &str = "/run/machine-id";

/// A root that systemd can start on. Only this stage makes one.
pub struct Ready(Root);

impl Ready {
    /// The root.
    pub fn root(&self) -> &Root {
        &self.0
    }
}

/// Makes the mounted root one that systemd can start on.
///
/// # Errors
/// As [`furnished::create`], and a machine id that cannot be read or offered.
pub fn prepare(means: &Means, usr: &Usr, root: Root) -> Result<Ready, Failure> {
    look_after(means, usr, &root)?;
    Ok(Ready(root))
}

/// Looks after the root that was mounted. /etc follows a /usr that is another one than last time; as long as systemd has not
/// committed its machine id, every boot offers the same one again. A root that lasts for one boot is made whole here.
fn look_after(means: &Means, usr: &Usr, root: &Root) -> Result<(), Failure> {
    let Means { config, credentials, .. } = means;
    let directory = File::open(root.path()).or_fail(|| format!("cannot open {}", root.path().display()))?;
    let tree = directory.as_fd();
    let state = machine_id::state(tree).or_fail(|| "cannot tell if this is a first boot".into())?;
    if state == State::Dangling {
        warning!("/etc/machine-id is a link that leads nowhere: its id is left to those who made it");
    }
    let kept = machine_id::kept(tree).or_fail(|| "cannot tell which machine id the root keeps".into())?;
    let choose = || id::choose(config.machine_id.as_ref(), credentials);
    let mut offered = kept;
    if root.is_read_only() {
        stays(tree, &head(config, usr.open()?.as_fd()));
    } else {
        let usr = usr.open()?;
        let usr = usr.as_fd();
        if root.is_new() {
            let machine = choose()?;
            create(tree, usr, &identity(config, usr, machine), credentials)?;
            report::relabel_all(tree)?;
            return offer(machine);
        }
        let head = head(config, usr);
        let followed = store::followed(tree).or_fail(|| "cannot tell which /usr /etc follows".into())?;
        if followed.as_ref() == Some(&head) {
            furnish::complete(tree, usr).map_err(failed)?;
            if state.first_boot() {
                report::relabel_all(tree)?;
            }
        } else {
            let machine = match (state, kept) {
                (State::Valid(id), _) | (_, Some(id)) => id,
                _ => choose()?,
            };
            if state != State::Dangling {
                offered = Some(machine);
            }
            let last = store::last(tree).or_fail(|| "cannot tell which /usr /etc follows".into())?;
            match (followed, last) {
                (Some(last), _) => info!("/etc follows {} and is brought to {}", last.usr, head.usr),
                (None, Some(last)) if last == head => {
                    info!("not all of /etc follows {}: it is tried again", head.usr);
                }
                (None, Some(last)) => {
                    notice!(
                        "the last update of /etc, which followed {}, is not whole; it is brought to {}",
                        last.usr,
                        head.usr,
                    );
                }
                (None, None) => {
                    notice!("nothing tells which /usr /etc follows; it is brought to {}", head.usr)
                }
            }
            let report = follow(tree, usr, &Identity { machine: Some(machine), head }, credentials)?;
            match state.first_boot() {
                true => report::relabel_all(tree)?,
                false => report::relabel(tree, &report.unlabelled)?,
            }
        }
    }
    match offered {
        Some(id) if state.first_boot() => offer(id),
        _ => Ok(()),
    }
}

/// Tells of the /etc of a read-only root that should follow this /usr, and does not.
fn stays(root: BorrowedFd<'_>, head: &Head) {
    match store::followed(root) {
        Ok(Some(last)) if last == *head => {}
        Ok(Some(last)) => {
            warning!("root is read-only: /etc follows {} and is not brought to {}", last.usr, head.usr)
        }
        // Nobody has asked for it before: the operator's own /etc.
        Ok(None) => info!("root is read-only: /etc is not brought to {}", head.usr),
        Err(error) => warning!("cannot tell which /usr /etc follows: {error}"),
    }
}

/// Brings a root that counts already to this /usr.
fn follow(
    root: BorrowedFd<'_>,
    usr: BorrowedFd<'_>,
    identity: &Identity,
    credentials: &Imported,
) -> Result<Report, Failure> {
    let way: &Way<'_> = &|request, report| furnish::follow(request, &Unwatched, report);
    let report = furnished::by(way, root, usr, identity, credentials)?;
    report::deviations(&report.deviations)?;
    info!(
        "/etc: {} changes, {} deviations; {} users and groups added",
        report.changes,
        report.deviations.len(),
        report.users,
    );
    Ok(report)
}

/// Leaves the id where systemd takes it from.
fn offer(id: MachineId) -> Result<(), Failure> {
    fs::write(OFFERED, id.line())
        .and_then(|()| fs::set_permissions(OFFERED, fs::Permissions::from_mode(0o444)))
        .or_fail(|| format!("cannot write {OFFERED}"))
}
