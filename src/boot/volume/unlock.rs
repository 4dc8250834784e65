//! The way to a volume's key: one source after the other, each with a line in the log.
//!
//! A source that does not open the volume does not end the attempts before all were tried; a header that may not be
//! opened does, before a question is asked.

use super::{
    locked::Volume,
    source::{Outcome, Trial},
    sources::SOURCES,
};
use crate::{
    boot::{
        failure::{Failure, OrFail as _},
        machine::{credentials::Imported, devices::Devices},
    },
    debug,
    luks::VolumeKey,
};

/// Finds the key of a volume.
///
/// # Errors
/// The header refuses to be opened; no source has a key that opens it. The message names the keys that were tried.
pub fn unlock(
    volume: &Volume<'_>,
    credentials: &Imported,
    devices: &mut Devices,
) -> Result<VolumeKey, Failure> {
    volume.header.segment().or_fail(|| volume.device.name.clone())?;
    let mut trial = Trial::new(volume, credentials, devices);
    for source in SOURCES {
        debug!("{}: trying {}", volume.device.name, source.name());
        match source.open(&mut trial)? {
            Outcome::Opened(key) => return Ok(key),
            Outcome::InVain => {}
            Outcome::Nobody => break,
        }
    }
    Err(Failure::new(format!("{}: nothing opens it: {}", volume.device.name, trial.tried)))
}
