//! The header of a volume: two copies on the disk, of which the newest good one counts (LUKS2 specification section 2.2).

use std::prelude::v1::*;

use core::fmt::Display;

use serde_json::Value;
use uuid::Uuid;

use super::{
    binary::{self, Binary, Fault},
    error::LuksError,
    json,
    metadata::Metadata,
    segment::{Flags, Segment},
};
use crate::{
    disk::probe::{self, Format},
    units::Bytes,
    writes::ReadAt,
};

/// The copy of the header that was chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The copy at the start of the device.
    Primary,
    /// The copy behind it.
    Secondary,
}

impl Display for Origin {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Primary => "primary",
            Self::Secondary => "secondary",
        })
    }
}

/// A LUKS2 header, read once and checked. It keeps the whole JSON document, members unknown here included.
#[derive(Clone, Debug)]
pub struct Header {
    pub(super) binary: Binary,
    origin: Origin,
    complaint: Option<Complaint>,
    /// The text as it stands on the disk, NULs included.
    pub(super) json: Vec<u8>,
    document: Value,
    pub(super) metadata: Metadata,
}

/// The fault of the copy that was not chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Complaint {
    /// Its checksum is wrong, or it is not there.
    Damaged(Origin),
    /// Its sequence number is lower: a writer was interrupted between both.
    Older(Origin),
    /// It is newer and its checksum is right, but its text is not valid here. It may be valid for another program.
    NewerInvalid(Origin),
}

impl Display for Complaint {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Damaged(copy) => write!(f, "the {copy} header is damaged"),
            Self::Older(copy) => write!(f, "the {copy} header is older than the other"),
            Self::NewerInvalid(copy) => {
                write!(f, "the {copy} header is newer but not valid, the other is used")
            }
        }
    }
}

/// A copy whose checksum is right.
struct Copy {
    origin: Origin,
    binary: Binary,
    json: Vec<u8>,
}

/// The reason why there is no copy: the device cannot be read, or what was read is not a copy.
enum Failure {
    Read(LuksError),
    Fault(Fault),
}

impl Header {
    /// Reads both copies and takes the one with the higher sequence number whose checksum and text are good; among
    /// equals the primary. While the primary is damaged, the secondary is looked for behind every length that a copy
    /// may have.
    ///
    /// This is what cryptsetup does, except that a damaged copy is not rewritten by reading, see [`Header::repair`]. A
    /// device that was reused without wiping may still have an old secondary copy; that copy does not count.
    ///
    /// Reads 32 KiB of a usual volume, 8 MiB and 104 KiB at most.
    ///
    /// # Errors
    /// The device cannot be read, there is no LUKS2 header, or it is invalid; the error names the fault.
    pub fn read<R>(device: &R) -> Result<Self, LuksError>
    where
        R: ReadAt + ?Sized,
        R::Error: Display,
    {
        let primary = Copy::read(device, 0);
        if let Err(Failure::Fault(Fault::Version(version))) = primary {
            // Not a damaged LUKS2 header, but a good one of something else.
            return Err(if version == 1 { LuksError::Luks1 } else { LuksError::Version(version) });
        }
        let secondary = match &primary {
            Ok(copy) => Copy::read(device, copy.binary.size),
            Err(_) => Copy::search(device),
        };
        let (copies, complaint) = match (primary, secondary) {
            (Ok(primary), Ok(secondary)) if secondary.binary.sequence > primary.binary.sequence => {
                (vec![secondary, primary], Some(Complaint::Older(Origin::Primary)))
            }
            (Ok(primary), Ok(secondary)) => {
                let older = secondary.binary.sequence < primary.binary.sequence;
                let complaint = older.then_some(Complaint::Older(Origin::Secondary));
                (vec![primary, secondary], complaint)
            }
            (Ok(primary), Err(_)) => (vec![primary], Some(Complaint::Damaged(Origin::Secondary))),
            (Err(failure), Ok(secondary)) => {
                if let Failure::Fault(Fault::Absent) = failure {
                    not_overwritten(device)?;
                }
                (vec![secondary], Some(Complaint::Damaged(Origin::Primary)))
            }
            (Err(primary), Err(secondary)) => return Err(Failure::of_both(primary, secondary)),
        };
        let mut first = None;
        for copy in copies {
            let origin = copy.origin;
            match (Self::parse(copy, complaint), &first) {
                (Ok(header), None) => return Ok(header),
                (Ok(header), Some((invalid, _))) => {
                    return Ok(Self { complaint: Some(Complaint::NewerInvalid(*invalid)), ..header });
                }
                (Err(error), _) => first = first.or(Some((origin, error))),
            }
        }
        Err(first.map_or(LuksError::NotLuks, |(_, error)| error))
    }

    fn parse(copy: Copy, complaint: Option<Complaint>) -> Result<Self, LuksError> {
        let document = json::parse(&copy.json)?;
        let metadata = Metadata::parse(&document, copy.binary.size)?;
        let Copy { origin, binary, json } = copy;
        Ok(Self { binary, origin, complaint, json, document, metadata })
    }

    /// The UUID of the volume.
    pub fn uuid(&self) -> Uuid {
        self.binary.uuid
    }

    /// The label of the volume, empty when it has none.
    pub fn label(&self) -> &str {
        &self.binary.label
    }

