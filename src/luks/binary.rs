//! The binary header: the first 4096 bytes of each of the two copies, big-endian (LUKS2 specification section 2.1).
//!
//! | offset | length | field |
//! |---|---|---|
//! | 0 | 6 | magic, `LUKS\xba\xbe`, in the secondary copy `SKUL\xba\xbe` |
//! | 6 | 2 | version, 2 |
//! | 8 | 8 | length of the copy, binary header and JSON area |
//! | 16 | 8 | sequence number, greater after each update |
//! | 24 | 48 | label |
//! | 72 | 32 | checksum algorithm |
//! | 104 | 64 | salt, different in each copy so that equal text gives different checksums |
//! | 168 | 40 | UUID as text |
//! | 208 | 48 | subsystem |
//! | 256 | 8 | where this copy lies |
//! | 448 | 64 | checksum over the whole copy, with this field zeroed |

use std::prelude::v1::*;

use core::ops::Range;

use uuid::Uuid;

use super::hash;

/// The length of the binary header; the JSON area follows it.
pub(super) const LENGTH: usize = 4096;
/// The lengths that a copy may have, and so the places where the secondary copy may lie.
pub(super) const SIZES: [u64; 9] =
    [0x4000, 0x8000, 0x1_0000, 0x2_0000, 0x4_0000, 0x8_0000, 0x10_0000, 0x20_0000, 0x40_0000];
/// Labels and subsystems have at most this many bytes; a NUL follows.
pub const LABEL_MAX: usize = 47;

const MAGIC: &[u8; 6] = b"LUKS\xba\xbe";
const MAGIC_SECONDARY: &[u8; 6] = b"SKUL\xba\xbe";
const CHECKSUM: Range<usize> = 448..512;
/// The length of the salt.
pub(super) const SALT: usize = 64;

/// The fields of a binary header that matter to a reader.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Binary {
    /// The length of the copy in bytes, one of [`SIZES`].
    pub size: u64,
    pub sequence: u64,
    pub label: String,
    pub subsystem: String,
    pub uuid: Uuid,
}

/// The reason why a copy cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// The magic is missing: no copy lies here.
    Absent,
    /// The magic of LUKS with a version other than 2.
    Version(u16),
    /// A copy that is damaged.
    Damaged(&'static str),
}

impl Fault {
    /// The fault in a few words.
    pub fn text(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Version(_) => "of another version",
            Self::Damaged(problem) => problem,
        }
    }
}

impl Binary {
    /// Parses the header found at `offset`, which is 0 for the primary copy. The checksum is checked by [`verify`].
    pub fn parse(header: &[u8], offset: u64) -> Result<Self, Fault> {
        let magic = if offset == 0 { MAGIC } else { MAGIC_SECONDARY };
        if field(header, 0..6) != magic {
            return Err(Fault::Absent);
        }
        let version = number(header, 6..8) as u16;
        if version != 2 {
            return Err(Fault::Version(version));
        }
        let size = number(header, 8..16);
        if !SIZES.contains(&size) || (offset != 0 && size != offset) {
            return Err(Fault::Damaged("its length is not one that LUKS2 has"));
        }
        if number(header, 256..264) != offset {
            return Err(Fault::Damaged("it says that it lies elsewhere"));
        }
        if text(header, 72..104) != Some("sha256") {
            return Err(Fault::Damaged("its checksum algorithm is not sha256"));
        }
        let uuid = text(header, 168..208).and_then(|text| Uuid::try_parse(text).ok());
        Ok(Self {
            size,
            sequence: number(header, 16..24),
            label: text(header, 24..72).ok_or(Fault::Damaged("its label is not UTF-8"))?.into(),
            subsystem: text(header, 208..256).ok_or(Fault::Damaged("its subsystem is not UTF-8"))?.into(),
            uuid: uuid.ok_or(Fault::Damaged("its UUID is not a UUID"))?,
        })
    }

