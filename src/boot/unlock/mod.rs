//! Where the key of an encrypted root comes from, one source after the other, each with a line in the log:
//!
//! 1. a TPM2 token of the header that needs no PIN;
//! 2. the key file of the initramfs, `/etc/cryptsetup-keys.d/NAME.key` of the initramfs, `/run/cryptsetup-keys.d/NAME.key`;
//! 3. the credentials `cryptsetup.passphrase` and, for a TPM2 token with a PIN, `cryptsetup.tpm2-pin`;
//! 4. somebody at a console, with that PIN;
//! 5. the same with a passphrase or a recovery key.
//!
//! What opens nothing is no reason to stop before all were tried; a header that may not be opened is, before anybody is asked.

mod sealed;

use std::{fs, io, path::PathBuf};

use super::{
    ask::{Answer, ask},
    credentials,
    devices::Devices,
    failure::{Failure, OrFail},
    key,
};
use crate::{
    config::VolumeOptions,
    info,
    luks::{Header, Limits, LuksError, RecoveryKey, VolumeKey},
    notice,
    secret::Secret,
    sys::{
        block::{BlockDevice, Node},
        clock::Deadline,
    },
    warning,
};
use sealed::{Attempt, Sealed};

/// Where key files for a volume are looked for by its name (systemd-cryptsetup-generator(8)).
pub const KEY_DIRECTORIES: [&str; 2] = ["/etc/cryptsetup-keys.d", "/run/cryptsetup-keys.d"];

/// The credential with a passphrase (systemd-cryptsetup(8)).
const CREDENTIAL: &str = "cryptsetup.passphrase";

/// The credential with the PIN of a TPM2 token.
const PIN_CREDENTIAL: &str = "cryptsetup.tpm2-pin";

/// A volume that is to be opened.
pub struct Volume<'a> {
    /// The device that holds it.
    pub device: &'a BlockDevice,
    /// Its node.
    pub node: &'a Node,
    /// Its header, read once.
    pub header: &'a Header,
    /// The name that it will have.
    pub name: &'a str,
    /// What the command line says about it.
    pub options: &'a VolumeOptions,
    /// Its key file.
    pub key_file: PathBuf,
}

/// What asking somebody came to.
enum Asked {
    /// The volume key.
    Opened(VolumeKey),
    /// Nothing that opens it.
    InVain,
    /// There is nobody to ask for anything.
    Nobody,
}

/// What an unlock may cost here.
pub fn limits() -> Limits {
    // Without /proc there is nothing to spare, and a keyslot that needs memory is named for it.
    Limits::from_meminfo(&fs::read_to_string("/proc/meminfo").unwrap_or_default())
}

