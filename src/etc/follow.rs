//! /etc of an existing root follows the factory of another /usr.
//!
//! [`store::followed`] is the one comparison of a boot on which nothing changed. [`update`] does the rest, crash-safe,
//! and [`store::commit`] ends it, after everything else that belongs to it.

use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::{
    fs::{self, AtFlags},
    io::Errno,
};

use super::{
    EtcError, Side,
    apply::{self, Outcome, Place},
    compare::{Difference, compare},
    entry::Snapshot,
    factory::{self, Factory},
    manifest::{Head, Journal, Manifest},
    plan::{Input, Plan, plan},
    rules::Rules,
    scan::scan,
    store::{self, Kept},
};
use crate::{
    durable::Durable,
    os_release::OsRelease,
    sort,
    tree::{
        open,
        watch::{Watch, Witness},
    },
    verity::RootHash,
};

/// The stamps of systemd-update-done: without them, units with `ConditionNeedsUpdate=` run.
const STAMPS: [&str; 2] = ["etc/.updated", "var/.updated"];

/// The identity of a /usr: its root hash, else the image's fields of its os-release, else the os-release as it is.
/// Times are of no use: reproducible builds give all files the same one.
pub fn identity(root_hash: Option<&RootHash>, os_release: Option<&str>) -> String {
    if let Some(hash) = root_hash {
        return format!("roothash:{hash}");
    }
    let text = os_release.unwrap_or_default();
    let release = OsRelease::parse(text);
    match release.image_version() {
        Some(version) => {
            format!("image:{}/{version}", release.image_id().unwrap_or_else(|| release.id()))
        }
        None => format!("os-release:{}", super::entry::Digest::of(text.as_bytes())),
    }
}

/// The result of an update.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Updated {
    /// The plan that was carried out, its manifest as it is to be committed.
    pub plan: Plan,
    /// The faults of ignored files.
    pub problems: Vec<String>,
    /// The paths below /etc that could not follow, and the reasons.
    pub failed: Vec<(Vec<u8>, EtcError)>,
    /// The journal to keep for them.
    pub left: Option<Journal>,
    /// The reason why all of /etc stays as it was. Then nothing is to be committed.
    pub stays: Option<EtcError>,
    /// True when this is another /usr than last time, or an entry was changed.
    pub is_news: bool,
}

/// Brings /etc of the root from the factory that it followed last to the factory of `usr`.
///
/// # Errors
/// The root cannot be read, the factory cannot be read, or the watch refused a change. A second run goes on from there.
pub fn update(
    root: BorrowedFd<'_>,
    usr: BorrowedFd<'_>,
    head: &Head,
    rules: &Rules,
    durable: Durable,
    watch: &Witness<'_>,
) -> Result<Updated, EtcError> {
    let etc = factory::etc(root)?;
    let cleared = apply::clear(etc.as_fd());
    let factory = Factory::find(usr)?;
    let Kept { manifest, mut journal, problems } = store::kept(root)?;
    let mut plan = look(root, factory.as_ref(), head, rules, manifest.as_ref(), &journal)?;
    // Until an update commits, the states of all that were interrupted before it are possible.
    let is_first = journal == Journal::default();
    journal.grow(&plan.journal);
    // Without a factory there are only removals, which need none.
    let tree = factory.as_ref().map_or(etc.as_fd(), |factory| factory.tree.as_fd());
    let place = Place { root, etc: etc.as_fd(), factory: tree };
    let outcome = match cleared {
        Err(error) if !plan.steps.is_empty() => Outcome::Stays(error),
        _ => apply::apply(place, &plan, &journal, durable, watch)?,
    };
    let mut failed = match outcome {
        Outcome::Tried(failed) => failed,
        Outcome::Stays(error) => {
            // What was staged, and the journal of changes that were not made, cost room at most.
            let _left_for_the_next = apply::clear(etc.as_fd());
            if is_first {
                let _likewise = store::forget(root, watch);
            }
            return Ok(Updated {
                plan: Plan { steps: Vec::new(), ..plan },
                problems,
                failed: Vec::new(),
                left: None,
                stays: Some(error),
                is_news: false,
            });
        }
    };
    let is_news = manifest.as_ref().is_none_or(|base| base.head != *head) || failed.len() < plan.steps.len();
    let left = (!failed.is_empty()).then(|| {
        plan.without(&failed.iter().map(|failed| failed.step).collect::<Vec<_>>(), manifest.as_ref())
    });
    let mut reasons = Vec::new();
    let mut done = Vec::new();
    sort::by_key(&mut failed, |failed| failed.step);
    let mut failed = failed.into_iter().peekable();
    for (number, step) in core::mem::take(&mut plan.steps).into_iter().enumerate() {
        match failed.next_if(|failed| failed.step == number) {
            None => done.push(step),
            Some(failed) => reasons.extend(failed.error.map(|error| (step.path().to_vec(), error))),
        }
    }
    plan.steps = done;
    Ok(Updated { plan, problems, failed: reasons, left, stays: None, is_news })
}

