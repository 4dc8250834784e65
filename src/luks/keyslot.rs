//! A keyslot: an area of the disk with the split volume key, and how to get at it (LUKS2 specification section 3.2).

use std::prelude::v1::*;

use core::ops::Range;

use super::{
    af,
    error::LuksError,
    hash::Hash,
    json::Node,
    kdf::Kdf,
    segment::{CIPHER, is_null},
};

/// When a keyslot is tried.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Priority {
    /// Before the others.
    Prefer,
    Normal,
    /// Used only when it is named, which this program never does.
    Ignore,
}

/// A keyslot. Its place on the disk is known even when the way to open it is not supported here.
#[derive(Clone, Debug)]
pub(super) struct Keyslot {
    pub priority: Priority,
    /// The range of its area, in bytes.
    pub area: Range<u64>,
    /// The parameters by which it opens, or the reason why it cannot be opened here.
    pub recipe: Result<Recipe, LuksError>,
}

/// The parameters by which a keyslot opens.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    /// The length of the volume key in bytes: 32 or 64.
    pub key_size: usize,
    /// The length of the area's key in bytes: 32 or 64.
    pub area_key_size: usize,
    /// The hash of the splitter.
    pub af_hash: Hash,
    pub kdf: Kdf,
}

impl Keyslot {
    /// Checks a keyslot; the place of its area is checked by the caller, who has the others.
    ///
    /// # Errors
    /// It breaks the format.
    pub fn parse(node: &Node) -> Result<Self, LuksError> {
        let area = node.get("area")?;
        let (offset, size) = (area.get("offset")?.long()?, area.get("size")?.long()?);
        let end = offset.checked_add(size).filter(|end| *end > offset);
        let end = end.ok_or_else(|| area.invalid("empty or beyond 64 bits"))?;
        let priority = match node.find("priority").map(|priority| priority.number()).transpose()? {
            Some(0) => Priority::Ignore,
            None | Some(1) => Priority::Normal,
            Some(2) => Priority::Prefer,
            Some(_) => return Err(node.invalid("its priority is not 0, 1 or 2")),
        };
        let recipe = match Recipe::parse(node, size) {
            Err(error @ LuksError::Invalid { .. }) => return Err(error),
            other => other,
        };
        Ok(Self { priority, area: offset..end, recipe })
    }

    /// Returns true when the areas of both have a byte in common.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.area.start < other.area.end && other.area.start < self.area.end
    }
}

impl Recipe {
    fn parse(node: &Node, area_size: u64) -> Result<Self, LuksError> {
        let area = node.get("area")?;
        // Looked at first and for every type: a null cipher is not hidden by something else that is unknown.
        if let Some(encryption) = area.find("encryption")
            && is_null(encryption.text()?)
        {
            return Err(LuksError::NullCipher { path: encryption.path() });
        }
        expect(&node.get("type")?, "luks2")?;
        expect(&area.get("type")?, "raw")?;
        expect(&area.get("encryption")?, CIPHER)?;
        let key_size = self::key_size(&node.get("key_size")?)?;
        let area_key_size = self::key_size(&area.get("key_size")?)?;
        let af = node.get("af")?;
        expect(&af.get("type")?, "luks1")?;
        let stripes = af.get("stripes")?;
        if stripes.number()? as usize != af::STRIPES {
            return Err(stripes.invalid("not 4000"));
        }
        if ((key_size * af::STRIPES) as u64) > area_size {
            return Err(area.invalid("too small for its stripes"));
        }
        let hash = af.get("hash")?;
        let af_hash = Hash::by_name(hash.text()?).ok_or_else(|| hash.unsupported())?;
        Ok(Self { key_size, area_key_size, af_hash, kdf: Kdf::parse(&node.get("kdf")?)? })
    }
}

/// The only value that is understood here.
fn expect(node: &Node, value: &str) -> Result<(), LuksError> {
    if node.text()? == value { Ok(()) } else { Err(node.unsupported()) }
}

/// The key of AES-128-XTS or AES-256-XTS.
fn key_size(node: &Node) -> Result<usize, LuksError> {
    match node.number()? {
        size @ (32 | 64) => Ok(size as usize),
        other => Err(LuksError::Unsupported { path: node.path(), value: format!("{other} bytes") }),
    }
}
