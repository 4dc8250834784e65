//! The users of sysusers.d.

use super::{FurnishError, Report, Request};
use crate::{
    durable::Durable,
    level::Level,
    sysusers,
    tree::{Tree, watch::Watch},
};

/// Adds the users and groups of sysusers.d that the root lacks.
pub(super) fn add(
    request: &Request<'_>,
    durable: Durable,
    watch: &dyn Watch,
    report: &mut Report,
) -> Result<(), FurnishError> {
    let Request { root, usr, credentials, now, waiting, .. } = *request;
    let options = sysusers::Options {
        credentials,
        service: &(),
        today: u32::try_from(now / 86_400).unwrap_or(u32::MAX),
        durable,
        waiting,
        watch,
        dry_run: false,
    };
    let added = sysusers::add(Tree { root, usr }, &request.facts(), options).map_err(FurnishError::Users)?;
    // As systemd-sysusers does: one bad line costs its user, not the boot.
    let serious = added.messages.iter().filter(|message| message.level <= Level::Warning);
    report.say(Level::Warning, serious.map(|message| format!("sysusers.d: {message}")));
    report.users = added.users.len() + added.groups.len();
    Ok(())
}
