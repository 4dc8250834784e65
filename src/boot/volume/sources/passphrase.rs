//! Passphrases and recovery keys, from a credential and from a person at a console.

use crate::{
    boot::{
        failure::Failure,
        volume::source::{Outcome, Source, Trial},
    },
    luks::RecoveryKey,
};

/// The credential with a passphrase (systemd-cryptsetup(8)).
const CREDENTIAL: &str = "cryptsetup.passphrase";

/// Source of keys: the passphrase of a credential.
pub struct Credential;

impl Source for Credential {
    fn name(&self) -> &'static str {
        "the credential cryptsetup.passphrase"
    }

    fn open(&self, trial: &mut Trial<'_>) -> Result<Outcome, Failure> {
        let Some(secret) = trial.credentials.all().get(CREDENTIAL) else { return Ok(Outcome::InVain) };
        Ok(trial.attempt(&format!("credential {CREDENTIAL}"), secret)?.into())
    }
}

/// Source of keys: a person at a console, asked for a passphrase or a recovery key as often and as long as the options
/// say.
pub struct Typed;

impl Source for Typed {
    fn name(&self) -> &'static str {
        "somebody who types a passphrase or a recovery key"
    }

    fn open(&self, trial: &mut Trial<'_>) -> Result<Outcome, Failure> {
        let volume = trial.volume;
        if volume.options.headless {
            trial.tried.note("nobody is asked (headless)".into());
            return Ok(Outcome::Nobody);
        }
        let recovery = volume.header.tokens().any(|(_, kind)| kind == RecoveryKey::TOKEN);
        let what = if recovery { "Passphrase or recovery key" } else { "Passphrase" };
        let question = format!("{what} for {}", volume.named());
        while trial.answers != Some(0) {
            trial.answers = trial.answers.map(|left| left - 1);
            let Some(typed) = trial.answer(&question, "a passphrase")? else { return Ok(Outcome::Nobody) };
            let before = trial.tried.count();
            let recovery = RecoveryKey::parse(typed.expose());
            let recovery = recovery.as_ref().map(|key| ("recovery key", key.passphrase()));
            // A text in the form of a recovery key may still be a passphrase of these letters.
            for (what, secret) in recovery.into_iter().chain([("passphrase", &typed)]) {
                if let Some(key) = trial.attempt(what, secret)? {
                    return Ok(Outcome::Opened(key));
                }
            }
            // Only the last of several typing errors is worth a place in the one line.
            if trial.answers != Some(0) {
                trial.tried.forget_after(before);
            }
        }
        Ok(Outcome::InVain)
    }
}
