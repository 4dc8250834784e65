//! From a key to the volume key: keyslots are tried in their order until one opens.

use std::prelude::v1::*;

use core::fmt::Display;

use super::{
    af,
    budget::{ATTEMPT, Budget},
    digest::Digest,
    error::{LuksError, Skipped},
    header::{self, Header},
    keyslot::{Keyslot, Priority, Recipe},
    xts::{self, Direction},
};
use crate::sort;
use crate::{
    secret::{Secret, scrub_stack},
    writes::ReadAt,
};

/// The key of a volume, and how it was found.
pub struct VolumeKey {
    /// The key itself, 32 or 64 bytes.
    pub key: Secret,
    /// The digest that it matches; part of its name in the kernel's keyring.
    pub digest: u32,
    /// The keyslot that it came from.
    pub keyslot: u32,
    /// Keyslots before it that could not be tried, for the log.
    pub skipped: Vec<Skipped>,
}

impl Header {
    /// Tries `passphrase` (typed, or a key file's content) on the keyslots that lead to the encrypted segment: those of
    /// high priority first, then by number; those of priority `ignore` never, as cryptsetup does it. Keyslot areas are
    /// read from `device`. The attempts are paid from `budget`; a keyslot that is too dear is skipped before any memory or time
    /// is spent on it.
    ///
    /// # Errors
    /// The volume is not one that may be opened ([`Header::segment`]; a keyslot with the null cipher), no keyslot opens
    /// with this key, or no keyslot could be tried.
    pub fn unlock<R>(
        &self,
        device: &R,
        passphrase: &Secret,
        budget: &mut Budget,
    ) -> Result<VolumeKey, LuksError>
    where
        R: ReadAt + ?Sized,
        R::Error: Display,
    {
        self.unlock_among(device, passphrase, budget, None)
    }

    /// As [`Header::unlock`], with the keyslots of these numbers alone, with any priority. A number that comes twice counts
    /// once.
    ///
    /// # Errors
    /// As [`Header::unlock`]; also when there are no such keyslots.
    pub fn unlock_keyslots<R>(
        &self,
        numbers: &[u32],
        device: &R,
        passphrase: &Secret,
        budget: &mut Budget,
    ) -> Result<VolumeKey, LuksError>
    where
        R: ReadAt + ?Sized,
        R::Error: Display,
    {
        self.unlock_among(device, passphrase, budget, Some(numbers))
    }

    fn unlock_among<R>(
        &self,
        device: &R,
        passphrase: &Secret,
        budget: &mut Budget,
        numbers: Option<&[u32]>,
    ) -> Result<VolumeKey, LuksError>
    where
        R: ReadAt + ?Sized,
        R::Error: Display,
    {
        let segment = self.segment()?;
        for keyslot in self.metadata.keyslots.values() {
            if let Err(error @ LuksError::NullCipher { .. }) = &keyslot.recipe {
                return Err(error.clone());
            }
        }
        let digest =
            self.metadata.digests.iter().find(|(_, digest)| digest.segments.contains(&segment.number));
        let (digest_number, digest) = digest.ok_or(LuksError::NoKeyslot)?;

        let (mut tried, mut skipped) = (Vec::new(), Vec::new());
        for (keyslot_number, keyslot) in self.candidates(digest, numbers) {
            let attempt = match &keyslot.recipe {
                Ok(recipe) => recipe.open(device, keyslot.area.start, passphrase, digest, budget),
                Err(error) => Err(error.to_string()),
            };
            match attempt {
                Ok(Some(key)) => {
                    return Ok(VolumeKey { key, digest: *digest_number, keyslot: keyslot_number, skipped });
                }
                Ok(None) => tried.push(keyslot_number),
                Err(reason) => skipped.push(Skipped { keyslot: keyslot_number, reason }),
            }
        }
        Err(match (tried.is_empty(), skipped.is_empty()) {
            (true, true) => LuksError::NoKeyslot,
            (_, true) => LuksError::WrongKey { tried },
            (_, false) => LuksError::NotAllTried { tried, skipped },
        })
    }

    /// The wanted keyslots among those that belong to `digest`, in the order in which they are tried.
    fn candidates(&self, digest: &Digest, numbers: Option<&[u32]>) -> Vec<(u32, &Keyslot)> {
        let wanted = |number: &u32, keyslot: &Keyslot| match numbers {
            Some(numbers) => numbers.contains(number),
            None => keyslot.priority != Priority::Ignore,
        };
        let mut candidates: Vec<_> = self
            .metadata
            .keyslots
            .iter()
            .filter(|(number, keyslot)| digest.keyslots.contains(number) && wanted(number, keyslot))
            .map(|(number, keyslot)| (*number, keyslot))
            .collect();
        // Stable: by number among those of one priority.
        sort::by_key(&mut candidates, |(_, keyslot)| keyslot.priority);
        candidates
    }
}

impl Recipe {
    /// Opens the keyslot whose area begins at `offset`: the volume key, or None when the key is not the right one.
    ///
    /// # Errors
    /// The reason why the keyslot could not be tried.
    fn open<R>(
        &self,
        device: &R,
        offset: u64,
        passphrase: &Secret,
        digest: &Digest,
        budget: &mut Budget,
    ) -> Result<Option<Secret>, String>
    where
        R: ReadAt + ?Sized,
        R::Error: Display,
    {
        let work = self.kdf.work(self.area_key_size).saturating_add(digest.work()?);
        budget.pay(self.kdf.memory(), work.saturating_add(ATTEMPT))?;
        let mut area_key = Secret::zeroed(self.area_key_size);
        self.kdf.derive(passphrase, &mut area_key)?;
        let mut area = Secret::zeroed(self.key_size * af::STRIPES);
        header::read(device, offset, area.expose_mut()).map_err(|error| error.to_string())?;
        xts::crypt(Direction::Decrypt, area.expose_mut(), area_key.expose())
            .ok_or("its area cannot be decrypted")?;
        let mut key = Secret::zeroed(self.key_size);
        af::merge(area.expose(), key.expose_mut(), self.af_hash);
        let right = digest.verify(&key);
        // Splitter and digest have had the volume key in their hands.
        scrub_stack();
        Ok(right?.then_some(key))
    }
}
