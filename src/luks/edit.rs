//! A change of the header, as cryptsetup makes it: the data of a keyslot goes to its area first; then both copies are
//! written with the next sequence number, the primary before the secondary, a barrier behind each. A power failure at
//! any time leaves one of them whole. Unknown members stay unchanged.

use std::prelude::v1::*;

use serde_json::{Map, Value, json};

use super::{
    error::LuksError,
    header::{Header, Origin},
    metadata::OBJECTS_MAX,
    new_keyslot::{NewKdf, NewKeyslot, area_size},
    unlock::VolumeKey,
};
use crate::sort;
use crate::{secret::Secret, units::Bytes, writes::Writes};

/// The parameters of a further keyslot.
pub struct AddKeyslot<'a> {
    /// The volume's key, from a keyslot that opened.
    pub key: &'a VolumeKey,
    /// The passphrase of the new keyslot.
    pub passphrase: &'a Secret,
    /// The key derivation of the new keyslot.
    pub kdf: NewKdf,
    /// Its number; None for the lowest that is free.
    pub number: Option<u32>,
    /// A token for it; its member `keyslots` is set here.
    pub token: Option<Value>,
}

impl Header {
    /// Plans a further keyslot and returns its number.
    ///
    /// # Errors
    /// The header may not be changed ([`Header::segment`]), the number is in use or no number is free, or there is no
    /// room.
    pub fn add_keyslot(
        &self,
        new: &AddKeyslot<'_>,
        random: &mut dyn FnMut(&mut [u8]),
    ) -> Result<(Writes, u32), LuksError> {
        self.segment()?;
        let taken = |number: u32| self.metadata.keyslots.contains_key(&number);
        let number = match new.number {
            Some(number) if number >= OBJECTS_MAX => {
                return Err(LuksError::Change("keyslots are numbered from 0 to 31"));
            }
            Some(number) if taken(number) => return Err(LuksError::Change("the keyslot is in use")),
            Some(number) => number,
            None => (0..OBJECTS_MAX)
                .find(|number| !taken(*number))
                .ok_or(LuksError::Change("all 32 keyslots are in use"))?,
        };
        let size = area_size(new.key.key.expose().len());
        let offset =
            self.gap(size).ok_or(LuksError::Change("the keyslots area has no room for another keyslot"))?;
        let keyslot = NewKeyslot::seal(&new.key.key, new.passphrase, new.kdf, random)?;

        let mut document = self.document().clone();
        member(&mut document, "keyslots")?.insert(number.to_string(), keyslot.to_json(offset));
        let digest = member(&mut document, "digests")?.get_mut(&new.key.digest.to_string());
        let owned = digest.and_then(|digest| digest.get_mut("keyslots")?.as_array_mut());
        owned.ok_or(LuksError::NoKeyslot)?.push(json!(number.to_string()));
        if let Some(token) = &new.token {
            insert_token(&mut document, number, token)?;
        }
        let mut writes = Writes::new();
        writes.data(Bytes(offset), keyslot.area);
        writes.barrier();
        self.rewrite(&mut writes, &document, random)?;
        Ok((writes, number))
    }

    /// Plans a token for an existing keyslot; its member `keyslots` is set here.
    ///
    /// # Errors
    /// The header may not be changed, there is no such keyslot, or no token number is free.
    pub fn add_token(
        &self,
        keyslot: u32,
        token: &Value,
        random: &mut dyn FnMut(&mut [u8]),
    ) -> Result<Writes, LuksError> {
        self.segment()?;
        if !self.metadata.keyslots.contains_key(&keyslot) {
            return Err(LuksError::Change("there is no such keyslot"));
        }
        let mut document = self.document().clone();
        insert_token(&mut document, keyslot, token)?;
        let mut writes = Writes::new();
        self.rewrite(&mut writes, &document, random)?;
        Ok(writes)
    }

