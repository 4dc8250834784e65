//! A source of a volume's key, and the attempt to open the volume.

use super::{
    ask::{Answer, ask},
    attempts::Attempts,
    budget::budget,
    locked::Volume,
    sealed::Sealed,
};
use crate::{
    boot::{
        failure::{Failure, OrFail as _},
        machine::{credentials::Imported, devices::Devices},
    },
    info,
    luks::{LuksError, VolumeKey},
    notice,
    secret::Secret,
    sys::clock::Deadline,
    warning,
};

/// A source of keys.
pub trait Source: Sync {
    /// Its name, for people.
    fn name(&self) -> &'static str;

    /// Tries its keys.
    ///
    /// # Errors
    /// The header refuses to be opened; waiting fails; no randomness.
    fn open(&self, trial: &mut Trial<'_>) -> Result<Outcome, Failure>;
}

/// The outcome of trying a source.
pub enum Outcome {
    /// The volume key.
    Opened(VolumeKey),
    /// Nothing that opens the volume.
    InVain,
    /// No answer can come, neither for the sources after this.
    Nobody,
}

impl From<Option<VolumeKey>> for Outcome {
    fn from(key: Option<VolumeKey>) -> Self {
        key.map_or(Self::InVain, Self::Opened)
    }
}

/// The attempt to open a volume: the means of every source, and the results of those before.
pub struct Trial<'a> {
    /// The volume.
    pub volume: &'a Volume<'a>,
    /// The credentials of this boot.
    pub credentials: &'a Imported,
    /// The drivers, for a keyboard or a TPM that comes late.
    pub devices: &'a mut Devices,
    /// The TPM2 tokens that may still open it.
    pub sealed: Sealed,
    /// The attempts so far.
    pub tried: Attempts,
    /// The typed answers that may still be tried on keyslots (`tries=`); None: as many as there are.
    pub answers: Option<u32>,
}

impl<'a> Trial<'a> {
    /// An attempt of which nothing was tried.
    pub fn new(volume: &'a Volume<'a>, credentials: &'a Imported, devices: &'a mut Devices) -> Self {
        let answers = volume.options.tries;
        Self { volume, credentials, devices, sealed: Sealed::default(), tried: Attempts::new(), answers }
    }

    /// Tries one key. None when it opens nothing, which is logged and noted in `tried`.
    ///
    /// # Errors
    /// The header refuses to be opened.
    pub fn attempt(&mut self, source: &str, secret: &Secret) -> Result<Option<VolumeKey>, Failure> {
        let Volume { device, node, header, .. } = self.volume;
        let device = &device.name;
        match header.unlock(node.file(), secret, &mut self.tried.budget) {
            Ok(key) => {
                for skipped in &key.skipped {
                    warning!("{device}: keyslot {} was skipped: {}", skipped.keyslot, skipped.reason);
                }
                info!("{device}: {source} opens keyslot {}", key.keyslot);
                Ok(Some(key))
            }
            Err(error @ (LuksError::WrongKey { .. } | LuksError::NotAllTried { .. })) => {
                notice!("{device}: {source}: {error}");
                self.tried.note(format!("{source}: {error}"));
                Ok(None)
            }
            Err(error) => Err(error).or_fail(|| device.clone()),
        }
    }

    /// One answer from the consoles, with a budget of its own; None, with the reason noted, when there will be none.
    ///
    /// # Errors
    /// Waiting fails.
    pub fn answer(&mut self, question: &str, what: &str) -> Result<Option<Secret>, Failure> {
        let timeout = self.volume.options.timeout;
        match ask(question, timeout.map(Deadline::after), self.devices)? {
            Answer::Typed(typed) => {
                self.tried.budget = budget();
                return Ok(Some(typed));
            }
            Answer::Nothing => {
                let seconds = timeout.unwrap_or_default().as_secs();
                self.tried.note(format!("nobody typed {what} within {seconds} s"));
            }
            Answer::Nobody => self.tried.note("there is no console to ask on".into()),
        }
        Ok(None)
    }
}
