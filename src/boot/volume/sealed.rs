//! Keys that a TPM2 keeps: the tokens `systemd-tpm2` of a header, each tried once, and with each PIN.

use super::{attempts::Attempts, locked::Volume};
use crate::{
    boot::{
        failure::Failure,
        machine::{devices::Devices, stub, tpm},
    },
    luks::{self, VolumeKey},
    secret::Secret,
    sys::tpm::Device,
    tpm::{Entry, Pin, Token, TpmError, signature::Signatures},
};

/// The tokens of a volume that may still open it.
#[derive(Default)]
pub struct Sealed {
    /// The TPM; None when it has no question to answer.
    tpm: Option<Device>,
    tokens: Vec<Candidate>,
    signatures: Option<Signatures>,
}

struct Candidate {
    /// Its name in the log.
    name: String,
    keyslots: Vec<u32>,
    token: Token,
}

impl Sealed {
    /// The tokens of the volume's header. A token that cannot be used is logged, and noted in `tried`.
    ///
    /// # Errors
    /// The TPM cannot be opened.
    pub fn find(volume: &Volume<'_>, tried: &mut Attempts, devices: &mut Devices) -> Result<Self, Failure> {
        let mut sealed = Self::default();
        for Entry { number, keyslots, token } in Token::all(volume.header.document()) {
            let name = format!("TPM2 token {number}");
            match token {
                Ok(token) => sealed.tokens.push(Candidate { name, keyslots, token }),
                Err(error) => volume.failed(&name, &error, tried),
            }
        }
        if sealed.tokens.is_empty() {
            return Ok(sealed);
        }
        sealed.tpm = tpm::open(devices)?;
        if sealed.tpm.is_none() {
            for candidate in sealed.tokens.drain(..) {
                volume.failed(&candidate.name, &tpm::missing(), tried);
            }
        }
        if sealed.tokens.iter().any(|candidate| candidate.token.policy.signed.is_some()) {
            sealed.signatures = signatures(volume, tried);
        }
        Ok(sealed)
    }

    /// True when a PIN would help.
    pub fn wants_pin(&self) -> bool {
        self.tokens.iter().any(|candidate| candidate.token.policy.pin)
    }

    /// Tries the tokens that need no PIN, or with a PIN those that need one. A token that failed for another reason
    /// than a wrong PIN is not tried again.
    ///
    /// # Errors
    /// The header refuses to be opened.
    pub fn open(
        &mut self,
        volume: &Volume<'_>,
        pin: Option<&Secret>,
        tried: &mut Attempts,
    ) -> Result<Option<VolumeKey>, Failure> {
        let Some(device) = &mut self.tpm else { return Ok(None) };
        let (due, mut left): (Vec<_>, Vec<_>) = core::mem::take(&mut self.tokens)
            .into_iter()
            .partition(|candidate| candidate.token.policy.pin == pin.is_some());
        for candidate in due {
            let Candidate { name, token, .. } = &candidate;
            let shown = match pin.map_or_else(|| Ok(Pin::none()), |typed| shown(token, typed, tried)) {
                Ok(shown) => shown,
                Err(error) => {
                    volume.failed(name, &error, tried);
                    continue;
                }
            };
            let signatures = self.signatures.as_ref();
            match tpm::ask(device, |tpm| tpm.open(token, &shown, signatures))? {
                Ok(secret) => {
                    if let Some(key) = volume.open_keyslots(name, &candidate.keyslots, &secret, tried)? {
                        return Ok(Some(key));
                    }
                }
                Err(error) if error.is_wrong_pin() => {
                    volume.failed(name, &error, tried);
                    left.push(candidate);
                }
                Err(error) if error.is_lockout() => {
                    // Without an answer to how long the refusal itself is all there is to say.
                    match tpm::ask(device, |tpm| tpm.lockout())? {
                        Ok(lockout) => volume.failed(name, &lockout, tried),
                        Err(_) => volume.failed(name, &error, tried),
                    }
                }
                Err(error) => volume.failed(name, &error, tried),
            }
        }
        self.tokens = left;
        Ok(None)
    }

    /// Gives up the tokens that need a PIN when the TPM accepts no PIN any more: no PIN is asked for then.
    ///
    /// # Errors
    /// No randomness.
    pub fn mind_lockout(&mut self, volume: &Volume<'_>, tried: &mut Attempts) -> Result<(), Failure> {
        let Some(device) = self.tpm.as_mut().filter(|_| self.tokens.iter().any(|c| c.token.policy.pin))
        else {
            return Ok(());
        };
        // A TPM that does not say will refuse the PIN.
        if let Ok(lockout) = tpm::ask(device, |tpm| tpm.lockout())?
            && lockout.locked
        {
            let tokens = core::mem::take(&mut self.tokens).into_iter();
            let (locked, left): (Vec<_>, Vec<_>) = tokens.partition(|c| c.token.policy.pin);
            self.tokens = left;
            for candidate in locked {
                volume.failed(&candidate.name, &lockout, tried);
            }
        }
        Ok(())
    }
}

/// The PIN as this token's TPM is shown it.
///
/// # Errors
/// It costs more than there is, in memory or in time.
fn shown(token: &Token, typed: &Secret, tried: &mut Attempts) -> Result<Pin, String> {
    match (token.argon2id, token.salt.as_deref()) {
        (Some(cost), Some(salt)) => Ok(Pin::hardened(&luks::harden(typed, salt, cost, &mut tried.budget)?)),
        (_, salt) => Ok(Pin::new(typed, salt)),
    }
}

/// The signature file. One that cannot be used counts as missing; the tokens that need it will say so.
fn signatures(volume: &Volume<'_>, tried: &mut Attempts) -> Option<Signatures> {
    let found = match &volume.options.tpm2_signature {
        Some(path) => stub::named(path).map(Some),
        None => stub::find(stub::PCR_SIGNATURES),
    };
    let read = found.and_then(|found| match found {
        Some((content, path)) => {
            let parsed = Signatures::parse(&content);
            parsed.map(Some).map_err(|error: TpmError| format!("{path}: {error}"))
        }
        None => Ok(None),
    });
    read.unwrap_or_else(|error| {
        volume.failed("PCR signatures", &error, tried);
        None
    })
}
