//! The JSON text as checked types (LUKS2 specification section 3).
//!
//! A text that breaks the format makes the copy invalid. An object that is well-formed but not supported here is kept
//! as an error beside its place, so that a volume opens as long as one keyslot can be used.

use std::{collections::BTreeMap, prelude::v1::*};

use core::ops::Range;

use serde_json::Value;

use super::{
    digest::Digest,
    error::{LuksError, quote},
    json::Node,
    keyslot::Keyslot,
    segment::{Flags, Segment},
};

/// The most keyslots, tokens and segments that a header may have (LUKS2_OBJECTS_MAX of cryptsetup).
pub(super) const OBJECTS_MAX: u32 = 32;
/// The most digests (LUKS2_DIGEST_MAX).
const DIGESTS_MAX: u32 = 8;
/// The largest keyslots area (LUKS2_MAX_KEYSLOTS_SIZE).
const KEYSLOTS_SIZE_MAX: u64 = 128 << 20;
/// Area sizes are multiples of this.
const ALIGNMENT: u64 = 4096;

/// The content of the JSON text.
#[derive(Clone, Debug)]
pub(super) struct Metadata {
    /// The range in which keyslots may have their areas, in bytes.
    pub area: Range<u64>,
    pub keyslots: BTreeMap<u32, Keyslot>,
    /// Those that are of a known type.
    pub digests: BTreeMap<u32, Digest>,
    /// The one encrypted segment, or the reason why no segment can be opened.
    pub segment: Result<Segment, LuksError>,
    pub flags: Flags,
    /// The features that a reader must support to use the volume; none is supported here, so any entry refuses.
    pub requirements: Vec<String>,
}

impl Metadata {
    /// Checks `document`, the text of a copy of `header_size` bytes.
    pub fn parse(document: &Value, header_size: u64) -> Result<Self, LuksError> {
        let root = Node::root(document);
        let config = root.get("config")?;
        let json_size = config.get("json_size")?;
        if json_size.long()?.checked_add(super::binary::LENGTH as u64) != Some(header_size) {
            return Err(json_size.invalid("not the size of the JSON area"));
        }
        let keyslots_size = config.get("keyslots_size")?;
        let area_size = keyslots_size.long()?;
        if area_size > KEYSLOTS_SIZE_MAX || !area_size.is_multiple_of(ALIGNMENT) {
            return Err(keyslots_size.invalid("not a multiple of 4096 up to 128 MiB"));
        }
        // Both copies, then the keyslots area, then the data.
        let area = 2 * header_size..2 * header_size + area_size;

        let (mut keyslots, mut known) = (BTreeMap::new(), Vec::new());
        for (number, node) in root.get("keyslots")?.numbered(OBJECTS_MAX)? {
            let keyslot = Keyslot::parse(&node)?;
            if node.get("type")?.text()? == "luks2" {
                known.push((number, node.clone()));
            }
            if keyslot.area.start < area.start || keyslot.area.end > area.end {
                return Err(node.invalid("its area is not within the keyslots area"));
            }
            if keyslots.values().any(|other: &Keyslot| keyslot.overlaps(other)) {
                return Err(node.invalid("its area overlaps that of another keyslot"));
            }
            keyslots.insert(number, keyslot);
        }
        let segments = root.get("segments")?.numbered(OBJECTS_MAX)?;
        let mut digests = BTreeMap::new();
        for (number, node) in root.get("digests")?.numbered(DIGESTS_MAX)? {
            let digest = Digest::parse(&node)?;
            if digest.keyslots.iter().any(|keyslot| !keyslots.contains_key(keyslot)) {
                return Err(node.invalid("it belongs to a keyslot that is not there"));
            }
            if digest.segments.iter().any(|segment| !segments.contains_key(segment)) {
                return Err(node.invalid("it belongs to a segment that is not there"));
            }
            digests.insert(number, digest);
        }
        // A keyslot of an unknown type may have members of its own.
        for (number, node) in known {
            if digests.values().filter(|digest| digest.keyslots.contains(&number)).count() != 1 {
                return Err(node.invalid("it does not belong to exactly one digest"));
            }
        }
        for token in root.get("tokens")?.numbered(OBJECTS_MAX)?.values() {
            token.get("type")?.text()?;
            if token.get("keyslots")?.references()?.iter().any(|keyslot| !keyslots.contains_key(keyslot)) {
                return Err(token.invalid("it belongs to a keyslot that is not there"));
            }
        }
        let segment = match only_segment(&segments, area.end) {
            Err(error @ LuksError::Invalid { .. }) => return Err(error),
            other => other,
        };
        let (flags, requirements) = (flags(&config)?, requirements(&config)?);
        Ok(Self { area, keyslots, digests, segment, flags, requirements })
    }
}

/// The one segment of a volume. Several are those of a re-encryption under way, or of something not thought of yet.
fn only_segment(segments: &BTreeMap<u32, Node>, data_start: u64) -> Result<Segment, LuksError> {
    let mut found = Vec::new();
    for (number, node) in segments {
        found.push(Segment::parse(*number, node, data_start));
    }
    // A null cipher in any of them is named before the number of segments is.
    if let Some(null) = found.iter().find(|found| matches!(found, Err(LuksError::NullCipher { .. }))) {
        return null.clone();
    }
    match found.pop() {
        Some(segment) if found.is_empty() => segment,
        Some(_) => {
            Err(LuksError::Unsupported { path: "segments".into(), value: "more than one segment".into() })
        }
        None => Err(LuksError::Invalid { path: "segments".into(), problem: "the volume has no segment" }),
    }
}

/// `config/flags`: options for the activation; unknown ones mean nothing to this reader, as in cryptsetup.
fn flags(config: &Node) -> Result<Flags, LuksError> {
    let mut flags = Flags::default();
    for flag in config.find("flags").map(|node| node.texts()).transpose()?.unwrap_or_default() {
        match flag {
            "allow-discards" => flags.allow_discards = true,
            "same-cpu-crypt" => flags.same_cpu_crypt = true,
            "submit-from-crypt-cpus" => flags.submit_from_crypt_cpus = true,
            "no-read-workqueue" => flags.no_read_workqueue = true,
            "no-write-workqueue" => flags.no_write_workqueue = true,
            "high_priority" => flags.high_priority = true,
            _ => {}
        }
    }
    Ok(flags)
}

/// `config/requirements/mandatory`.
fn requirements(config: &Node) -> Result<Vec<String>, LuksError> {
    let Some(requirements) = config.find("requirements") else { return Ok(Vec::new()) };
    let mandatory = requirements.get("mandatory")?.texts()?;
    Ok(mandatory.into_iter().map(quote).collect())
}