    /// The whole copy for `offset`: this header with `salt` and its checksum, then `json`, NULs up to the copy's length.
    /// None when the text does not fit or the label is too long.
    pub fn encode(&self, offset: u64, salt: &[u8; SALT], json: &[u8]) -> Option<Vec<u8>> {
        let mut copy = vec![0; usize::try_from(self.size).ok()?];
        let mut put = |at: usize, limit: usize, bytes: &[u8]| {
            let fits = bytes.len() <= limit;
            let place = copy.get_mut(at..at + bytes.len()).filter(|_| fits)?;
            place.copy_from_slice(bytes);
            Some(())
        };
        put(0, 6, if offset == 0 { MAGIC } else { MAGIC_SECONDARY })?;
        put(6, 2, &2u16.to_be_bytes())?;
        put(8, 8, &self.size.to_be_bytes())?;
        put(16, 8, &self.sequence.to_be_bytes())?;
        put(24, LABEL_MAX, self.label.as_bytes())?;
        put(72, 31, b"sha256")?;
        put(104, 64, salt)?;
        put(168, 39, self.uuid.hyphenated().encode_lower(&mut [0; 36]).as_bytes())?;
        put(208, LABEL_MAX, self.subsystem.as_bytes())?;
        put(256, 8, &offset.to_be_bytes())?;
        // One NUL at least ends the text.
        put(LENGTH, usize::try_from(self.size).ok()?.checked_sub(LENGTH + 1)?, json)?;
        let checksum = hash::sha256(&[&copy]);
        copy.get_mut(CHECKSUM.start..CHECKSUM.start + checksum.len())?.copy_from_slice(&checksum);
        Some(copy)
    }
}

/// Checks the checksum of a copy.
pub(super) fn verify(header: &[u8], json: &[u8]) -> Result<(), Fault> {
    let (Some(before), Some(after)) = (header.get(..CHECKSUM.start), header.get(CHECKSUM.end..)) else {
        return Err(Fault::Damaged("it is too short"));
    };
    let checksum = hash::sha256(&[before, &[0; CHECKSUM.end - CHECKSUM.start], after, json]);
    match field(header, CHECKSUM).starts_with(&checksum) {
        true => Ok(()),
        false => Err(Fault::Damaged("its checksum is wrong")),
    }
}

/// The bytes of a field.
fn field(header: &[u8], range: Range<usize>) -> &[u8] {
    header.get(range).unwrap_or_default()
}

/// A big-endian number.
fn number(header: &[u8], range: Range<usize>) -> u64 {
    field(header, range).iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// A text that ends at its first NUL or at the end of its field.
fn text(header: &[u8], range: Range<usize>) -> Option<&str> {
    core::str::from_utf8(field(header, range).split(|byte| *byte == 0).next()?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Binary {
        Binary {
            size: 0x4000,
            sequence: 7,
            label: "root-x86-64".into(),
            subsystem: "ours".into(),
            uuid: Uuid::from_u128(0xbc5e8cf8_78c9_4eef_a5d6_8f3a59cfb448),
        }
    }

    #[test]
    fn a_copy_round_trips() {
        for offset in [0, 0x4000] {
            let copy = sample().encode(offset, &[9; 64], b"{}").unwrap();
            assert_eq!(copy.len(), 0x4000);
            let (header, json) = copy.split_at(LENGTH);
            assert_eq!(Binary::parse(header, offset), Ok(sample()));
            assert_eq!(verify(header, json), Ok(()));
            assert_eq!(Binary::parse(header, offset ^ 0x4000), Err(Fault::Absent));
        }
    }

    #[test]
    fn a_flipped_byte_anywhere_is_noticed() {
        let copy = sample().encode(0, &[9; 64], b"{}").unwrap();
        for at in (0..LENGTH).chain([LENGTH, copy.len() - 1]) {
            let mut copy = copy.clone();
            copy[at] ^= 1;
            let (header, json) = copy.split_at(LENGTH);
            let used = Binary::parse(header, 0).and_then(|_| verify(header, json));
            // Behind the 32 bytes of SHA-256 the checksum's field means nothing.
            assert_eq!(used.is_ok(), (480..512).contains(&at), "{at}");
        }
    }

    #[test]
    fn what_does_not_fit_is_not_written() {
        let long = Binary { label: "x".repeat(48), ..sample() };
        assert_eq!(long.encode(0, &[0; 64], b"{}"), None);
        assert_eq!(sample().encode(0, &[0; 64], &[b' '; 0x3000]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(bytes: Vec<u8>, offset: u64) {
            Binary::parse(&bytes, offset).ok();
            let mut bytes = bytes;
            bytes.splice(0..0, *b"LUKS\xba\xbe\0\x02");
            Binary::parse(&bytes, 0).ok();
            verify(&bytes, &bytes).ok();
        }
    }
}
