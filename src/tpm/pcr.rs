//! PCRs: banks, selections, reading and extending.
//!
//! References: TPM 2.0 Library part 3, section 22; part 2, section 10.6 (selections).

use core::fmt;
use std::prelude::v1::*;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use tpm2_protocol::data::{TpmCc, TpmlPcrSelection};

use super::{
    Entity, Tpm, TpmError,
    command::{Auth, Command, Params},
};

/// `TPM_CAP_PCRS`.
const CAP_PCRS: u32 = 5;
/// The PCR of the system's identity, volume keys first of all.
pub const SYSTEM_PCR: u32 = 15;
/// A PC's TPM has PCRs 0 to 23.
const COUNT: u32 = 24;

/// A bank of PCRs: all of them, with one hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Bank {
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Bank {
    /// All that we can compute.
    pub const ALL: [Self; 4] = [Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512];

    /// The name that systemd gives it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// The bank of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|bank| bank.name() == name)
    }

    /// Its number in the TPM's registry (`TPM_ALG_ID`).
    pub(super) fn algorithm(self) -> u16 {
        match self {
            Self::Sha1 => 0x0004,
            Self::Sha256 => 0x000b,
            Self::Sha384 => 0x000c,
            Self::Sha512 => 0x000d,
        }
    }

    /// Bytes of a digest.
    pub fn length(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// A PCR as it is before anything extends it, in this bank: `15:sha256=000…`, as `--tpm2-pcrs=` of systemd-cryptenroll(1) takes it.
    pub fn unextended(self, pcr: u32) -> String {
        format!("{pcr}:{}={}", self.name(), "00".repeat(self.length()))
    }

    /// The digest of `data`.
    pub fn digest(self, data: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha1 => Sha1::digest(data).to_vec(),
            Self::Sha256 => Sha256::digest(data).to_vec(),
            Self::Sha384 => Sha384::digest(data).to_vec(),
            Self::Sha512 => Sha512::digest(data).to_vec(),
        }
    }

    /// The keyed digest of `data`. Not inline: what it leaves on the stack lies below its caller.
    #[inline(never)]
    pub fn hmac(self, key: &[u8], data: &[u8]) -> Vec<u8> {
        // An HMAC takes a key of any length; the error exists for other MACs.
        macro_rules! mac {
            ($hash:ty) => {
                Hmac::<$hash>::new_from_slice(key)
                    .map(|mac| mac.chain_update(data).finalize().into_bytes().to_vec())
                    .unwrap_or_default()
            };
        }
        match self {
            Self::Sha1 => mac!(Sha1),
            Self::Sha256 => mac!(Sha256),
            Self::Sha384 => mac!(Sha384),
            Self::Sha512 => mac!(Sha512),
        }
    }
}

impl fmt::Display for Bank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Some of the PCRs 0 to 23.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PcrMask(u32);

impl PcrMask {
    /// PCR 7: the state of Secure Boot and the keys that count. systemd seals to it by default.
    pub const SECURE_BOOT: Self = Self(1 << 7);

    /// These PCRs; None when one of them does not exist.
    pub fn of(pcrs: impl IntoIterator<Item = u32>) -> Option<Self> {
        pcrs.into_iter().try_fold(Self(0), |mask, pcr| (pcr < COUNT).then(|| Self(mask.0 | 1 << pcr)))
    }

    /// `7`, `7+14`, or nothing, as systemd's `--tpm2-pcrs=` takes numbers.
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self(0));
        }
        Self::of(text.split(['+', ',']).map(|pcr| pcr.trim().parse().unwrap_or(COUNT)))
    }

    /// Returns true when the set has no PCR.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// PCR 15: the identity of the system, all zeroes until a root is opened.
    pub const SYSTEM: Self = Self(1 << SYSTEM_PCR);

    /// These and those of `other`.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These without those of `other`.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Returns true when this PCR is one of them.
    pub fn contains(self, pcr: u32) -> bool {
        pcr < COUNT && self.0 & 1 << pcr != 0
    }

    /// Their numbers, ascending.
    pub fn numbers(self) -> impl Iterator<Item = u32> {
        (0..COUNT).filter(move |pcr| self.contains(*pcr))
    }

    /// A `TPML_PCR_SELECTION` of these in one bank.
    pub(super) fn selection(self, bank: Bank) -> Vec<u8> {
        let [a, b, c, _] = self.0.to_le_bytes();
        let mut bytes = vec![0, 0, 0, 1];
        bytes.extend_from_slice(&bank.algorithm().to_be_bytes());
        bytes.extend_from_slice(&[3, a, b, c]);
        bytes
    }
}