    /// The subsystem label of the volume, empty when it has none.
    pub fn subsystem(&self) -> &str {
        &self.binary.subsystem
    }

    /// The number that grows with every update of the header.
    pub fn sequence(&self) -> u64 {
        self.binary.sequence
    }

    /// The copy that this is.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The fault of the other copy; [`Header::repair`] repairs it where that is allowed.
    pub fn complaint(&self) -> Option<Complaint> {
        self.complaint
    }

    /// The JSON document as it stands on the disk.
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// Number and type of every token; their content is in the [`document`](Self::document).
    pub fn tokens(&self) -> impl Iterator<Item = (&str, &str)> {
        let tokens = self.document.get("tokens").and_then(Value::as_object).into_iter().flatten();
        tokens.filter_map(|(number, token)| Some((number.as_str(), token.get("type")?.as_str()?)))
    }

    /// The options that the header asks for at activation (`config/flags`).
    pub fn flags(&self) -> Flags {
        self.metadata.flags
    }

    /// True when it names the null cipher for its data or for a keyslot, whatever else is wrong with it.
    pub fn names_null_cipher(&self) -> bool {
        let segment = self.metadata.segment.as_ref().err();
        let keyslots = self.metadata.keyslots.values().filter_map(|keyslot| keyslot.recipe.as_ref().err());
        segment.into_iter().chain(keyslots).any(|error| matches!(error, LuksError::NullCipher { .. }))
    }

    /// The encrypted segment.
    ///
    /// # Errors
    /// The header requires an unknown feature, has other segments than a single encrypted one, or that one has another
    /// encryption than `aes-xts-plain64`; the null cipher has an error of its own.
    pub fn segment(&self) -> Result<Segment, LuksError> {
        match self.metadata.requirements.first() {
            Some(requirement) => Err(LuksError::Requirement(requirement.clone())),
            None => self.metadata.segment.clone(),
        }
    }
}

impl Copy {
    /// Reads the copy at `offset`.
    fn read<R>(device: &R, offset: u64) -> Result<Self, Failure>
    where
        R: ReadAt + ?Sized,
        R::Error: Display,
    {
        let mut header = vec![0; binary::LENGTH];
        read(device, offset, &mut header).map_err(Failure::Read)?;
        let binary = Binary::parse(&header, offset).map_err(Failure::Fault)?;
        // The length is one of nine, 4 MiB at most.
        let mut json = vec![0; usize::try_from(binary.size).unwrap_or(0).saturating_sub(binary::LENGTH)];
        read(device, offset + binary::LENGTH as u64, &mut json).map_err(Failure::Read)?;
        binary::verify(&header, &json).map_err(Failure::Fault)?;
        let origin = if offset == 0 { Origin::Primary } else { Origin::Secondary };
        Ok(Self { origin, binary, json })
    }

    /// Looks for a secondary copy at every place where one may lie; otherwise returns the fault of the one that came
    /// nearest.
    fn search<R>(device: &R) -> Result<Self, Failure>
    where
        R: ReadAt + ?Sized,
        R::Error: Display,
    {
        let mut failure = Failure::Fault(Fault::Absent);
        for offset in binary::SIZES {
            match Self::read(device, offset) {
                Ok(copy) => return Ok(copy),
                Err(found @ Failure::Fault(Fault::Damaged(_))) => failure = found,
                // There is no copy past the end of a small device either.
                Err(_) => {}
            }
        }
        Err(failure)
    }
}

impl Failure {
    /// The error when neither copy can be used.
    fn of_both(primary: Self, secondary: Self) -> LuksError {
        match (primary, secondary) {
            (Self::Read(error), _) => error,
            (Self::Fault(Fault::Absent), Self::Fault(Fault::Absent) | Self::Read(_)) => LuksError::NotLuks,
            (Self::Fault(primary), Self::Fault(secondary)) => {
                LuksError::Damaged { primary: primary.text(), secondary: secondary.text() }
            }
            (Self::Fault(primary), Self::Read(_)) => {
                LuksError::Damaged { primary: primary.text(), secondary: "it cannot be read" }
            }
        }
    }
}

/// Checks that the place of the primary copy holds no other known format.
fn not_overwritten<R>(device: &R) -> Result<(), LuksError>
where
    R: ReadAt + ?Sized,
    R::Error: Display,
{
    let mut start = vec![0; probe::LENGTH];
    if read(device, 0, &mut start).is_err() {
        // The device ends before that; both copies of the smallest header are on it, or there would be no secondary.
        start.truncate(2 * 0x4000);
        read(device, 0, &mut start)?;
    }
    match probe::probe(&start).map(|found| found.format) {
        None | Some(Format::LUKS2) => Ok(()),
        Some(other) => Err(LuksError::Overwritten { by: other.to_string() }),
    }
}

/// Fills `buffer` from `offset`.
pub(super) fn read<R>(device: &R, offset: u64, buffer: &mut [u8]) -> Result<(), LuksError>
where
    R: ReadAt + ?Sized,
    R::Error: Display,
{
    let offset = Bytes(offset);
    device
        .read_exact_at(offset, buffer)
        .map_err(|reason| LuksError::Read { offset, reason: reason.to_string() })
}
