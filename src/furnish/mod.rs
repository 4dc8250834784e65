//! Furnishes a root with all files that it needs before systemd starts, in an order that is safe against a power cut.
//!
//! | step | an empty root ([`create`]) | a root in use ([`follow()`]) |
//! |---|---|---|
//! | 1 | base directories | likewise, those that are missing |
//! | 2 | the rules of etc.conf are read, and the links into the factory of tmpfiles.d | likewise |
//! | 3 | host name, language and time zone that came as credentials | |
//! | 4 | the factory's /etc is copied | /etc is brought from the old factory to the new one |
//! | 5 | the lines of tmpfiles.d for /etc, when it holds links | likewise |
//! | 6 | users and groups of sysusers.d | likewise, those that are missing |
//! | 7 | | systemd's stamps of the old /usr are removed |
//! | 8 | the machine id is kept, and /etc/machine-id says `uninitialized` | likewise, without /etc/machine-id |
//! | 9 | the manifest is written | likewise |
//!
//! Links and users come after the factory's /etc because a file that exists is never replaced: the ids in the factory's
//! passwd own files of /usr. The manifest comes last: as long as it does not name this /usr, the next boot goes on from
//! the point of the power cut, to this /usr or to another one. Each step finds its earlier results and does the rest.
//!
//! | module | content |
//! |---|---|
//! | `credstore` | credentials of the machine, and of /usr |
//! | `error` | a step that failed, as one line |
//! | `report` | counts, deviations, messages |
//! | `firstboot` | step 3 |
//! | `links` | step 5 |
//! | `users` | step 6 |

mod credstore;
mod error;
mod firstboot;
mod links;
mod report;
mod users;

use std::os::fd::BorrowedFd;

use rustix::{fs::Mode, process::umask};

use crate::{
    durable::Durable,
    etc::{
        EtcError, Rules, Strategy, base, factory,
        follow::{self, Updated},
        machine_id::{self, MachineId, State},
        manifest::{Head, Journal},
        store,
    },
    fragments::Facts,
    level::Level,
    sysusers::{Credentials, Waiting},
    tree::watch::{Unwatched, Watch, Witness},
};

pub use error::{FurnishError, Step};
pub use report::{Deviation, Report, Why};

use credstore::Store;
use error::At as _;

/// Everything that a furnished root is known by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The machine's id. None leaves the choice to the first boot, as on a build machine.
    pub machine: Option<MachineId>,
    /// The /usr whose factory the root gets, and how.
    pub head: Head,
}

/// A root, and everything that it is furnished from.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The root's directory.
    pub root: BorrowedFd<'a>,
    /// The directory that is its /usr.
    pub usr: BorrowedFd<'a>,
    /// Everything that it will be known by.
    pub identity: &'a Identity,
    /// Passwords, shells, settings and further lines for sysusers.d and tmpfiles.d, before those of `/usr/lib/credstore`.
    pub credentials: &'a dyn Credentials,
    /// The values of specifiers. That of the machine id comes from the identity.
    pub facts: &'a Facts,
    /// The time, in seconds since 1970.
    pub now: u64,
    /// Other programs that change the root's users right now.
    pub waiting: Waiting,
}

impl Request<'_> {
    /// The values of specifiers, the machine id's among them.
    fn facts(&self) -> Facts {
        Facts { machine_id: self.identity.machine.map(|id| id.to_string()), ..self.facts.clone() }
    }
}

/// Makes a root that systemd can start on out of an empty one. Nothing is flushed: the root counts only when the caller
/// has flushed all of it.
///
/// # Errors
/// The step that failed. The report has the results before it.
pub fn create(request: &Request<'_>, report: &mut Report) -> Result<(), FurnishError> {
    // Files get the modes that they are created with; without a mask that takes no second call for each of them.
    let mask = umask(Mode::empty());
    let store = Store::of(request.credentials, request.usr);
    let done = fill(&Request { credentials: &store, ..*request }, report);
    report.say(Level::Warning, store.problems());
    report.say(Level::Info, store.left());
    umask(mask);
    done
}

