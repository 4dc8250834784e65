//! A volume that is locked, and its keyslots.

use std::path::PathBuf;

use super::attempts::Attempts;
use crate::{
    boot::failure::{Failure, OrFail as _},
    config::VolumeOptions,
    info,
    luks::{Header, LuksError, VolumeKey},
    notice,
    secret::Secret,
    sys::block::{BlockDevice, Node},
};

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
    /// The command line's options for it.
    pub options: &'a VolumeOptions,
    /// Its key file.
    pub key_file: PathBuf,
}

impl Volume<'_> {
    /// The volume, for a question. The label comes from the disk: quoted, so that it cannot pretend to be anything else.
    pub fn named(&self) -> String {
        let label = match self.header.label() {
            "" => String::new(),
            label => format!(" {:?}", label.chars().take(48).collect::<String>()),
        };
        format!("{} on {}{label}", self.name, self.device.name)
    }

    /// Logs the reason why a source is of no use, and notes it.
    pub fn failed(&self, name: &str, why: &dyn core::fmt::Display, tried: &mut Attempts) {
        notice!("{}: {name}: {why}", self.device.name);
        tried.note(format!("{name}: {why}"));
    }

    /// Tries the secret of a token on its keyslots, and on no other.
    ///
    /// # Errors
    /// The header refuses to be opened.
    pub fn open_keyslots(
        &self,
        name: &str,
        keyslots: &[u32],
        secret: &Secret,
        tried: &mut Attempts,
    ) -> Result<Option<VolumeKey>, Failure> {
        tried.reached = tried.reached.saturating_add(1);
        let opened = self.header.unlock_keyslots(keyslots, self.node.file(), secret, &mut tried.budget);
        match opened {
            Ok(key) => {
                info!("{}: {name} opens keyslot {}", self.device.name, key.keyslot);
                Ok(Some(key))
            }
            Err(
                error @ (LuksError::WrongKey { .. } | LuksError::NotAllTried { .. } | LuksError::NoKeyslot),
            ) => {
                self.failed(name, &error, tried);
                Ok(None)
            }
            Err(error) => Err(error).or_fail(|| self.device.name.clone()),
        }
    }
}
