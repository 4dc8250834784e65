//! Carrying out the steps of a plan on an open /etc.
//!
//! The journal comes first. Then everything new is made in one hidden directory of /etc and flushed; only then come the steps,
//! each of which is one system call that a power cut finds done or not done. Running again, with a plan that was made by
//! the journal, ends as if there had been no cut.

use std::{
    ffi::{CStr, CString},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{self, AtFlags, Gid, Mode, RenameFlags, Uid},
    io::Errno,
};

use super::{
    EtcError, STAGED, atomic,
    copy::{Copier, Route},
    entry::{Entry, name, parent},
    label,
    manifest::{Journal, Text},
    plan::{Plan, Step},
    room,
    rules::Rules,
    store,
};
use crate::{
    durable::Durable,
    tree::{
        attributes::Attributes,
        fixed,
        inode::Inode,
        open, remove, replace,
        watch::{Watch, Witness},
        xattr::Xattrs,
    },
};

/// The directories in which a plan is carried out.
#[derive(Clone, Copy)]
pub(super) struct Place<'fd> {
    /// The root.
    pub(super) root: BorrowedFd<'fd>,
    /// Its /etc.
    pub(super) etc: BorrowedFd<'fd>,
    /// The factory's tree.
    pub(super) factory: BorrowedFd<'fd>,
}

/// The result of carrying out a plan.
pub(super) enum Outcome {
    /// All steps were tried. These failed.
    Tried(Vec<Failed>),
    /// Nothing was changed.
    Stays(EtcError),
}

/// A step that failed on its path.
pub(super) struct Failed {
    /// Its number in the plan.
    pub(super) step: usize,
    /// The reason; None when another step that failed is the reason.
    pub(super) error: Option<EtcError>,
}

/// Removes the staged files of an interrupted update. A directory that stays is empty and is used again.
///
/// # Errors
/// The error of the file system.
pub(super) fn clear(etc: BorrowedFd<'_>) -> Result<(), EtcError> {
    let path = format_args!("/etc/{STAGED}");
    // On a file system that is read-only there is none, and nothing may be removed.
    if open::exists(etc, STAGED).map_err(EtcError::call("look at", path))?
        && let Err(errno) = remove::tree(etc, STAGED.as_bytes())
    {
        let left = open::directory(etc, STAGED).and_then(|staged| remove::names(&staged));
        if left != Ok(Vec::new()) {
            return Err(EtcError::call("remove", path)(errno));
        }
    }
    Ok(())
}

/// Carries out the steps of a plan that can be. A step that fails on its path leaves the others alone. `journal` is kept
/// before the first one.
///
/// # Errors
/// The image's factory cannot be read, or the watch has refused a change. The journal then has the possible results.
pub(super) fn apply(
    place: Place<'_>,
    plan: &Plan,
    journal: &Journal,
    durable: Durable,
    watch: &Witness<'_>,
) -> Result<Outcome, EtcError> {
    let mut failed: Vec<Failed> = Vec::new();
    if plan.steps.is_empty() {
        return Ok(Outcome::Tried(failed));
    }
    if fixed::takes_nothing(place.etc) {
        return Ok(Outcome::Stays(EtcError::call("change", "/etc")(Errno::PERM)));
    }
    let mut directories = Directories { etc: place.etc, open: None };
    let mut live = Vec::new();
    for (number, step) in plan.steps.iter().enumerate() {
        if is_implied(plan, &failed, step) {
            failed.push(Failed { step: number, error: None });
        } else if let Some(error) = forbidden(&mut directories, step) {
            failed.push(Failed { step: number, error: Some(error) });
        } else {
            live.push(number);
        }
    }
    // Nothing is written for what cannot be done.
    if live.is_empty() {
        return Ok(Outcome::Tried(failed));
    }
    let kept = journal.text();
    let staged = match room::check(place.etc, place.factory, plan, &kept, &live)
        .and_then(|()| stage_all(place, plan, &kept, (durable, watch), &mut live, &mut failed))
    {
        Ok(staged) => staged,
        Err(error) if watch.has_ended() || error.is_of_factory() => return Err(error),
        Err(error) => return Ok(Outcome::Stays(error)),
    };
    directories.open = None;
    for number in live {
        let Some(step) = plan.steps.get(number) else { continue };
        if is_implied(plan, &failed, step) {
            failed.push(Failed { step: number, error: None });
            continue;
        }
        match perform(place, staged.as_fd(), &mut directories, number, step, watch) {
            Ok(()) => {}
            Err(error) if watch.has_ended() || error.is_of_factory() => return Err(error),
            Err(error) => failed.push(Failed { step: number, error: Some(error) }),
        }
    }
    watch
        .before("unstage", STAGED.as_bytes())
        .map_err(EtcError::call("remove", format_args!("/etc/{STAGED}")))?;
    // Files of steps that failed are still in it. When it cannot go, the next update begins with it.
    let _left_for_the_next = clear(place.etc);
    Ok(Outcome::Tried(failed))
}

