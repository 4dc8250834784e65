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
    apply::{self, Place},
    compare::{Difference, compare},
    entry::Snapshot,
    factory::{self, Factory},
    manifest::{Head, Manifest},
    plan::{Input, Plan, plan},
    rules::Rules,
    scan::scan,
    store::{self, Kept},
};
use crate::{
    durable::Durable,
    os_release::OsRelease,
    tree::{open, watch::Watch},
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

/// Brings /etc of the root from the factory that it followed last to the factory of `usr`. Returns the plan that was
/// carried out, whose manifest is to be committed, and the faults of ignored files.
///
/// # Errors
/// An entry that cannot be read or written, a user database that cannot be understood. A second run goes on from there.
pub fn update(
    root: BorrowedFd<'_>,
    usr: BorrowedFd<'_>,
    head: &Head,
    rules: &Rules,
    durable: Durable,
    watch: &dyn Watch,
) -> Result<(Plan, Vec<String>), EtcError> {
    let etc = factory::etc(root)?;
    apply::clear(etc.as_fd())?;
    let factory = Factory::find(usr)?;
    let Kept { manifest, journal, problems } = store::kept(root)?;
    let plan = look(root, factory.as_ref(), head, rules, manifest.as_ref(), &journal)?;
    // Without a factory there are only removals, which need none.
    let tree = factory.as_ref().map_or(etc.as_fd(), |factory| factory.tree.as_fd());
    apply::apply(Place { root, etc: etc.as_fd(), factory: tree }, &plan, durable, watch)?;
    Ok((plan, problems))
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
    journal: &super::manifest::Journal,
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
            || journal.paths.contains_key(path)
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

/// Makes systemd see that /usr was updated, with any times of /usr.
///
/// # Errors
/// A stamp that cannot be removed.
pub fn needs_update(root: BorrowedFd<'_>, watch: &dyn Watch) -> Result<(), EtcError> {
    for stamp in STAMPS {
        let (above, name) = stamp.split_once('/').unwrap_or((".", stamp));
        let directory = match open::directory(root, above) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
            directory => directory.map_err(EtcError::call("open", format_args!("/{above}")))?,
        };
        let removed = watch
            .before("remove", stamp.as_bytes())
            .and_then(|()| fs::unlinkat(&directory, name, AtFlags::empty()));
        match removed {
            Ok(()) | Err(Errno::NOENT | Errno::ISDIR) => {}
            Err(errno) => return Err(EtcError::call("remove", format_args!("/{stamp}"))(errno)),
        }
    }
    Ok(())
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
