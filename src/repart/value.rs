//! The values of keys: each reader takes the text of one assignment into a field.

use std::prelude::v1::*;

use uuid::Uuid;

use super::{
    CopyBlocks, CopyFiles, Format, MountPoint, Subvolume, Symlink, Verity,
    fields::{self, PATH_MAX},
    size,
};
use crate::{
    disk::types,
    fragments::{Facts, words},
    mkfs::btrfs::SubvolumeFlags,
};

/// The longest label that a GPT entry keeps, in UTF-16 units.
const LABEL_UNITS: usize = 36;
const UNKNOWN: &str = "a specifier that has no value here";
const MAX_WEIGHT: u32 = 1_000_000;
/// Sizes in definition files have this granularity.
const GRANULARITY: u64 = 4096;
/// The largest number of paths that is accepted in one definition.
const MOST_PATHS: usize = 10_000;

/// The text of an assignment, with the context of its reading.
pub(super) struct Word<'a> {
    /// The text.
    pub text: &'a str,
    /// The values of specifiers.
    pub facts: &'a Facts,
    /// The architecture of the types; None leaves the types as they are.
    pub architecture: Option<&'a str>,
    /// Parts of the text that make no sense, and why: systemd goes on with the next part, and so do we.
    pub bad: &'a mut Vec<(String, &'static str)>,
}

impl Word<'_> {
    /// Reads over all of it.
    pub fn reads_over(&mut self, why: &'static str) {
        self.bad.push((self.text.into(), why));
    }

    /// A path in it with its specifiers expanded, or why it is not one.
    pub fn path(&self, text: &str, keep_trailing_slash: bool) -> Result<String, &'static str> {
        let text = self.facts.expand(text, PATH_MAX).map_err(|_| UNKNOWN)?;
        fields::path(&text, keep_trailing_slash).ok_or("no absolute path")
    }

    /// Its words, separated by blanks; quotes group.
    fn words(&self) -> Result<Vec<String>, Unread> {
        words::split(self.text, usize::MAX)
            .map(|(words, _)| words)
            .map_err(|_| Unread::Value("an open quote"))
    }

    /// One to `most` fields between colons.
    pub fn parts(&self, most: usize) -> Result<impl Iterator<Item = String> + use<>, Unread> {
        let parts = fields::colons(self.text, true).ok_or(Unread::Value("an open quote or escape"))?;
        match parts.len() > most {
            true => Err(Unread::Value("too many fields")),
            false => Ok(parts.into_iter()),
        }
    }
}