/// Keeps the journal, and makes all new files in the hidden directory, which is returned. A step whose file cannot be
/// made moves from `live` to `failed`.
///
/// # Errors
/// The root has no place for the journal or for the new files.
fn stage_all(
    place: Place<'_>,
    plan: &Plan,
    journal: &Text,
    (durable, watch): (Durable, &Witness<'_>),
    live: &mut Vec<usize>,
    failed: &mut Vec<Failed>,
) -> Result<OwnedFd, EtcError> {
    let kept = store::make(place.root)?;
    // First of all, so that the next boot looks for its leftovers with any /usr.
    store::begin(kept.as_fd(), journal, durable, watch)?;
    match watch
        .before("stage", STAGED.as_bytes())
        .and_then(|()| fs::mkdirat(place.etc, STAGED, Mode::from_raw_mode(0o700)))
    {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(EtcError::call("create directory", format_args!("/etc/{STAGED}"))(errno)),
    }
    let staged =
        open::directory(place.etc, STAGED).map_err(EtcError::call("open", format_args!("/etc/{STAGED}")))?;
    let rules = Rules::new(super::rules::Strategy::Track);
    let mut copier = Copier::new(staged.as_fd(), &rules, "");
    for number in core::mem::take(live) {
        let Some(step) = plan.steps.get(number) else { continue };
        match stage(place, staged.as_fd(), &mut copier, number, step, watch) {
            Ok(()) => live.push(number),
            Err(error) if watch.has_ended() || error.is_of_factory() || error.is_full() => return Err(error),
            Err(error) => failed.push(Failed { step: number, error: Some(error) }),
        }
    }
    if durable == Durable::Here {
        atomic::flush(place.etc, watch)?;
    }
    Ok(staged)
}

/// Returns true when a step cannot be done because another one failed: the path is the same, the directory was not
/// made, or it is not empty.
fn is_implied(plan: &Plan, failed: &[Failed], step: &Step) -> bool {
    let path = step.path();
    failed.iter().filter_map(|failed| plan.steps.get(failed.step)).any(|other| {
        other.path() == path
            || (matches!(other, Step::Put { .. }) && is_below(path, other.path()))
            || (matches!(step, Step::Remove { .. }) && is_below(other.path(), path))
    })
}

fn is_below(path: &[u8], directory: &[u8]) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/"))
}

/// The error of a step that the attributes of chattr(1) forbid.
fn forbidden(directories: &mut Directories<'_>, step: &Step) -> Option<EtcError> {
    let path = step.path();
    // A directory that is still to be made has no attributes.
    let (above, name) = directories.of(path).ok()?;
    let is_forbidden = match step {
        Step::Put { replaces: false, .. } => fixed::takes_nothing(above),
        Step::Adjust { .. } => {
            open::directory(above, name).is_ok_and(|directory| fixed::keeps_attributes(directory.as_fd()))
        }
        Step::Put { .. } | Step::Write { .. } | Step::Remove { .. } => fixed::stays(above, name),
    };
    is_forbidden.then(|| EtcError::call("change", shown(path))(Errno::PERM))
}

/// The name under which the new file of a step is staged.
fn staged_name(number: usize) -> CString {
    // A number does not contain a NUL.
    CString::new(number.to_string()).unwrap_or_default()
}

