//! The way to a volume's key: one source after the other, each with a line in the log.
//!
//! A source that does not open the volume does not end the attempts before all were tried; a header that may not be
//! opened does, before a question is asked.

use super::{
    key_file::KeyFiles,
    locked::Volume,
    passphrase::{Credential, Typed},
    source::{Outcome, Source, Trial},
    tpm2::{PinOfCredential, TypedPin, WithoutPin},
};
use crate::{
    boot::{
        failure::{Failure, OrFail as _},
        machine::{credentials::Imported, devices::Devices},
    },
    debug,
    luks::VolumeKey,
};

/// The sources of a key, in the order in which they are tried: first those that need no person, and among them the TPM,
/// which identifies the machine; then a person at a console.
const SOURCES: [&dyn Source; 6] = [&WithoutPin, &KeyFiles, &Credential, &PinOfCredential, &TypedPin, &Typed];

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
    let tried = trial.tried.join("; ");
    Err(Failure::new(format!("{}: nothing opens it: {tried}", volume.device.name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_tried_in_this_order() {
        let expected = [
            "a TPM2 token that needs no PIN",
            "a key file",
            "the credential cryptsetup.passphrase",
            "the credential cryptsetup.tpm2-pin",
            "somebody who types the PIN of a TPM2 token",
            "somebody who types a passphrase or a recovery key",
        ];
        assert_eq!(SOURCES.map(|source| source.name()), expected);
    }
}