/// The end of an assignment that was not taken.
pub(super) enum Unread {
    /// The key is not known.
    Key,
    /// The value makes no sense; systemd reads over it, and so do we.
    Value(&'static str),
    /// The value makes no sense, and nothing may be done without it. The advice says what to do.
    Refused(&'static str),
}

impl From<&'static str> for Unread {
    /// An invalid value is ignored.
    fn from(why: &'static str) -> Self {
        Self::Value(why)
    }
}

/// The end of an assignment.
pub(super) type Read = Result<(), Unread>;

fn push<T>(list: &mut Vec<T>, item: T) -> Read {
    if list.len() >= MOST_PATHS {
        return Err(Unread::Refused("a definition has at most 10000 of these"));
    }
    list.push(item);
    Ok(())
}

pub(super) fn partition_type(field: &mut Uuid, word: &mut Word<'_>) -> Read {
    let guid = types::parse(word.text).filter(|guid| !guid.is_nil());
    let guid = guid.ok_or(Unread::Refused("say a type of repart.d(5), or its GUID"))?;
    *field = match word.architecture {
        Some(architecture) => types::of_architecture(guid, architecture),
        None => guid,
    };
    Ok(())
}

/// A label with its specifiers expanded.
pub(super) fn label(field: &mut Option<String>, word: &mut Word<'_>) -> Read {
    // Twice as many bytes as units is more than any valid label has, and less would cut valid ones.
    let text = word.facts.expand(word.text, LABEL_UNITS * 4);
    let text = text.map_err(|_| "a specifier that has no value here, or too long")?;
    if text.encode_utf16().count() > LABEL_UNITS {
        return Err(Unread::Value("a label has at most 36 characters"));
    }
    *field = Some(text);
    Ok(())
}

pub(super) fn uuid(field: &mut Option<Uuid>, word: &mut Word<'_>) -> Read {
    *field = match word.text {
        "" => None,
        "null" => Some(Uuid::nil()),
        text => Some(Uuid::try_parse(text).map_err(|_| "no UUID")?),
    };
    Ok(())
}

pub(super) fn priority(field: &mut i32, word: &mut Word<'_>) -> Read {
    *field = word.text.parse().map_err(|_| "a priority is a number of 32 bits")?;
    Ok(())
}

pub(super) fn weight(field: &mut u32, word: &mut Word<'_>) -> Read {
    let weight = fields::number(word.text).and_then(|weight| u32::try_from(weight).ok());
    let weight = weight.filter(|weight| *weight <= MAX_WEIGHT);
    *field = weight.ok_or("a weight is a number from 0 to 1000000")?;
    Ok(())
}

fn bytes(word: &Word<'_>) -> Result<u64, Unread> {
    size::parse(word.text).ok_or(Unread::Refused("a size is a number with K, M, G or T behind it"))
}

/// The smallest size, which is rounded up; 257 rounded it down.
pub(super) fn least_bytes(field: &mut Option<u64>, word: &mut Word<'_>) -> Read {
    *field = Some(size::round_up(bytes(word)?, GRANULARITY));
    Ok(())
}

/// The largest size, which is rounded down; 257 rounded it up.
pub(super) fn most_bytes(field: &mut Option<u64>, word: &mut Word<'_>) -> Read {
    *field = Some(size::round_down(bytes(word)?, GRANULARITY));
    Ok(())
}

pub(super) fn block_size(field: &mut Option<u32>, word: &mut Word<'_>) -> Read {
    let size = size::parse(word.text).and_then(|size| u32::try_from(size).ok());
    let size = size.filter(|size| size.is_power_of_two() && (512..=4096).contains(size));
    *field = Some(size.ok_or(Unread::Refused("say 512, 1024, 2048 or 4096"))?);
    Ok(())
}

/// The sector of a file system: systemd takes less than 512 as well, and raises it to the sector of the disk.
pub(super) fn sector_size(field: &mut Option<u32>, word: &mut Word<'_>) -> Read {
    if word.text.is_empty() {
        *field = None;
        return Ok(());
    }
    let size = size::parse(word.text).and_then(|size| u32::try_from(size).ok());
    let size = size.filter(|size| size.is_power_of_two());
    *field = Some(size.ok_or(Unread::Refused("say a power of two, as 512 or 4096"))?);
    Ok(())
}

pub(super) fn boolean(field: &mut bool, word: &mut Word<'_>) -> Read {
    *field = fields::boolean(word.text).ok_or("say yes or no")?;
    Ok(())
}

pub(super) fn tristate(field: &mut Option<bool>, word: &mut Word<'_>) -> Read {
    *field = match word.text {
        "" => None,
        text => Some(fields::boolean(text).ok_or("say yes or no")?),
    };
    Ok(())
}

pub(super) fn flags(field: &mut u64, word: &mut Word<'_>) -> Read {
    *field = fields::number(word.text).ok_or("no number")?;
    Ok(())
}

pub(super) fn minimize(field: &mut bool, word: &mut Word<'_>) -> Read {
    *field = match word.text {
        "" | "off" => false,
        "best" | "guess" => true,
        other => fields::boolean(other).ok_or("say off, best or guess")?,
    };
    Ok(())
}

/// Any text; empty for none.
pub(super) fn text(field: &mut Option<String>, word: &mut Word<'_>) -> Read {
    *field = Some(word.text.to_owned()).filter(|text| !text.is_empty());
    Ok(())
}

/// The name of a file; empty for none.
pub(super) fn file_name(field: &mut Option<String>, word: &mut Word<'_>) -> Read {
    *field = Some(word.text.to_owned()).filter(|text| !text.is_empty());
    match field.as_deref().is_none_or(fields::is_file_name) {
        true => Ok(()),
        false => Err(Unread::Refused("say the name of a mapping, without a slash")),
    }
}

/// A path; empty for none.
pub(super) fn path(field: &mut Option<String>, word: &mut Word<'_>) -> Read {
    *field = match word.text {
        "" => None,
        text => Some(word.path(text, false)?),
    };
    Ok(())
}

/// Paths that are added; an empty text forgets those before it. A slash at the end has a meaning.
pub(super) fn excluded(field: &mut Vec<String>, word: &mut Word<'_>) -> Read {
    if word.text.is_empty() {
        field.clear();
    }
    word.words()?.iter().try_for_each(|path| push(field, word.path(path, true)?))
}

pub(super) fn directories(field: &mut Vec<String>, word: &mut Word<'_>) -> Read {
    for path in word.words()? {
        match word.path(&path, false) {
            Ok(path) if field.contains(&path) => {}
            Ok(path) => push(field, path)?,
            Err(why) => word.bad.push((path, why)),
        }
    }
    Ok(())
}

impl CopyBlocks {
    pub(super) fn read(field: &mut Option<Self>, word: &mut Word<'_>) -> Read {
        *field = match word.text {
            "" => None,
            "auto" => Some(Self::Auto),
            text => {
                let path = word.path(text, false);
                Some(Self::Path(path.map_err(|_| Unread::Refused("say auto or an absolute path"))?))
            }
        };
        Ok(())
    }
}

impl CopyFiles {
    pub(super) fn read(field: &mut Vec<Self>, word: &mut Word<'_>) -> Read {
        let parts = fields::colons(word.text, false).filter(|parts| parts.len() <= 3);
        let parts = parts.ok_or(Unread::Refused("say SOURCE or SOURCE:TARGET"))?;
        let source = parts.first().ok_or("no path")?;
        let target = parts.get(1).unwrap_or(source);
        let mut fs_verity = false;
        for option in parts.get(2).map_or("", String::as_str).split(',').filter(|option| !option.is_empty()) {
            match option {
                "fsverity=copy" => fs_verity = true,
                "fsverity=off" => fs_verity = false,
                other => word.bad.push((other.into(), "no option of CopyFiles=")),
            }
        }
        push(field, Self { source: word.path(source, false)?, target: word.path(target, false)?, fs_verity })
    }
}

impl Symlink {
    pub(super) fn read(field: &mut Vec<Self>, word: &mut Word<'_>) -> Read {
        for text in word.words()? {
            let link = text.split_once(':').ok_or("say PATH:TARGET").and_then(|(path, target)| {
                let target = word.facts.expand(target, PATH_MAX).map_err(|_| UNKNOWN)?;
                Ok(Self { path: word.path(path, false)?, target })
            });
            match link {
                Ok(link) => push(field, link)?,
                Err(why) => word.bad.push((text, why)),
            }
        }
        Ok(())
    }
}

impl Subvolume {
    pub(super) fn read(field: &mut Vec<Self>, word: &mut Word<'_>) -> Read {
        for text in word.words()? {
            let (path, flags) = text.split_once(':').map_or((text.as_str(), None), |(p, f)| (p, Some(f)));
            let flags = match flags {
                None => None,
                Some(flags) => Some(
                    SubvolumeFlags::parse(flags)
                        .ok_or(Unread::Refused("the flags of a subvolume are ro and nodatacow"))?,
                ),
            };
            let path = match word.path(path, false) {
                Ok(path) => path,
                Err(why) => {
                    word.bad.push((text, why));
                    continue;
                }
            };
            match field.iter_mut().find(|subvolume| subvolume.path == path) {
                Some(known) => known.flags = flags.unwrap_or(known.flags),
                None => push(field, Self { path, flags: flags.unwrap_or_default() })?,
            }
        }
        Ok(())
    }
}

impl Format {
    pub(super) fn read(field: &mut Option<Self>, word: &mut Word<'_>) -> Read {
        *field = Some(Self::parse(word.text).ok_or(Unread::Refused("say a file system, swap or empty"))?);
        Ok(())
    }
}

impl Verity {
    pub(super) fn read(field: &mut Self, word: &mut Word<'_>) -> Read {
        *field = match word.text {
            "" | "off" => Self::Off,
            "data" => Self::Data,
            "hash" => Self::Hash,
            "signature" => Self::Signature,
            _ => return Err(Unread::Refused("say off, data, hash or signature")),
        };
        Ok(())
    }
}

impl MountPoint {
    pub(super) fn read(field: &mut Vec<Self>, word: &mut Word<'_>) -> Read {
        if word.text.is_empty() {
            field.clear();
            return Ok(());
        }
        let mut parts = word.parts(2)?;
        let path = fields::path(&parts.next().unwrap_or_default(), false).ok_or("no absolute path")?;
        push(field, Self { path, options: parts.next().unwrap_or_default() })
    }
}
