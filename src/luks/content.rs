//! The content of a volume, encrypted where no kernel does it: a new file system goes into an image that nothing mounts.

use aes::{Aes256, cipher::KeyInit};
use xts_mode::{Xts128, get_tweak_default};

use super::VolumeKey;
use crate::units::Sector512;

/// The unit of encryption that [`VolumeKey::encrypt`] knows, in bytes: what new volumes have.
pub const CONTENT_SECTOR: usize = 4096;

impl VolumeKey {
    /// Encrypts `data` in place as dm-crypt does it with `aes-xts-plain64` and sectors of 4096 bytes; `first` is where
    /// it begins behind the header. None when the key is not a pair of AES-256 keys, or either is not a multiple of
    /// 4096 bytes.
    pub fn encrypt(&self, first: Sector512, data: &mut [u8]) -> Option<()> {
        // Initial vectors count sectors of 512 bytes for any unit
        // (Documentation/admin-guide/device-mapper/dm-crypt.rst, without iv_large_sectors).
        const STEP: u64 = CONTENT_SECTOR as u64 / 512;
        let key = self.key.expose();
        let (half, tweak) = key.split_at_checked(32).filter(|(_, tweak)| tweak.len() == 32)?;
        if !data.len().is_multiple_of(CONTENT_SECTOR) || !first.0.is_multiple_of(STEP) {
            return None;
        }
        let xts = Xts128::new(Aes256::new_from_slice(half).ok()?, Aes256::new_from_slice(tweak).ok()?);
        for (index, sector) in data.chunks_exact_mut(CONTENT_SECTOR).enumerate() {
            let number = first.0.checked_add((index as u64).checked_mul(STEP)?)?;
            xts.encrypt_sector(sector, get_tweak_default(number.into()));
        }
        Some(())
    }
}
