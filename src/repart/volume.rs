//! The words about an encrypted volume: who opens it, how its keys are derived, what protects its content. Each reads itself.
//!
//! A value that is not understood refuses, where systemd reads over it: a volume that is weaker than its definition says would
//! not show it.
//!
//! Source: repart.d(5) of systemd 262.

use std::prelude::v1::*;

use super::{
    Encrypt, EncryptedVolume,
    fields::{self, is_file_name},
    value::{Read, Unread, Word},
};
use crate::{luks::NewKdf, tpm::PcrMask};

/// The derivation of the key that opens a new volume from a key file (`EncryptKDF=`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EncryptKdf {
    /// Argon2id, for what people type.
    Argon2id,
    /// PBKDF2, for what people type, on a machine with little memory.
    Pbkdf2,
    /// PBKDF2 with as few iterations as LUKS2 takes, for keys of full entropy.
    Minimal,
}

impl EncryptKdf {
    /// The derivation for a key file of `length` bytes; `asked` is the definition's word.
    pub fn of_key_file(asked: Option<Self>, length: usize) -> NewKdf {
        match asked {
            None => NewKdf::for_key_file(length),
            Some(Self::Argon2id) => NewKdf::TYPED,
            Some(Self::Pbkdf2) => NewKdf::TYPED_PBKDF2,
            Some(Self::Minimal) => NewKdf::MACHINE,
        }
    }

    pub(super) fn read(field: &mut Option<Self>, word: &mut Word<'_>) -> Read {
        *field = match word.text {
            "" => None,
            "argon2id" => Some(Self::Argon2id),
            "pbkdf2" => Some(Self::Pbkdf2),
            "minimal" => Some(Self::Minimal),
            _ => return Err(Unread::Refused("say argon2id, pbkdf2 or minimal")),
        };
        Ok(())
    }
}

/// The authentication of a volume's content (`Integrity=`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Integrity {
    /// None.
    #[default]
    Off,
    /// Each sector has a tag beside it.
    Inline,
}

impl Integrity {
    pub(super) fn read(field: &mut Self, word: &mut Word<'_>) -> Read {
        *field = match word.text {
            "" | "off" => Self::Off,
            "inline" => {
                word.reads_over("no volume with tags can be opened, and one that exists is taken without");
                Self::Inline
            }
            _ => return Err(Unread::Refused("say off or inline")),
        };
        Ok(())
    }
}

/// `IntegrityAlgorithm=`: nothing is made with it, so that its name is enough.
pub(super) fn algorithm(field: &mut Option<String>, word: &mut Word<'_>) -> Read {
    *field = match word.text {
        "" => None,
        name @ ("hmac-sha1" | "hmac-sha256" | "hmac-sha512") => Some(name.into()),
        _ => return Err(Unread::Refused("say hmac-sha1, hmac-sha256 or hmac-sha512")),
    };
    Ok(())
}

/// The number of the PCR of this name (systemd-cryptenroll(1), `--tpm2-pcrs=`); any other text stays.
fn number_of_pcr(name: &str) -> &str {
    match name {
        "platform-code" => "0",
        "platform-config" => "1",
        "external-code" => "2",
        "external-config" => "3",
        "boot-loader-code" => "4",
        "boot-loader-config" => "5",
        "host-platform" => "6",
        "secure-boot-policy" => "7",
        "kernel-initrd" => "9",
        "ima" => "10",
        "kernel-boot" => "11",
        "kernel-config" => "12",
        "sysexts" => "13",
        "shim-policy" => "14",
        "system-identity" => "15",
        "debug" => "16",
        "application-support" => "23",
        other => other,
    }
}

/// `TPM2PCRs=`: the PCRs of every line count; an empty one forgets those before it. A bank or a value is kept as a place, and
/// refused where it would have to be carried out.
pub(super) fn pcrs(field: &mut Option<PcrMask>, word: &mut Word<'_>) -> Read {
    let advice = Unread::Refused("say PCRs from 0 to 23 or their names, as 7 or 7+kernel-boot");
    if word.text.is_empty() {
        *field = None;
        return Ok(());
    }
    let names: Vec<&str> = word.text.split(['+', ',']).collect();
    let names: Vec<&str> = names.iter().map(|one| one.split_once(':').map_or(*one, |(pcr, _)| pcr)).collect();
    let names: Vec<&str> = names.into_iter().map(number_of_pcr).collect();
    let mask = PcrMask::parse(&names.join("+")).ok_or(advice)?;
    *field = Some(field.unwrap_or_default().with(mask));
    Ok(())
}

/// `KeyFile=`: a path of this machine, without specifiers.
pub(super) fn key_file(field: &mut Option<String>, word: &mut Word<'_>) -> Read {
    *field = match word.text {
        "" => None,
        text => {
            let path = fields::path(text, false);
            Some(path.ok_or("not an absolute path")?)
        }
    };
    Ok(())
}

impl Encrypt {
    pub(super) fn read(field: &mut Self, word: &mut Word<'_>) -> Read {
        *field = match word.text {
            "" | "off" => Self::Off,
            "key-file" => Self::KeyFile,
            "tpm2" => Self::Tpm2,
            "key-file+tpm2" => Self::KeyFileTpm2,
            other => match fields::boolean(other) {
                Some(true) => Self::KeyFile,
                Some(false) => Self::Off,
                None => return Err(Unread::Refused("say off, key-file, tpm2 or key-file+tpm2")),
            },
        };
        Ok(())
    }
}

impl EncryptedVolume {
    pub(super) fn read(field: &mut Option<Self>, word: &mut Word<'_>) -> Read {
        if word.text.is_empty() {
            *field = None;
            return Ok(());
        }
        let mut parts = word.parts(4)?;
        let mut next = || parts.next().unwrap_or_default();
        let mut volume = Self { name: next(), key_file: next(), options: next(), fixes_key: false };
        // Without a name it gets one that follows from its UUID.
        if !volume.name.is_empty() && !is_file_name(&volume.name) {
            return Err(Unread::Value("no name for a mapping"));
        }
        for option in next().split(',').filter(|option| !option.is_empty()) {
            match option {
                "fixate-volume-key" => volume.fixes_key = true,
                other => word.bad.push((other.into(), "no option of a volume")),
            }
        }
        *field = Some(volume);
        Ok(())
    }
}
