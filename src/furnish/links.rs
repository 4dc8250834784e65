//! The links that tmpfiles.d makes in /etc. `hermetic.etc=symlink` makes all of them before systemd starts and needs them; elsewhere
//! a path that the image itself makes a link into its factory is that link and no copy, which would be in its way for ever.

use super::{FurnishError, Report, Request};
use crate::{
    durable::Durable,
    etc::Rules,
    level::Level,
    tmpfiles::{self, Kind, Log, Operation, Selection, Specifiers, log::Kept},
    tree::{
        Tree,
        watch::{Unwatched, Watch},
    },
};

/// Carries out the L and C lines for /etc. A line that is wrong or cannot be carried out loses its entry, not the boot.
/// On a root in use, an entry that a power cut left incomplete is made whole by the next boot. The paths in `free` stay so.
pub(super) fn make(
    request: &Request<'_>,
    free: &[&[u8]],
    durable: Durable,
    watch: &dyn Watch,
    report: &mut Report,
) -> Result<(), FurnishError> {
    let Request { root, usr, .. } = *request;
    let excluded = free.iter().map(|path| [b"/etc/".as_slice(), path].concat()).collect();
    let selection = Selection { excluded, ..in_etc(vec![Kind::Symlink, Kind::Copy]) };
    let specifiers = Specifiers::of_system(request.facts());
    let lines = lines(request, &specifiers, &selection, durable, watch);
    let outcome =
        tmpfiles::run(Tree { root, usr }, &lines, &mut Told(report)).map_err(FurnishError::Links)?;
    let tmpfiles::run::Outcome { invalid, failed } = outcome;
    report.messages.push((
        Level::Info,
        format!("tmpfiles.d: {invalid} lines are wrong, {failed} could not be carried out"),
    ));
    Ok(())
}

/// Adds the paths to the rules that tmpfiles.d of the image makes links into its factory.
///
/// # Errors
/// A directory of tmpfiles.d that cannot be read.
pub(super) fn rule(request: &Request<'_>, rules: &mut Rules) -> Result<(), FurnishError> {
    let Request { root, usr, .. } = *request;
    let selection = in_etc(vec![Kind::Symlink]);
    let specifiers = Specifiers::of_system(request.facts());
    let lines = lines(request, &specifiers, &selection, Durable::Caller, &Unwatched);
    // What is wrong with a line systemd-tmpfiles says.
    let mut unsaid = Kept::up_to(Level::Error);
    let read = tmpfiles::run::read(Tree { root, usr }, &lines, &mut unsaid).map_err(FurnishError::Links)?;
    for item in read.items() {
        if let Some(path) = linked(&item.path, item.argument.as_deref().unwrap_or_default()) {
            rules.link(path);
        }
    }
    Ok(())
}

/// The path below /etc, when the target is its twin in the factory.
fn linked<'a>(path: &'a [u8], target: &[u8]) -> Option<&'a [u8]> {
    // A relative target climbs to the root at least.
    let mut below = target.strip_prefix(b"/").unwrap_or(target);
    while let Some(rest) = below.strip_prefix(b"../") {
        below = rest;
    }
    let is_twin = below.strip_prefix(b"usr/share/factory") == Some(path);
    path.strip_prefix(b"/etc/").filter(|_| is_twin)
}

/// The lines of these kinds for /etc.
fn in_etc(kinds: Vec<Kind>) -> Selection {
    Selection { boot: true, prefixes: vec![b"/etc".to_vec()], kinds, ..Selection::default() }
}

fn lines<'a>(
    request: &Request<'a>,
    specifiers: &'a Specifiers,
    selection: &'a Selection,
    durable: Durable,
    watch: &'a dyn Watch,
) -> tmpfiles::Request<'a> {
    let (credentials, operations) = (request.credentials, &[Operation::Create]);
    tmpfiles::Request { specifiers, credentials, selection, operations, is_dry_run: false, durable, watch }
}

/// Records the messages; the work on each path is not worth a message.
struct Told<'a>(&'a mut Report);

impl Log for Told<'_> {
    fn say(&mut self, level: Level, message: String) {
        let level = match level {
            // One line does not end a boot.
            Level::Error => Level::Warning,
            Level::Info | Level::Debug => return,
            level => level,
        };
        self.0.messages.push((level, format!("tmpfiles.d: {message}")));
    }
}

#[cfg(test)]
mod tests {
    use super::linked;

    #[test]
    fn targets_that_are_the_twin_in_the_factory() {
        for (path, target, expected) in [
            ("/etc/ssl", "/usr/share/factory/etc/ssl", Some("ssl")),
            ("/etc/ssl", "../usr/share/factory/etc/ssl", Some("ssl")),
            ("/etc/a/b", "../../usr/share/factory/etc/a/b", Some("a/b")),
            ("/etc/ssl", "/usr/share/factory/etc/tls", None),
            ("/etc/mtab", "../proc/self/mounts", None),
            ("/etc/ssl", "", None),
            ("/etc", "/usr/share/factory/etc", None),
        ] {
            let found = linked(path.as_bytes(), target.as_bytes());
            assert_eq!(found, expected.map(str::as_bytes), "{path} {target}");
        }
    }
}
