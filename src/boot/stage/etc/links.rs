//! `hermetic.etc=symlink`: what tmpfiles.d links and copies into /etc, before systemd starts and needs it.

use std::os::fd::BorrowedFd;

use super::users::facts_of;
use crate::{
    boot::{failure::Failure, machine::credentials::Imported},
    etc::{atomic::Durable, machine_id::MachineId},
    info,
    level::Level,
    notice,
    tmpfiles::{Kind, Log, Operation, Request, Selection, Specifiers, run},
    tree::Tree,
    warning,
};

/// Carries out the L and C lines for /etc. A line that is wrong or cannot be carried out costs what it asks for, not the boot. On a root
/// that counts already, what the power cut short is made whole the next time.
pub(super) fn make(
    root: BorrowedFd<'_>,
    usr: BorrowedFd<'_>,
    id: MachineId,
    credentials: &Imported,
    durable: Durable,
) -> Result<(), Failure> {
    let specifiers = Specifiers::of_system(facts_of(usr, Some(id)));
    let selection = Selection {
        boot: true,
        prefixes: vec![b"/etc".to_vec()],
        kinds: vec![Kind::Symlink, Kind::Copy],
        ..Selection::default()
    };
    let request = Request {
        specifiers: &specifiers,
        credentials: credentials.all(),
        selection: &selection,
        operations: &[Operation::Create],
        is_dry_run: false,
        is_durable: durable == Durable::Here,
    };
    let outcome = run(Tree { root, usr }, &request, &mut Told)
        .map_err(|error| Failure::new(format!("cannot read {}: {}", error.path, error.errno)))?;
    info!("tmpfiles.d: {} lines are wrong, {} could not be carried out", outcome.invalid, outcome.failed);
    Ok(())
}

/// What is said goes to the kernel log.
struct Told;

impl Log for Told {
    fn say(&mut self, level: Level, message: String) {
        match level {
            Level::Error | Level::Warning => warning!("tmpfiles.d: {message}"),
            Level::Notice => notice!("tmpfiles.d: {message}"),
            Level::Info | Level::Debug => {}
        }
    }
}