    /// Plans the end of a keyslot: its area is overwritten with random bytes, then it is removed from the header. A
    /// token that belongs to no other keyslot stays, without one, as in cryptsetup.
    ///
    /// # Errors
    /// The header may not be changed, there is no such keyslot, or it is the last one of the volume.
    pub fn kill_keyslot(&self, number: u32, random: &mut dyn FnMut(&mut [u8])) -> Result<Writes, LuksError> {
        self.segment()?;
        let keyslot = self.metadata.keyslots.get(&number);
        let area = keyslot.ok_or(LuksError::Change("there is no such keyslot"))?.area.clone();
        let others = self.metadata.digests.values().filter(|digest| !digest.segments.is_empty());
        if !others.flat_map(|digest| &digest.keyslots).any(|keyslot| *keyslot != number) {
            return Err(LuksError::Change("it is the last keyslot; nothing would open the volume again"));
        }
        // Bounded by the keyslots area, 128 MiB.
        let mut noise = vec![0; usize::try_from(area.end - area.start).unwrap_or(0)];
        random(&mut noise);

        let mut document = self.document().clone();
        let name = number.to_string();
        member(&mut document, "keyslots")?.remove(&name);
        for owner in ["digests", "tokens"] {
            for object in member(&mut document, owner)?.values_mut() {
                if let Some(owned) = object.get_mut("keyslots").and_then(Value::as_array_mut) {
                    owned.retain(|keyslot| keyslot.as_str() != Some(name.as_str()));
                }
            }
        }
        let mut writes = Writes::new();
        writes.data(Bytes(area.start), noise);
        writes.barrier();
        self.rewrite(&mut writes, &document, random)?;
        Ok(writes)
    }

    /// Adds both copies with `document` and the next sequence number to a plan.
    fn rewrite(
        &self,
        writes: &mut Writes,
        document: &Value,
        random: &mut dyn FnMut(&mut [u8]),
    ) -> Result<(), LuksError> {
        let next = self.binary.sequence.checked_add(1);
        let mut header = self.clone();
        header.binary.sequence = next.ok_or(LuksError::Change("its sequence number is the last"))?;
        let text = document.to_string();
        header.put(writes, Origin::Primary, text.as_bytes(), random)?;
        header.put(writes, Origin::Secondary, text.as_bytes(), random)
    }

    /// Returns the first offset at which `size` bytes of the keyslots area are free, in bytes from the start of the
    /// device.
    fn gap(&self, size: u64) -> Option<u64> {
        let mut areas: Vec<_> = self.metadata.keyslots.values().map(|keyslot| &keyslot.area).collect();
        sort::by_key(&mut areas, |area| area.start);
        let mut start = self.metadata.area.start;
        for area in areas {
            if start.checked_add(size)? <= area.start {
                break;
            }
            start = area.end.checked_next_multiple_of(4096)?;
        }
        (start.checked_add(size)? <= self.metadata.area.end).then_some(start)
    }
}

/// Puts a token for a keyslot under the lowest number that is free.
fn insert_token(document: &mut Value, keyslot: u32, token: &Value) -> Result<(), LuksError> {
    let tokens = member(document, "tokens")?;
    let free = (0..OBJECTS_MAX).map(|number| number.to_string()).find(|number| !tokens.contains_key(number));
    let mut token = token.clone();
    token
        .as_object_mut()
        .ok_or(LuksError::Change("a token is an object"))?
        .insert("keyslots".into(), json!([keyslot.to_string()]));
    tokens.insert(free.ok_or(LuksError::Change("all 32 tokens are in use"))?, token);
    Ok(())
}

/// An object at the top of the text.
fn member<'a>(document: &'a mut Value, name: &'static str) -> Result<&'a mut Map<String, Value>, LuksError> {
    let object = document.get_mut(name).and_then(Value::as_object_mut);
    object.ok_or(LuksError::Invalid { path: name.into(), problem: "missing" })
}
