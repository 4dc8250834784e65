//! The users of sysusers.d.

use std::os::fd::BorrowedFd;

use super::os_release;
use crate::{
    boot::{
        failure::{Failure, OrFail as _},
        machine::credentials::Imported,
    },
    etc::machine_id::MachineId,
    fragments::{Facts, facts},
    level::Level,
    os_release::OsRelease,
    sys::{attribute, clock},
    sysusers::{self, Flush},
    tree::Tree,
    warning,
};

/// Adds what sysusers.d asks for and the root lacks. Returns how many users and groups that were.
pub(super) fn add(
    root: BorrowedFd<'_>,
    usr: BorrowedFd<'_>,
    id: MachineId,
    credentials: &Imported,
    flush: Flush,
) -> Result<usize, Failure> {
    let options = sysusers::Options {
        credentials: credentials.all(),
        service: &(),
        today: today(),
        flush,
        dry_run: false,
    };
    let users = sysusers::populate(Tree { root, usr }, &facts_of(usr, Some(id)), options)
        .or_fail(|| "users".into())?;
    // As systemd-sysusers does: one bad line costs its user, not the boot.
    for message in users.messages.iter().filter(|message| message.level <= Level::Warning) {
        warning!("sysusers.d: {message}");
    }
    Ok(users.users.len() + users.groups.len())
}

fn today() -> u32 {
    u32::try_from(clock::unix_seconds() / 86_400).unwrap_or(u32::MAX)
}

/// What specifiers in the definitions of `usr` stand for on this machine; `id` is None before there is one.
pub fn facts_of(usr: BorrowedFd<'_>, id: Option<MachineId>) -> Facts {
    let uname = rustix::system::uname();
    Facts {
        machine_id: id.map(|id| id.line().trim_end().into()),
        boot_id: attribute("/proc/sys/kernel/random/boot_id").map(|id| id.replace('-', "")),
        kernel_release: uname.release().to_str().ok().map(Into::into),
        hostname: None,
        pretty_hostname: None,
        architecture: Some(facts::architecture(std::env::consts::ARCH).into()),
        os_release: os_release(usr).as_deref().map(OsRelease::parse),
    }
}
