//! From a key to the volume key: keyslots are tried in their order until one opens.

use std::prelude::v1::*;

use core::fmt::Display;

use super::{
    af,
    digest::Digest,
    error::{LuksError, Skipped},
    header::{self, Header},
    kdf::Limits,
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
    /// read from `device`, each once. The cost of the attempts is bounded by `limits`.
    ///
    /// # Errors
    /// The volume is not one that may be opened ([`Header::segment`]; a keyslot with the null cipher), no keyslot opens
    /// with this key, or no keyslot could be tried.
    pub fn unlock<R>(&self, device: &R, passphrase: &Secret, limits: Limits) -> Result<VolumeKey, LuksError>
    where
        R: ReadAt + ?Sized,
        R::Error: Display,
    {
        self.unlock_among(device, passphrase, limits, |_, keyslot| keyslot.priority != Priority::Ignore)
    }

    /// As [`Header::unlock`], with the keyslot of this number alone, with any priority.
    ///
    /// # Errors
    /// As [`Header::unlock`]; also when there is no such keyslot.
    pub fn unlock_keyslot<R>(
        &self,
        number: u32,
        device: &R,
        passphrase: &Secret,
        limits: Limits,
    ) -> Result<VolumeKey, LuksError>
    where
        R: ReadAt + ?Sized,
        R::Error: Display,
    {
        self.unlock_among(device, passphrase, limits, |candidate, _| candidate == number)
    }

    fn unlock_among<R>(
        &self,
        device: &R,
        passphrase: &Secret,
        mut limits: Limits,
        wanted: impl Fn(u32, &Keyslot) -> bool,
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
        for (keyslot_number, keyslot) in self.candidates(digest, wanted) {
            let attempt = match &keyslot.recipe {
                Ok(recipe) => recipe.open(device, keyslot.area.start, passphrase, digest, &mut limits),
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
    fn candidates(&self, digest: &Digest, wanted: impl Fn(u32, &Keyslot) -> bool) -> Vec<(u32, &Keyslot)> {
        let mut candidates: Vec<_> = self
            .metadata
            .keyslots
            .iter()
            .filter(|(number, keyslot)| digest.keyslots.contains(number) && wanted(**number, keyslot))
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
        limits: &mut Limits,
    ) -> Result<Option<Secret>, String>
    where
        R: ReadAt + ?Sized,
        R::Error: Display,
    {
        let mut area_key = Secret::zeroed(self.area_key_size);
        self.kdf.derive(passphrase, limits, &mut area_key)?;
        let mut area = Secret::zeroed(self.key_size * af::STRIPES);
        header::read(device, offset, area.expose_mut()).map_err(|error| error.to_string())?;
        xts::crypt(Direction::Decrypt, area.expose_mut(), area_key.expose())
            .ok_or("its area cannot be decrypted")?;
        let mut key = Secret::zeroed(self.key_size);
        af::merge(area.expose(), key.expose_mut(), self.af_hash);
        let right = digest.verify(&key, limits);
        // Splitter and digest have had the volume key in their hands.
        scrub_stack();
        Ok(right?.then_some(key))
    }
}