/// The changes that [`update`] would make.
///
/// # Errors
/// As [`update`].
pub fn look_ahead(
    root: BorrowedFd<'_>,
    usr: BorrowedFd<'_>,
    head: &Head,
    rules: &Rules,
) -> Result<(Plan, Vec<String>), EtcError> {
    let Kept { manifest, journal, problems } = store::kept(root)?;
    let factory = Factory::find(usr)?;
    Ok((look(root, factory.as_ref(), head, rules, manifest.as_ref(), &journal)?, problems))
}

/// The deviations of the root's /etc from the factory of `usr`.
///
/// # Errors
/// An entry that cannot be read.
pub fn differences(
    root: BorrowedFd<'_>,
    usr: BorrowedFd<'_>,
    rules: &Rules,
) -> Result<Vec<Difference>, EtcError> {
    let (given, place) = match Factory::find(usr)? {
        Some(factory) => (scan(factory.tree.as_fd(), Side::Factory, &|_| true)?, factory.place()),
        None => (Snapshot::new(), String::new()),
    };
    let there = match open::directory(root, "etc") {
        Err(Errno::NOENT) => Snapshot::new(),
        etc => {
            let etc = etc.map_err(EtcError::call("open", "/etc"))?;
            scan(etc.as_fd(), Side::Root, &|path| given.contains_key(path))?
        }
    };
    Ok(compare(&given, &there, rules, &place))
}

fn look(
    root: BorrowedFd<'_>,
    factory: Option<&Factory>,
    head: &Head,
    rules: &Rules,
    base: Option<&Manifest>,
    journal: &Journal,
) -> Result<Plan, EtcError> {
    let (given, place, factory_users) = match factory {
        Some(factory) => {
            let tree = scan(factory.tree.as_fd(), Side::Factory, &|_| true)?;
            (tree, factory.place(), factory.users()?)
        }
        None => (Snapshot::new(), String::new(), super::users::Contents::new()),
    };
    // A file that was put beside one of the root's is in the manifest, under its name here.
    let wanted = |path: &[u8]| {
        given.contains_key(path)
            || base.is_some_and(|base| base.tree.contains_key(path))
            || journal.names(path)
    };
    let (there, root_users) = match open::directory(root, "etc") {
        Err(Errno::NOENT) => (Snapshot::new(), super::users::Contents::new()),
        etc => {
            let etc = etc.map_err(EtcError::call("open", "/etc"))?;
            let users = factory::contents(etc.as_fd())
                .map_err(EtcError::call("read the user databases of", "/etc"))?;
            (scan(etc.as_fd(), Side::Root, &wanted)?, users)
        }
    };
    Ok(plan(&Input {
        head,
        base,
        journal,
        root: &there,
        factory: &given,
        rules,
        place: &place,
        root_users: &root_users,
        factory_users: &factory_users,
    }))
}

/// Makes systemd see that /usr was updated, with any times of /usr. Returns the stamps that cannot be removed: what
/// depends on them is then not updated.
pub fn needs_update(root: BorrowedFd<'_>, watch: &dyn Watch) -> Vec<EtcError> {
    let remove = |stamp: &str| {
        let (above, name) = stamp.split_once('/').unwrap_or((".", stamp));
        let directory = store::directory(root, above)?;
        watch
            .before("remove", stamp.as_bytes())
            .and_then(|()| fs::unlinkat(&directory, name, AtFlags::empty()))
    };
    let failed = STAMPS.iter().filter_map(|stamp| match remove(stamp) {
        Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ISDIR) => None,
        Err(errno) => Some(EtcError::call("remove", format_args!("/{stamp}"))(errno)),
    });
    failed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usr_is_told_from_others() {
        let hash: RootHash = "0f".repeat(32).parse().unwrap();
        let image = "ID=debian\nIMAGE_ID=kiosk\nIMAGE_VERSION=7\n";
        assert_eq!(identity(Some(&hash), Some(image)), format!("roothash:{}", "0f".repeat(32)));
        assert_eq!(identity(None, Some(image)), "image:kiosk/7");
        assert_eq!(identity(None, Some("ID=debian\nIMAGE_VERSION=7\n")), "image:debian/7");
        assert_ne!(identity(None, Some("VERSION_ID=1\n")), identity(None, Some("VERSION_ID=2\n")));
        assert!(identity(None, None).starts_with("os-release:"));
    }
}