/// Makes the staged file of a step.
fn stage(
    place: Place<'_>,
    staged: BorrowedFd<'_>,
    copier: &mut Copier<'_>,
    number: usize,
    step: &Step,
    watch: &dyn Watch,
) -> Result<(), EtcError> {
    let new_name = staged_name(number);
    match step {
        Step::Remove { .. } | Step::Adjust { .. } => Ok(()),
        Step::Put { path, from, entry, .. } => {
            watch.before("stage", path).map_err(EtcError::call("stage", shown(path)))?;
            let above = parent(from).unwrap_or_default();
            let source = match above {
                b"" => rustix::io::fcntl_dupfd_cloexec(place.factory, 0),
                above => open::below(place.factory, above),
            }
            .map_err(EtcError::factory("open", shown(above)))?;
            let name = cstring(name(from));
            let route = Route {
                source: source.as_fd(),
                name: &name,
                target: staged,
                new_name: &new_name,
                inherits: false,
            };
            copier.one(route, &entry.kind, above)
        }
        Step::Write { path, content } => {
            watch.before("stage", path).map_err(EtcError::call("stage", shown(path)))?;
            let old = fs::statat(place.etc, path.as_slice(), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(EtcError::call("look at", shown(path)))?;
            let attributes = Attributes {
                owner: Some((old.st_uid, old.st_gid)),
                mode: Some(old.st_mode & 0o7777),
                ..Attributes::default()
            };
            replace::new(staged, new_name.to_bytes(), content, &attributes)
                .map(drop)
                .map_err(|failed| EtcError::call(failed.step, shown(path))(failed.errno))
        }
    }
}

/// Does one step.
fn perform(
    place: Place<'_>,
    staged: BorrowedFd<'_>,
    directories: &mut Directories<'_>,
    number: usize,
    step: &Step,
    watch: &dyn Watch,
) -> Result<(), EtcError> {
    match step {
        Step::Remove { path, directory } => {
            let flags = if *directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
            let (above, name) = directories.of(path)?;
            watch
                .before("remove", path)
                .and_then(|()| fs::unlinkat(above, name, flags))
                .map_err(EtcError::call("remove", shown(path)))
        }
        Step::Put { path, replaces, .. } => {
            // A name that was free may not have been taken meanwhile.
            let flags = if *replaces { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
            let (above, name) = directories.of(path)?;
            watch
                .before("rename", path)
                .and_then(|()| rename(staged, &staged_name(number), above, name, flags))
                .map_err(EtcError::call("put in place", shown(path)))
        }
        Step::Write { path, .. } => {
            let (above, name) = directories.of(path)?;
            watch
                .before("rename", path)
                .and_then(|()| fs::renameat(staged, &*staged_name(number), above, name))
                .map_err(EtcError::call("put in place", shown(path)))
        }
        Step::Adjust { path, from, entry } => adjust(place, path, from, entry, watch),
    }
}

/// `renameat2`; on a file system that does not support the flag a plain rename, to a name that the plan saw to be free.
fn rename(
    from: BorrowedFd<'_>,
    name: &CStr,
    to: BorrowedFd<'_>,
    new_name: &[u8],
    flags: RenameFlags,
) -> Result<(), Errno> {
    match fs::renameat_with(from, name, to, new_name, flags) {
        Err(Errno::INVAL) if !flags.is_empty() => fs::renameat(from, name, to, new_name),
        done => done,
    }
}

/// Gives a directory the owner, then the mode, then the attributes of the factory's.
fn adjust(
    place: Place<'_>,
    path: &[u8],
    from: &[u8],
    entry: &Entry,
    watch: &dyn Watch,
) -> Result<(), EtcError> {
    let to = open::below(place.etc, path).map_err(EtcError::call("open", shown(path)))?;
    watch
        .before("chown", path)
        .and_then(|()| fs::fchown(&to, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid))))
        .map_err(EtcError::call("set the owner of", shown(path)))?;
    watch
        .before("chmod", path)
        .and_then(|()| fs::fchmod(&to, Mode::from_raw_mode(entry.mode)))
        .map_err(EtcError::call("set the mode of", shown(path)))?;
    let mut space = Vec::new();
    let failed = || EtcError::call("change the attributes of", shown(path));
    let old = Xattrs::all(Inode::open(&to), &mut space).map_err(failed())?;
    if label::digest(&old) == entry.xattrs {
        return Ok(());
    }
    let source = open::below(place.factory, from).map_err(EtcError::factory("open", shown(from)))?;
    let new = Xattrs::all(Inode::open(&source), &mut space)
        .map_err(EtcError::factory("read attributes of", shown(from)))?;
    let stale = old.iter().filter(|(name, _)| !new.iter().any(|(new, _)| new == *name));
    for (name, _) in stale.filter(|(name, _)| !label::is_label(name)) {
        watch.before("removexattr", path).and_then(|()| fs::fremovexattr(&to, name)).map_err(failed())?;
    }
    for (name, value) in new.iter() {
        watch
            .before("setxattr", path)
            .and_then(|()| Inode::open(&to).set_xattr(name, value))
            .map_err(failed())?;
    }
    Ok(())
}

/// The directories of /etc, the one that was needed last kept open: paths come sorted.
struct Directories<'fd> {
    etc: BorrowedFd<'fd>,
    open: Option<(Vec<u8>, OwnedFd)>,
}

impl Directories<'_> {
    /// The open directory of a path, and the name in it.
    fn of<'a>(&'a mut self, path: &'a [u8]) -> Result<(BorrowedFd<'a>, &'a [u8]), EtcError> {
        let Some(above) = parent(path) else { return Ok((self.etc, path)) };
        if self.open.as_ref().is_none_or(|(open, _)| open != above) {
            self.open = None;
            let directory = open::below(self.etc, above).map_err(EtcError::call("open", shown(above)))?;
            self.open = Some((above.to_vec(), directory));
        }
        Ok((self.open.as_ref().map_or(self.etc, |(_, directory)| directory.as_fd()), name(path)))
    }
}

fn cstring(name: &[u8]) -> CString {
    // Names of a tree do not contain a NUL.
    CString::new(name).unwrap_or_default()
}

fn shown(path: &[u8]) -> String {
    format!("/etc/{}", String::from_utf8_lossy(path))
}