fn fill(request: &Request<'_>, report: &mut Report) -> Result<(), FurnishError> {
    let Request { root, usr, identity: Identity { machine, head }, .. } = *request;
    let durable = Durable::Caller;
    base::create(root, usr).at(Step::Base)?;
    let mut rules = rules(request, report)?;
    let free = firstboot::write(request, report).at(Step::Settings)?;
    free.iter().for_each(|path| rules.free(path));
    let (copied, manifest) = factory::copy(root, usr, head, &rules).at(Step::Copy)?;
    report.copied = copied;
    if head.strategy == Strategy::Symlink {
        links::make(request, &free, durable, &Unwatched, report)?;
    }
    users::add(request, durable, &Unwatched, report)?;
    if let Some(machine) = *machine {
        // systemd sees a first boot.
        keep(root, machine, durable, &Unwatched).at(Step::MachineId)?;
    }
    store::commit(root, &manifest, None, durable, &Unwatched).at(Step::Manifest)
}

/// Brings a root in use to another /usr. Every step is crash-safe, and the manifest comes last: as long as it does not
/// name this /usr the next boot goes on from here. `watch` sees every change before it is made.
///
/// A path that cannot follow is a deviation, and the root does not count as following this /usr: the next boot tries
/// again. Without room, or without a place for the journal, all of /etc stays as it was.
///
/// # Errors
/// The step that failed: the root or the image cannot be read, or `watch` refused a change. The report has the results
/// before it.
pub fn follow(request: &Request<'_>, watch: &dyn Watch, report: &mut Report) -> Result<(), FurnishError> {
    let store = Store::of(request.credentials, request.usr);
    let request = &Request { credentials: &store, ..*request };
    let Request { root, usr, identity: Identity { machine, head }, .. } = *request;
    let (durable, watch) = (Durable::Here, &Witness::new(watch));
    base::create(root, usr).at(Step::Base)?;
    let rules = rules(request, report)?;
    let updated = follow::update(root, usr, head, &rules, durable, watch).at(Step::Update)?;
    report.say(Level::Warning, &updated.problems);
    report.updated(&updated, head.strategy);
    let Updated { plan, mut left, stays: None, is_news, .. } = updated else { return Ok(()) };
    if head.strategy == Strategy::Symlink {
        links::make(request, &[], durable, watch, report)?;
    }
    match users::add(request, durable, watch, report) {
        Err(FurnishError::Users(error)) if !watch.has_ended() => {
            report.lacks_users(error);
            left = left.or_else(|| Some(Journal::default()));
        }
        added => added?,
    }
    report.say(Level::Warning, store.problems());
    report.say(Level::Info, store.left());
    if is_news {
        let stamps = follow::needs_update(root, watch);
        ended(watch, stamps, Step::Stamps, report)?;
    }
    if let Some(machine) = *machine
        && machine_id::state(root).at(Step::MachineId)? == State::Missing
    {
        ended(watch, keep(root, machine, durable, watch).err(), Step::MachineId, report)?;
    }
    let committed = store::commit(root, &plan.manifest.text(), left.as_ref(), durable, watch);
    ended(watch, committed.err(), Step::Manifest, report)
}

/// The strategy for each path: of etc.conf, and where a path is copied by default, of the image's own tmpfiles.d.
fn rules(request: &Request<'_>, report: &mut Report) -> Result<Rules, FurnishError> {
    let (mut rules, errors) = factory::rules(request.usr, &request.identity.head).at(Step::Rules)?;
    report.say(Level::Warning, errors);
    if matches!(rules.default(), Strategy::Track | Strategy::Copy) {
        links::rule(request, &mut rules)?;
    }
    Ok(rules)
}

/// Makes warnings of the errors of a step, unless the watch refused a change: then the first of them is the end.
fn ended(
    watch: &Witness<'_>,
    errors: impl IntoIterator<Item = EtcError>,
    step: Step,
    report: &mut Report,
) -> Result<(), FurnishError> {
    for cause in errors {
        let error = FurnishError::Etc { step, cause };
        if watch.has_ended() {
            return Err(error);
        }
        report.say(Level::Warning, [error]);
    }
    Ok(())
}

/// Makes the missing base directories in a root that follows its /usr.
///
/// # Errors
/// A directory that could not be made.
pub fn complete(root: BorrowedFd<'_>, usr: BorrowedFd<'_>) -> Result<(), FurnishError> {
    base::create(root, usr).at(Step::Base).map(drop)
}

/// Keeps the machine id for systemd, and makes systemd see a first boot.
fn keep(
    root: BorrowedFd<'_>,
    machine: MachineId,
    durable: Durable,
    watch: &dyn Watch,
) -> Result<(), EtcError> {
    machine_id::keep(root, machine, durable, watch)?;
    machine_id::initialize(root, durable, watch).map(drop)
}
