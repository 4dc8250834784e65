//! Where the key of an encrypted root comes from, one source after the other, each with a line in the log:
//!
//! 1. a TPM2 token of the header (not yet);
//! 2. the key file of the initramfs, `/etc/cryptsetup-keys.d/NAME.key` of the initramfs, `/run/cryptsetup-keys.d/NAME.key`;
//! 3. the credential `cryptsetup.passphrase`;
//! 4. somebody at a console, with a passphrase or a recovery key.
//!
//! What opens nothing is no reason to stop before all were tried; a header that may not be opened is, before anybody is asked.

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

/// Where key files for a volume are looked for by its name (systemd-cryptsetup-generator(8)).
pub const KEY_DIRECTORIES: [&str; 2] = ["/etc/cryptsetup-keys.d", "/run/cryptsetup-keys.d"];

/// The credential with a passphrase (systemd-cryptsetup(8)).
const CREDENTIAL: &str = "cryptsetup.passphrase";

/// The token by which a header says that a TPM2 has the key of a keyslot.
const TPM2: &str = "systemd-tpm2";

/// A volume that is to be opened.
pub struct Volume<'a> {
    /// The stage that opens it.
    pub stage: &'static str,
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
        self.header.segment().or_fail(self.stage, || self.device.name.clone())?;
        self.pass_over_tokens();
        let mut tried = Vec::new();
        for path in self.key_files() {
            let shown = format!("key file {}", path.display());
            match key::read(&path, self.options.key_file_offset, self.options.key_file_size) {
                Ok(secret) => {
                    if let Some(key) = self.attempt(&shown, &secret, &mut tried)? {
                        return Ok(key);
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
        if let Some(secret) = credentials::import().get(CREDENTIAL)
            && let Some(key) = self.attempt(&format!("credential {CREDENTIAL}"), secret, &mut tried)?
        {
            return Ok(key);
        }
        match self.ask(&mut tried, devices)? {
            Some(key) => Ok(key),
            None => Err(Failure::new(
                self.stage,
                format!("{}: nothing opens it: {}", self.device.name, tried.join("; ")),
            )),
        }
    }

    /// A token waits for somebody who understands it; that it is there is said, and it stays.
    fn pass_over_tokens(&self) {
        for (number, kind) in self.header.tokens() {
            if kind == TPM2 {
                notice!("{}: token {number} ({TPM2}) is passed over: no TPM2 is asked yet", self.device.name);
            }
        }
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
            Err(error) => Err(error).or_fail(self.stage, || device.clone()),
        }
    }

    /// Asks at the consoles, as often and as long as the options say.
    fn ask(&self, tried: &mut Vec<String>, devices: &mut Devices) -> Result<Option<VolumeKey>, Failure> {
        if self.options.headless {
            tried.push("nobody is asked (headless)".into());
            return Ok(None);
        }
        let question = self.question();
        let mut left = self.options.tries;
        while left != Some(0) {
            left = left.map(|left| left - 1);
            match ask(&question, self.options.timeout.map(Deadline::after), devices)? {
                Answer::Typed(typed) => {
                    let mut this_time = Vec::new();
                    let recovery = RecoveryKey::parse(typed.expose());
                    let recovery = recovery.as_ref().map(|key| ("recovery key", key.passphrase()));
                    // What reads like a recovery key may still be a passphrase of these letters.
                    for (what, secret) in recovery.into_iter().chain([("passphrase", &typed)]) {
                        if let Some(key) = self.attempt(what, secret, &mut this_time)? {
                            return Ok(Some(key));
                        }
                    }
                    // Only the last of several typing errors is worth a place in the one line.
                    if left == Some(0) {
                        tried.append(&mut this_time);
                    }
                }
                Answer::Nothing => {
                    let seconds = self.options.timeout.unwrap_or_default().as_secs();
                    tried.push(format!("nobody typed a passphrase within {seconds} s"));
                    break;
                }
                Answer::Nobody => {
                    tried.push("there is no console to ask on".into());
                    break;
                }
            }
        }
        Ok(None)
    }

    /// What is asked. The label comes from the disk: quoted, so that it cannot pretend to be anything else.
    fn question(&self) -> String {
        let recovery = self.header.tokens().any(|(_, kind)| kind == RecoveryKey::TOKEN);
        let what = if recovery { "Passphrase or recovery key" } else { "Passphrase" };
        let label = match self.header.label() {
            "" => String::new(),
            label => format!(" {:?}", label.chars().take(48).collect::<String>()),
        };
        format!("{what} for {} on {}{label}", self.name, self.device.name)
    }
}
