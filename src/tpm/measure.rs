//! The measurements that systemd makes in an initrd, and the log that goes with them: the phases of the boot into PCR
//! 11, the key of a volume into PCR 15. A root without a key is measured into PCR 15 as well, by its kind: PCR 15 is all zeroes
//! in no boot that has looked at a root.
//!
//! References: systemd 257, docs/TPM2_PCR_MEASUREMENTS.md, src/shared/tpm2-util.c (`tpm2_extend_bytes`,
//! `tpm2_userspace_log`), src/pcrextend.

use std::prelude::v1::*;

use serde_json::json;
use uuid::Uuid;

pub use super::pcr::SYSTEM_PCR;
use super::{Bank, signature::hex};
use crate::secret::{Secret, scrub_stack};

/// The PCR of the boot's phases.
pub const PHASE_PCR: u32 = 11;

/// The text that stands for a volume where its key is measured.
fn volume_text(volume: &str, uuid: Uuid) -> String {
    format!("cryptsetup:{}:{uuid}", volume.replace('\\', "\\x5c").replace(':', "\\x3a"))
}

/// The identity of a volume's key in hexadecimal digits: that which is measured into a bank of SHA-256
/// (crypttab(5), `fixate-volume-key=`; systemd 260, src/shared/cryptsetup-util.c, `cryptsetup_get_volume_key_id`).
pub fn volume_key_id(volume: &str, uuid: Uuid, key: &Secret) -> String {
    hex(&keyed(Bank::Sha256, key, &volume_text(volume, uuid)))
}

/// The keyed digest of a text. An HMAC keeps a block with the key on the stack.
fn keyed(bank: Bank, key: &Secret, text: &str) -> Vec<u8> {
    let digest = bank.hmac(key.expose(), text.as_bytes());
    scrub_stack();
    digest
}

/// Something to be measured.
pub struct Measurement {
    /// The PCR.
    pub pcr: u32,
    /// The name of the event in the log: `phase`, `volume-key`, or our own `root`, which systemd's tools pass over.
    event: &'static str,
    /// The text that is measured, or that names the key.
    text: String,
    /// Digests by bank.
    pub digests: Vec<(Bank, Vec<u8>)>,
}

impl Measurement {
    /// A phase of the boot: `enter-initrd`, `leave-initrd`.
    pub fn phase(banks: &[Bank], word: &str) -> Self {
        Self::text(banks, PHASE_PCR, "phase", word.into())
    }

    /// A root that has no volume key, by its kind: `plain`, `tmpfs`, `overlay`. It says that this boot has opened its root, and
    /// not which.
    pub fn root(banks: &[Bank], kind: &str) -> Self {
        Self::text(banks, SYSTEM_PCR, "root", format!("hermetic-root:{kind}"))
    }

    fn text(banks: &[Bank], pcr: u32, event: &'static str, text: String) -> Self {
        let digests = banks.iter().map(|bank| (*bank, bank.digest(text.as_bytes()))).collect();
        Self { pcr, event, text, digests }
    }

    /// The key of a volume: the measured value does not reveal the key, but another key gives another value.
    pub fn volume_key(banks: &[Bank], volume: &str, uuid: Uuid, key: &Secret) -> Self {
        let text = volume_text(volume, uuid);
        let digests = banks.iter().map(|bank| (*bank, keyed(*bank, key, &text))).collect();
        Self { pcr: SYSTEM_PCR, event: "volume-key", text, digests }
    }

    /// The text that is measured, for people.
    pub fn what(&self) -> &str {
        &self.text
    }

    /// The record for /run/log/systemd/tpm2-measure.log (RFC 7464).
    pub fn record(&self, boot_id: &str, boottime_usec: u64) -> String {
        let digests: Vec<_> = self
            .digests
            .iter()
            .map(|(bank, digest)| json!({ "hashAlg": bank.name(), "digest": hex(digest) }))
            .collect();
        let record = json!({
            "pcr": self.pcr,
            "digests": digests,
            "content_type": "systemd",
            "content": {
                "string": self.text,
                "bootId": boot_id,
                "timestamp": boottime_usec,
                "eventType": self.event,
            },
        });
        format!("\u{1e}{record}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The digests are those of `printf enter-initrd | sha1sum`, `... | sha256sum` and of `openssl dgst -sha256 -hmac KEY`.
    #[test]
    fn words_and_keys_are_measured_as_systemd_does() {
        let shown = |measured: &Measurement| -> Vec<String> {
            measured.digests.iter().map(|(bank, digest)| format!("{bank}:{}", hex(digest))).collect()
        };
        let phase = Measurement::phase(&[Bank::Sha1, Bank::Sha256], "enter-initrd");
        assert_eq!(
            shown(&phase),
            [
                "sha1:b1b01d5f73f321eb70e76f8a0e241ac0a3fa4a6e",
                "sha256:51e6b92f405d1f98d96e3de343d61d420ad6923b25de21d766f9298192f14fed"
            ]
        );
        let uuid = Uuid::from_u128(0xbc5e8cf8_78c9_4eef_a5d6_8f3a59cfb448);
        let key = Secret::new(b"thirty-two bytes, and one more to go".to_vec());
        let volume = Measurement::volume_key(&[Bank::Sha256], "root", uuid, &key);
        assert_eq!(
            shown(&volume),
            ["sha256:d95794096d4f3bc1c7d6c52767cde84730aafbc56024eb44389675649040802a"]
        );
        let record = volume.record("00ff", 7);
        let json = record.strip_prefix('\u{1e}').and_then(|record| record.strip_suffix('\n')).unwrap();
        let record: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(record["content"]["string"], "cryptsetup:root:bc5e8cf8-78c9-4eef-a5d6-8f3a59cfb448");
        assert_eq!((record["pcr"].as_u64(), record["content"]["timestamp"].as_u64()), (Some(15), Some(7)));
    }

    #[test]
    fn names_that_would_read_as_two_are_escaped() {
        let key = Secret::new(vec![1]);
        let measured = Measurement::volume_key(&[], "a:b\\c", Uuid::nil(), &key);
        assert_eq!(measured.text, "cryptsetup:a\\x3ab\\x5cc:00000000-0000-0000-0000-000000000000");
    }
}