impl fmt::Display for PcrMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = self.numbers().map(|pcr| pcr.to_string()).collect();
        f.write_str(&numbers.join("+"))
    }
}

impl Tpm<'_> {
    /// The banks that are active, of those that we can compute.
    ///
    /// # Errors
    /// The TPM does not answer.
    pub fn banks(&mut self) -> Result<Vec<Bank>, TpmError> {
        let code = TpmCc::GetCapability;
        let params = Params::new()
            .raw(&CAP_PCRS.to_be_bytes())?
            .raw(&0_u32.to_be_bytes())?
            .raw(&1_u32.to_be_bytes())?;
        let mut response =
            self.execute(Command { code, handles: &[], params, gives_handle: false }, &mut [])?;
        // moreData, then the capability's number in front of its list.
        let _more: tpm2_protocol::data::TpmiYesNo = response.read()?;
        let _capability: tpm2_protocol::basic::TpmUint32 = response.read()?;
        let selections: TpmlPcrSelection = response.read()?;
        let active = |bank: &Bank| {
            selections.iter().any(|selection| {
                selection.hash as u16 == bank.algorithm()
                    && selection.pcr_select.iter().any(|byte| *byte != 0)
            })
        };
        Ok(Bank::ALL.into_iter().filter(active).collect())
    }

    /// The values of some PCRs, in the order of their numbers.
    ///
    /// # Errors
    /// The TPM does not answer, or has not got these PCRs in this bank.
    pub fn read_pcrs(&mut self, bank: Bank, mask: PcrMask) -> Result<Vec<Vec<u8>>, TpmError> {
        let code = TpmCc::PcrRead;
        let mut values = Vec::new();
        // A response has room for eight digests; one command for each PCR asks for no more.
        for pcr in mask.numbers() {
            let params = Params::new().raw(&PcrMask(1 << pcr).selection(bank))?;
            let mut response =
                self.execute(Command { code, handles: &[], params, gives_handle: false }, &mut [])?;
            let _update_counter: tpm2_protocol::basic::TpmUint32 = response.read()?;
            let _selection: TpmlPcrSelection = response.read()?;
            let count: tpm2_protocol::basic::TpmUint32 = response.read()?;
            if count.value() != 1 {
                return Err(TpmError::Invalid(format!("the TPM has no PCR {pcr} in its bank {bank}")));
            }
            values.push(response.sized()?.to_vec());
        }
        Ok(values)
    }

    /// Extends a PCR in several banks at once.
    ///
    /// # Errors
    /// The TPM refuses.
    pub fn extend(&mut self, pcr: u32, digests: &[(Bank, Vec<u8>)]) -> Result<(), TpmError> {
        let count = u32::try_from(digests.len()).map_err(|_| TpmError::TooLarge("a list of digests"))?;
        let mut params = Params::new().raw(&count.to_be_bytes())?;
        for (bank, digest) in digests {
            params = params.raw(&bank.algorithm().to_be_bytes())?.raw(digest)?;
        }
        let code = TpmCc::PcrExtend;
        let command = Command { code, handles: &[&Entity::permanent(pcr)], params, gives_handle: false };
        self.execute(command, &mut [Auth::Empty]).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pcr_of_zeroes_has_as_many_as_its_bank() {
        for bank in Bank::ALL {
            assert_eq!(bank.length(), bank.digest(b"").len());
            let text = bank.unextended(15);
            let zeroes = text.strip_prefix(&format!("15:{bank}=")).unwrap();
            assert_eq!(zeroes, "0".repeat(2 * bank.length()));
        }
    }

    #[test]
    fn masks_are_read_and_printed_as_systemd_does() {
        let mask = PcrMask::parse("7+14").unwrap();
        assert_eq!(mask.to_string(), "7+14");
        assert_eq!(PcrMask::parse(""), Some(PcrMask::default()));
        assert_eq!(PcrMask::parse("24"), None);
        assert_eq!(PcrMask::parse("130"), None);
        assert_eq!(PcrMask::parse("x"), None);
        assert_eq!(mask.selection(Bank::Sha256), [0, 0, 0, 1, 0, 11, 3, 0x80, 0x40, 0]);
    }
}
