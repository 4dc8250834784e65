//! A volume that is locked, and its keyslots.

use std::path::PathBuf;

use super::limits::limits;
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
    pub fn failed(&self, name: &str, why: &dyn core::fmt::Display, tried: &mut Vec<String>) {
        notice!("{}: {name}: {why}", self.device.name);
        tried.push(format!("{name}: {why}"));
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
        tried: &mut Vec<String>,
    ) -> Result<Option<VolumeKey>, Failure> {
        for keyslot in keyslots {
            match self.header.unlock_keyslot(*keyslot, self.node.file(), secret, limits()) {
                Ok(key) => {
                    info!("{}: {name} opens keyslot {keyslot}", self.device.name);
                    return Ok(Some(key));
                }
                Err(
                    error @ (LuksError::WrongKey { .. }
                    | LuksError::NotAllTried { .. }
                    | LuksError::NoKeyslot),
                ) => {
                    self.failed(name, &error, tried);
                }
                Err(error) => return Err(error).or_fail(|| self.device.name.clone()),
            }
        }
        Ok(None)
    }
}