impl Volume<'_> {
    /// Finds the volume key.
    ///
    /// # Errors
    /// The header refuses to be opened; no source has a key that opens it. The line says what was tried.
    pub fn unlock(&self, devices: &mut Devices) -> Result<VolumeKey, Failure> {
        self.header.segment().or_fail(|| self.device.name.clone())?;
        let mut tried = Vec::new();
        let mut sealed = Sealed::find(self, &mut tried, devices)?;
        if let Attempt::Opened(key) = sealed.open(self, None, &mut tried)? {
            return Ok(key);
        }
        if let Some(key) = self.open_by_file(&mut tried)? {
            return Ok(key);
        }
        let credentials = credentials::import();
        if let Some(secret) = credentials.get(CREDENTIAL)
            && let Some(key) = self.attempt(&format!("credential {CREDENTIAL}"), secret, &mut tried)?
        {
            return Ok(key);
        }
        sealed.mind_lockout(self, &mut tried)?;
        if sealed.wants_pin()
            && let Some(pin) = credentials.get(PIN_CREDENTIAL)
        {
            info!("{}: trying the PIN of the credential {PIN_CREDENTIAL}", self.device.name);
            if let Attempt::Opened(key) = sealed.open(self, Some(pin), &mut tried)? {
                return Ok(key);
            }
        }
        drop(credentials);
        let asked = match self.ask_for_pin(&mut sealed, &mut tried, devices)? {
            Asked::InVain => self.ask(&mut tried, devices)?,
            other => other,
        };
        match asked {
            Asked::Opened(key) => Ok(key),
            Asked::InVain | Asked::Nobody => {
                Err(Failure::new(format!("{}: nothing opens it: {}", self.device.name, tried.join("; "))))
            }
        }
    }

    /// Tries every key file that may be for it.
    fn open_by_file(&self, tried: &mut Vec<String>) -> Result<Option<VolumeKey>, Failure> {
        for path in self.key_files() {
            let shown = format!("key file {}", path.display());
            match key::read(&path, self.options.key_file_offset, self.options.key_file_size) {
                Ok(secret) => {
                    if let Some(key) = self.attempt(&shown, &secret, tried)? {
                        return Ok(Some(key));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    if path == self.key_file {
                        tried.push(format!("{shown} is missing; build the initramfs with --key-file"));
                    }
                }
                Err(error) => {
                    notice!("{}: {shown}: {error}", self.device.name);
                    tried.push(format!("{shown}: {error}"));
                }
            }
        }
        Ok(None)
    }

    fn key_files(&self) -> Vec<PathBuf> {
        let by_name =
            KEY_DIRECTORIES.iter().map(|directory| PathBuf::from(format!("{directory}/{}.key", self.name)));
        std::iter::once(self.key_file.clone()).chain(by_name).collect()
    }

    /// Tries one key. None: it opens nothing, which is said and noted in `tried`.
    fn attempt(
        &self,
        source: &str,
        secret: &Secret,
        tried: &mut Vec<String>,
    ) -> Result<Option<VolumeKey>, Failure> {
        let device = &self.device.name;
        match self.header.unlock(self.node.file(), secret, limits()) {
            Ok(key) => {
                for skipped in &key.skipped {
                    warning!("{device}: keyslot {} was skipped: {}", skipped.keyslot, skipped.reason);
                }
                info!("{device}: {source} opens keyslot {}", key.keyslot);
                Ok(Some(key))
            }
            Err(error @ (LuksError::WrongKey { .. } | LuksError::NotAllTried { .. })) => {
                notice!("{device}: {source}: {error}");
                tried.push(format!("{source}: {error}"));
                Ok(None)
            }
            Err(error) => Err(error).or_fail(|| device.clone()),
        }
    }

    /// Asks for the PIN of the TPM2's tokens. It is shown to the TPM alone: a wrong one is never tried as a passphrase.
    fn ask_for_pin(
        &self,
        sealed: &mut Sealed,
        tried: &mut Vec<String>,
        devices: &mut Devices,
    ) -> Result<Asked, Failure> {
        let question = format!("TPM2 PIN for {} (nothing: another key)", self.named());
        let mut left = self.options.tries;
        loop {
            sealed.mind_lockout(self, tried)?;
            if !sealed.wants_pin() || left == Some(0) || self.options.headless {
                break;
            }
            left = left.map(|left| left - 1);
            match self.answer(&question, "the PIN", tried, devices)? {
                Some(pin) if pin.expose().is_empty() => break,
                Some(pin) => {
                    let mut this_time = Vec::new();
                    if let Attempt::Opened(key) = sealed.open(self, Some(&pin), &mut this_time)? {
                        return Ok(Asked::Opened(key));
                    }
                    if left == Some(0) || !sealed.wants_pin() {
                        tried.append(&mut this_time);
                    }
                }
                None => return Ok(Asked::Nobody),
            }
        }
        Ok(Asked::InVain)
    }

    /// Asks for a passphrase or a recovery key, as often and as long as the options say.
    fn ask(&self, tried: &mut Vec<String>, devices: &mut Devices) -> Result<Asked, Failure> {
        if self.options.headless {
            tried.push("nobody is asked (headless)".into());
            return Ok(Asked::Nobody);
        }
        let recovery = self.header.tokens().any(|(_, kind)| kind == RecoveryKey::TOKEN);
        let what = if recovery { "Passphrase or recovery key" } else { "Passphrase" };
        let question = format!("{what} for {}", self.named());
        let mut left = self.options.tries;
        while left != Some(0) {
            left = left.map(|left| left - 1);
            let Some(typed) = self.answer(&question, "a passphrase", tried, devices)? else {
                return Ok(Asked::Nobody);
            };
            let mut this_time = Vec::new();
            let recovery = RecoveryKey::parse(typed.expose());
            let recovery = recovery.as_ref().map(|key| ("recovery key", key.passphrase()));
            // What reads like a recovery key may still be a passphrase of these letters.
            for (what, secret) in recovery.into_iter().chain([("passphrase", &typed)]) {
                if let Some(key) = self.attempt(what, secret, &mut this_time)? {
                    return Ok(Asked::Opened(key));
                }
            }
            // Only the last of several typing errors is worth a place in the one line.
            if left == Some(0) {
                tried.append(&mut this_time);
            }
        }
        Ok(Asked::InVain)
    }

    /// One answer from the consoles; None, with the reason noted, when there will be none.
    fn answer(
        &self,
        question: &str,
        what: &str,
        tried: &mut Vec<String>,
        devices: &mut Devices,
    ) -> Result<Option<Secret>, Failure> {
        match ask(question, self.options.timeout.map(Deadline::after), devices)? {
            Answer::Typed(typed) => return Ok(Some(typed)),
            Answer::Nothing => {
                let seconds = self.options.timeout.unwrap_or_default().as_secs();
                tried.push(format!("nobody typed {what} within {seconds} s"));
            }
            Answer::Nobody => tried.push("there is no console to ask on".into()),
        }
        Ok(None)
    }

    /// The volume, for a question. The label comes from the disk: quoted, so that it cannot pretend to be anything else.
    fn named(&self) -> String {
        let label = match self.header.label() {
            "" => String::new(),
            label => format!(" {:?}", label.chars().take(48).collect::<String>()),
        };
        format!("{} on {}{label}", self.name, self.device.name)
    }
}
