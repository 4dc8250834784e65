//! The content of a volume, encrypted where no kernel does it: a new file system goes into an image that nothing mounts.

use aes::{Aes256, cipher::KeyInit};
use xts_mode::{Xts128, get_tweak_default};

use super::VolumeKey;
use crate::units::Sector512;

/// The unit of encryption of a new volume, in bytes, unless its definition says another one.
pub const CONTENT_SECTOR: usize = 4096;

impl VolumeKey {
    /// Encrypts `data` in place as dm-crypt does it with `aes-xts-plain64` and sectors of `sector` bytes; `first` is
    /// where it begins behind the header. None when the key is not a pair of AES-256 keys, or either is not a multiple of
    /// a sector.
    pub fn encrypt(&self, sector: usize, first: Sector512, data: &mut [u8]) -> Option<()> {
        // Initial vectors count sectors of 512 bytes for any unit
        // (Documentation/admin-guide/device-mapper/dm-crypt.rst, without iv_large_sectors).
        let step = (sector as u64 / 512).max(1);
        let key = self.key.expose();
        let (half, tweak) = key.split_at_checked(32).filter(|(_, tweak)| tweak.len() == 32)?;
        if !sector.is_multiple_of(512)
            || sector == 0
            || !data.len().is_multiple_of(sector)
            || !first.0.is_multiple_of(step)
        {
            return None;
        }
        let xts = Xts128::new(Aes256::new_from_slice(half).ok()?, Aes256::new_from_slice(tweak).ok()?);
        for (index, data) in data.chunks_exact_mut(sector).enumerate() {
            let number = first.0.checked_add((index as u64).checked_mul(step)?)?;
            xts.encrypt_sector(data, get_tweak_default(number.into()));
        }
        Some(())
    }
}
