//! The TPM2, without a PIN, with that of a credential, and with that of a person at a console. A PIN is shown to the
//! TPM alone: a wrong one is never tried as a passphrase.

use crate::{
    boot::{
        failure::Failure,
        volume::{
            sealed::Sealed,
            source::{Outcome, Source, Trial},
        },
    },
    info,
    luks::VolumeKey,
    secret::Secret,
};

/// The credential with the PIN of a TPM2 token (systemd-cryptsetup(8)).
const CREDENTIAL: &str = "cryptsetup.tpm2-pin";

/// Source of keys: the tokens that need no PIN.
pub struct WithoutPin;

impl Source for WithoutPin {
    fn name(&self) -> &'static str {
        "a TPM2 token that needs no PIN"
    }

    fn open(&self, trial: &mut Trial<'_>) -> Result<Outcome, Failure> {
        trial.sealed = Sealed::find(trial.volume, &mut trial.tried, trial.devices)?;
        Ok(open(trial, None)?.into())
    }
}

fn open(trial: &mut Trial<'_>, pin: Option<&Secret>) -> Result<Option<VolumeKey>, Failure> {
    trial.sealed.open(trial.volume, pin, &mut trial.tried)
}

fn mind_lockout(trial: &mut Trial<'_>) -> Result<(), Failure> {
    trial.sealed.mind_lockout(trial.volume, &mut trial.tried)
}

/// Source of keys: the PIN of a credential.
pub struct PinOfCredential;

impl Source for PinOfCredential {
    fn name(&self) -> &'static str {
        "the credential cryptsetup.tpm2-pin"
    }

    fn open(&self, trial: &mut Trial<'_>) -> Result<Outcome, Failure> {
        mind_lockout(trial)?;
        if !trial.sealed.wants_pin() {
            return Ok(Outcome::InVain);
        }
        let Some(pin) = trial.credentials.all().get(CREDENTIAL) else { return Ok(Outcome::InVain) };
        info!("{}: trying the PIN of the credential {CREDENTIAL}", trial.volume.device.name);
        Ok(open(trial, Some(pin))?.into())
    }
}

/// Source of keys: a person at a console, asked for the PIN.
pub struct TypedPin;

impl Source for TypedPin {
    fn name(&self) -> &'static str {
        "somebody who types the PIN of a TPM2 token"
    }

    fn open(&self, trial: &mut Trial<'_>) -> Result<Outcome, Failure> {
        let volume = trial.volume;
        let question = format!("TPM2 PIN for {} (nothing: another key)", volume.named());
        let mut left = volume.options.tries;
        loop {
            mind_lockout(trial)?;
            if !trial.sealed.wants_pin() || left == Some(0) || volume.options.headless {
                return Ok(Outcome::InVain);
            }
            left = left.map(|left| left - 1);
            let Some(pin) = trial.answer(&question, "the PIN")? else { return Ok(Outcome::Nobody) };
            if pin.expose().is_empty() {
                return Ok(Outcome::InVain);
            }
            let (before, reached) = (trial.tried.count(), trial.tried.reached);
            if let Some(key) = open(trial, Some(&pin))? {
                return Ok(Outcome::Opened(key));
            }
            // A wrong PIN is refused by the TPM, and no keyslot was tried.
            if trial.tried.reached > reached {
                trial.answers = trial.answers.map(|left| left.saturating_sub(1));
            }
            // Only the last of several typing errors is worth a place in the one line.
            if left != Some(0) && trial.sealed.wants_pin() {
                trial.tried.forget_after(before);
            }
        }
    }
}
