//! A root, furnished by [`crate::furnish`] for this machine, and the log of it: for the stage that makes a root, and
//! for the one that updates it.

use std::os::fd::BorrowedFd;

use super::{
    failure::Failure,
    machine::{credentials::Imported, facts::facts_of},
};
use crate::{
    furnish::{self, FurnishError, Identity, Report, Request},
    info,
    sys::{clock, kmsg},
    sysusers::Waiting,
};

/// Makes a root that systemd can start on out of an empty one. Nothing is flushed: the root counts only when the caller
/// has flushed all of it.
///
/// # Errors
/// An entry that could not be written, a user database that cannot be read.
pub fn create(
    root: BorrowedFd<'_>,
    usr: BorrowedFd<'_>,
    identity: &Identity,
    credentials: &Imported,
) -> Result<(), Failure> {
    let Report { copied, users, .. } = by(&furnish::create, root, usr, identity, credentials)?;
    info!(
        "/etc: {} files, {} directories, {} links from the factory; {users} users and groups added",
        copied.files, copied.directories, copied.symlinks,
    );
    Ok(())
}

/// One of the ways in which a root is furnished.
pub type Way<'a> = dyn Fn(&Request<'_>, &mut Report) -> Result<(), FurnishError> + 'a;

/// Furnishes a root in this way, and logs what there is to say about it.
///
/// # Errors
/// Those of the way.
pub fn by(
    way: &Way<'_>,
    root: BorrowedFd<'_>,
    usr: BorrowedFd<'_>,
    identity: &Identity,
    credentials: &Imported,
) -> Result<Report, Failure> {
    let (credentials, facts) = (credentials.all(), &facts_of(usr));
    let request = Request {
        root,
        usr,
        identity,
        credentials,
        facts,
        now: clock::unix_seconds(),
        waiting: Waiting::Never,
    };
    let mut report = Report::default();
    let done = way(&request, &mut report);
    for (level, message) in &report.messages {
        kmsg::log(*level, format_args!("{message}"));
    }
    done.map_err(failed).map(|()| report)
}

/// The failure of a root that cannot be furnished.
pub fn failed(error: FurnishError) -> Failure {
    Failure::new(error.to_string())
}
