//! `hermetic.etc=symlink`: makes the links and copies of tmpfiles.d in /etc, before systemd starts and needs them.

use super::{FurnishError, Report, Request};
use crate::{
    durable::Durable,
    level::Level,
    tmpfiles::{self, Kind, Log, Operation, Selection, Specifiers},
    tree::{Tree, watch::Watch},
};

/// Carries out the L and C lines for /etc. A line that is wrong or cannot be carried out loses its entry, not the boot.
/// On a root in use, an entry that a power cut left incomplete is made whole by the next boot.
pub(super) fn make(
    request: &Request<'_>,
    durable: Durable,
    watch: &dyn Watch,
    report: &mut Report,
) -> Result<(), FurnishError> {
    let selection = Selection {
        boot: true,
        prefixes: vec![b"/etc".to_vec()],
        kinds: vec![Kind::Symlink, Kind::Copy],
        ..Selection::default()
    };
    let Request { root, usr, credentials, .. } = *request;
    let lines = tmpfiles::Request {
        specifiers: &Specifiers::of_system(request.facts()),
        credentials,
        selection: &selection,
        operations: &[Operation::Create],
        is_dry_run: false,
        durable,
        watch,
    };
    let outcome =
        tmpfiles::run(Tree { root, usr }, &lines, &mut Told(report)).map_err(FurnishError::Links)?;
    let tmpfiles::run::Outcome { invalid, failed } = outcome;
    report.messages.push((
        Level::Info,
        format!("tmpfiles.d: {invalid} lines are wrong, {failed} could not be carried out"),
    ));
    Ok(())
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
