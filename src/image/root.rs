//! The root: the protection that it must have before it is opened.

use std::prelude::v1::*;

use crate::{
    config::{Config, RootPolicy, Uses},
    disk::probe::Format,
    luks::LUKS1,
    repart::{self, Definition, Encrypt, Protection},
};

/// Checks the content of the device `name` that is to be the root against the command line and /usr's definitions.
///
/// # Errors
/// Policy does not allow it: the reason.
pub fn admit_root(
    config: &Config,
    definitions: &[Definition],
    name: &str,
    found: Option<Format>,
) -> Result<(), String> {
    let refuse = |reason: &str| Err(format!("{name}: {reason}"));
    match found {
        Some(Format::LUKS1) => refuse(LUKS1),
        Some(Format::LUKS2) if !config.image_policy.root.allows(Uses::ENCRYPTED) => {
            refuse("encrypted, which systemd.image_policy= does not allow for root")
        }
        Some(Format::LUKS2) => Ok(()),
        _ => {
            let mut roots = definitions.iter().filter(|definition| definition.is_root());
            if config.hermetic.root_policy == RootPolicy::Strict
                && let Some(definition) = roots.find(|root| root.encrypt != Encrypt::Off)
                && let Err(error) = repart::admit(definition, Protection::None)
            {
                return refuse(&error.to_string());
            }
            if !config.image_policy.root.allows(Uses::UNPROTECTED) {
                return refuse("not encrypted, which systemd.image_policy= does not allow for root");
            }
            Ok(())
        }
    }
}

/// The refusal of a root that is to be discovered where there is no partition table.
pub const NO_TABLE_FOR_ROOT: &str =
    "/usr is on no disk with a GPT, so root cannot be discovered; name it by root=";

/// The refusal of the disk `name` that has no root and gets none.
pub fn no_root(name: &str) -> String {
    format!("{name}: no root partition, and /usr's repart.d makes none")
        + "; add a definition, or name the root by root="
}
