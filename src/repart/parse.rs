//! From the text of definition files to [`Definition`]s.
//!
//! A word of Type=, Encrypt=, Format=, CopyBlocks=, Verity= or a size that is not understood refuses, as does a combination
//! that systemd refuses; what systemd reads over with a warning (a label that is too long, a path that is not absolute, an
//! unknown key) is read over with a warning here.

use std::prelude::v1::*;

use uuid::Uuid;

use super::{
    Definition, Definitions, RepartError, Source, Warning,
    definition::{
        CopyBlocks, CopyFiles, Encrypt, EncryptedVolume, Format, MountPoint, Place, Subvolume, Symlink,
        Verity,
    },
    fields::{self, PATH_MAX},
    ini::{self, Item},
    size,
};
use crate::sort;
use crate::{
    disk::types,
    fragments::{Facts, words},
};

/// What definition files are read with.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// What specifiers stand for.
    pub facts: &'a Facts,
    /// The architecture whose types are meant where a definition names types that depend on it; None for what it says.
    pub architecture: Option<&'a str>,
    /// Which types are read over.
    pub filter: Filter<'a>,
}

impl<'a> Reading<'a> {
    /// Everything, as it is written.
    pub fn new(facts: &'a Facts) -> Self {
        Self { facts, architecture: None, filter: Filter::All }
    }
}

/// Which definitions count.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Filter<'a> {
    /// All.
    #[default]
    All,
    /// Those of these types.
    Only(&'a [Uuid]),
    /// Those of other types.
    Without(&'a [Uuid]),
}

impl Filter<'_> {
    /// Whether definitions of this type count.
    pub fn passes(self, type_guid: Uuid) -> bool {
        match self {
            Self::All => true,
            Self::Only(types) => types.contains(&type_guid),
            Self::Without(types) => !types.contains(&type_guid),
        }
    }
}

/// The longest label that a GPT entry keeps, in UTF-16 units.
const LABEL_UNITS: usize = 36;
const MAX_WEIGHT: u32 = 1_000_000;
/// Sizes in definition files have this granularity.
const GRANULARITY: u64 = 4096;
/// Nobody lists this many paths in one definition.
const MOST_PATHS: usize = 10_000;

impl Definitions {
    /// Parses files, whatever their order. An empty file is a mask: it defines nothing.
    ///
    /// # Errors
    /// The first word of policy that is not understood or contradicts another one, with its file and line.
    pub fn parse(files: &[Source], reading: Reading<'_>) -> Result<Self, RepartError> {
        let mut files: Vec<&Source> = files.iter().filter(|file| !file.text.is_empty()).collect();
        sort::by(&mut files, |a, b| a.name.cmp(&b.name));
        let mut definitions = Self::default();
        for file in files {
            let mut parser = Parser::new(reading, &mut definitions.warnings);
            parser.text(&file.name, &file.text)?;
            for (path, text) in &file.drop_ins {
                parser.text(drop_in_name(path), text)?;
                parser.definition.drop_ins.push(path.clone());
            }
            definitions.list.extend(parser.finish(file)?);
        }
        super::check::relations(&definitions.list)?;
        Ok(definitions)
    }
}

/// `50-root.conf.d/size.conf`: enough of a path to find the file by.
fn drop_in_name(path: &str) -> &str {
    let start = path.rmatch_indices('/').nth(1).map_or(0, |(at, _)| at + 1);
    path.get(start..).unwrap_or(path)
}

/// How an assignment ended, when it was not taken.
enum Unread {
    /// The key is not known.
    Key,
    /// The value makes no sense; systemd reads over it, and so do we.
    Value(&'static str),
    /// The value makes no sense, and nothing may be done without it. What to do.
    Refused(&'static str),
}

impl From<&'static str> for Unread {
    /// What makes no sense is read over.
    fn from(why: &'static str) -> Self {
        Self::Value(why)
    }
}

/// A definition while it is read.
struct Parser<'a> {
    reading: Reading<'a>,
    warnings: &'a mut Vec<Warning>,
    definition: Definition,
    type_said: bool,
    /// Words of the value at hand that make no sense, and why: systemd goes on with the next word, and so do we.
    bad: Vec<(String, &'static str)>,
}

impl<'a> Parser<'a> {
    fn new(reading: Reading<'a>, warnings: &'a mut Vec<Warning>) -> Self {
        Self {
            reading,
            warnings,
            definition: Definition::of_type(Uuid::nil()),
            type_said: false,
            bad: Vec::new(),
        }
    }

    fn text(&mut self, file: &str, text: &str) -> Result<(), RepartError> {
        let items = ini::parse(text).map_err(|error| RepartError::Refused {
            file: file.into(),
            line: error.line,
            what: format!("{}: this is no definition file", error.what),
            advice: "see repart.d(5)",
        })?;
        let mut ours = false;
        for (line, item) in items {
            match item {
                Item::Section(name) => {
                    ours = name == "Partition";
                    if !ours && !name.starts_with("X-") {
                        self.warn(file, line, format!("the unknown section [{name}]"));
                    }
                }
                Item::Assignment(key, value) if ours => match self.assign(&key, &value) {
                    Ok(()) => {
                        for (word, why) in core::mem::take(&mut self.bad) {
                            self.warn(file, line, format!("{key}={word} ({why})"));
                        }
                        self.definition.places.push(Place { key, file: file.into(), line });
                    }
                    Err(Unread::Key) => self.warn(file, line, format!("the unknown key {key}=")),
                    Err(Unread::Value(why)) => self.warn(file, line, format!("{key}={value} ({why})")),
                    Err(Unread::Refused(advice)) => {
                        return Err(RepartError::Refused {
                            file: file.into(),
                            line,
                            what: format!("{key}={value} is not supported"),
                            advice,
                        });
                    }
                },
                Item::Assignment(..) => {}
            }
        }
        Ok(())
    }

    fn warn(&mut self, file: &str, line: u32, what: String) {
        self.warnings.push(Warning { file: file.into(), line, what });
    }

    /// Takes one assignment.
    fn assign(&mut self, key: &str, value: &str) -> Result<(), Unread> {
        let facts = self.reading.facts;
        let mine = &mut self.definition;
        match key {
            "Type" => {
                let guid = types::parse(value).filter(|guid| !guid.is_nil());
                let guid = guid.ok_or(Unread::Refused("say a type of repart.d(5), or its GUID"))?;
                mine.type_guid = match self.reading.architecture {
                    Some(architecture) => types::of_architecture(guid, architecture),
                    None => guid,
                };
                self.type_said = true;
            }
            "Label" => mine.label = Some(label(value, facts)?),
            "UUID" => {
                mine.uuid = match value {
                    "" => None,
                    "null" => Some(Uuid::nil()),
                    text => Some(Uuid::try_parse(text).map_err(|_| Unread::Value("no UUID"))?),
                }
            }
            "Priority" => {
                mine.priority =
                    value.parse().map_err(|_| Unread::Value("a priority is a number of 32 bits"))?;
            }
            "Weight" => mine.weight = weight(value)?,
            "PaddingWeight" => mine.padding_weight = weight(value)?,
            // systemd-repart 257 rounds the smallest size down and the largest up.
            "SizeMinBytes" => mine.size_min = Some(size::round_down(bytes(value)?, GRANULARITY)),
            "SizeMaxBytes" => mine.size_max = Some(size::round_up(bytes(value)?, GRANULARITY)),
            "PaddingMinBytes" => mine.padding_min = Some(size::round_down(bytes(value)?, GRANULARITY)),
            "PaddingMaxBytes" => mine.padding_max = Some(size::round_up(bytes(value)?, GRANULARITY)),
            "FactoryReset" => mine.factory_reset = boolean(value)?,
            "CopyBlocks" => {
                mine.copy_blocks = match value {
                    "" => None,
                    "auto" => Some(CopyBlocks::Auto),
                    text => {
                        let path = expanded_path(text, facts, false)
                            .map_err(|_| Unread::Refused("say auto or an absolute path"))?;
                        Some(CopyBlocks::Path(path))
                    }
                }
            }
            "Format" => {
                let format = Format::parse(value);
                mine.format = Some(format.ok_or(Unread::Refused("say a file system, swap or empty"))?);
            }
            "Encrypt" => {
                mine.encrypt = match value {
                    "" | "off" => Encrypt::Off,
                    "key-file" => Encrypt::KeyFile,
                    "tpm2" => Encrypt::Tpm2,
                    "key-file+tpm2" => Encrypt::KeyFileTpm2,
                    other => match fields::boolean(other) {
                        Some(true) => Encrypt::KeyFile,
                        Some(false) => Encrypt::Off,
                        None => return Err(Unread::Refused("say off, key-file, tpm2 or key-file+tpm2")),
                    },
                }
            }
            "Verity" => {
                mine.verity = match value {
                    "" | "off" => Verity::Off,
                    "data" => Verity::Data,
                    "hash" => Verity::Hash,
                    "signature" => Verity::Signature,
                    _ => return Err(Unread::Refused("say off, data, hash or signature")),
                }
            }
            "VerityMatchKey" => mine.verity_match_key = Some(value.into()).filter(|_| !value.is_empty()),
            "VerityDataBlockSizeBytes" => mine.verity_data_block_size = Some(block_size(value)?),
            "VerityHashBlockSizeBytes" => mine.verity_hash_block_size = Some(block_size(value)?),
            "Minimize" => {
                mine.minimize = match value {
                    "" | "off" => false,
                    "best" | "guess" => true,
                    other => fields::boolean(other).ok_or(Unread::Value("say off, best or guess"))?,
                }
            }
            "Flags" => mine.flags = fields::number(value).ok_or(Unread::Value("no number"))?,
            "ReadOnly" => mine.read_only = tristate(value)?,
            "NoAuto" => mine.no_auto = tristate(value)?,
            "GrowFileSystem" => mine.grow_file_system = tristate(value)?,
            "AddValidateFS" => mine.add_validate_fs = boolean(value)?,
            "SupplementFor" => mine.supplement_for = Some(value.into()).filter(|_| !value.is_empty()),
            // Kept as a place: what cannot be made without it asks.
            "SplitName" | "Compression" | "CompressionLevel" => {
                self.bad.push((value.into(), "for image builders only"));
            }
            _ => return self.assign_content(key, value),
        }
        Ok(())
    }

    /// Takes an assignment about what is to be put into the partition or said about it elsewhere.
    fn assign_content(&mut self, key: &str, value: &str) -> Result<(), Unread> {
        let facts = self.reading.facts;
        let mine = &mut self.definition;
        match key {
            "CopyFiles" => {
                let parts = fields::colons(value, false)
                    .filter(|parts| parts.len() <= 2)
                    .ok_or(Unread::Refused("say SOURCE or SOURCE:TARGET"))?;
                let source = parts.first().ok_or(Unread::Value("no path"))?;
                let target = parts.get(1).unwrap_or(source);
                push(
                    &mut mine.copy_files,
                    CopyFiles {
                        source: expanded_path(source, facts, false)?,
                        target: expanded_path(target, facts, false)?,
                    },
                )?;
            }
            "ExcludeFiles" => exclude(&mut mine.exclude_files, value, facts)?,
            "ExcludeFilesTarget" => exclude(&mut mine.exclude_files_target, value, facts)?,
            "MakeDirectories" => {
                for word in list(value)? {
                    match expanded_path(&word, facts, false) {
                        Ok(path) if mine.make_directories.contains(&path) => {}
                        Ok(path) => push(&mut mine.make_directories, path)?,
                        Err(why) => self.bad.push((word, why)),
                    }
                }
            }
            "MakeSymlinks" => {
                for word in list(value)? {
                    let link = word.split_once(':').ok_or("say PATH:TARGET").and_then(|(path, target)| {
                        Ok(Symlink { path: expanded_path(path, facts, false)?, target: target.into() })
                    });
                    match link {
                        Ok(link) => push(&mut mine.make_symlinks, link)?,
                        Err(why) => self.bad.push((word, why)),
                    }
                }
            }
            "Subvolumes" => {
                for word in list(value)? {
                    let (path, flags) =
                        word.split_once(':').map_or((word.as_str(), None), |(p, f)| (p, Some(f)));
                    let read_only = match flags {
                        None => None,
                        Some("") => Some(false),
                        Some("ro") => Some(true),
                        Some(_) => return Err(Unread::Refused("the only flag of a subvolume is ro")),
                    };
                    let path = match expanded_path(path, facts, false) {
                        Ok(path) => path,
                        Err(why) => {
                            self.bad.push((word, why));
                            continue;
                        }
                    };
                    match mine.subvolumes.iter_mut().find(|subvolume| subvolume.path == path) {
                        Some(known) => known.read_only = read_only.unwrap_or(known.read_only),
                        None => push(
                            &mut mine.subvolumes,
                            Subvolume { path, read_only: read_only.unwrap_or(false) },
                        )?,
                    }
                }
            }
            "DefaultSubvolume" => {
                mine.default_subvolume = match value {
                    "" => None,
                    text => Some(expanded_path(text, facts, false)?),
                }
            }
            "MountPoint" if value.is_empty() => mine.mount_points.clear(),
            "MountPoint" => {
                let mut parts = parts(value, 2)?;
                let path = fields::path(&parts.next().unwrap_or_default(), false);
                let path = path.ok_or(Unread::Value("no absolute path"))?;
                let options = parts.next().unwrap_or_default();
                push(&mut mine.mount_points, MountPoint { path, options })?;
            }
            "EncryptedVolume" if value.is_empty() => mine.encrypted_volume = None,
            "EncryptedVolume" => {
                let mut parts = parts(value, 3)?;
                let mut next = || parts.next().unwrap_or_default();
                let volume = EncryptedVolume { name: next(), key_file: next(), options: next() };
                if !fields::is_file_name(&volume.name) {
                    return Err(Unread::Value("no name for a mapping"));
                }
                mine.encrypted_volume = Some(volume);
            }
            _ => return Err(Unread::Key),
        }
        Ok(())
    }

    /// The finished definition; None when its type is filtered out.
    fn finish(mut self, source: &Source) -> Result<Option<Definition>, RepartError> {
        self.definition.file = source.name.clone();
        self.definition.path = source.path.clone();
        if self.type_said && !self.reading.filter.passes(self.definition.type_guid) {
            return Ok(None);
        }
        if !self.type_said {
            return Err(self.definition.refuse("", "no Type= in section [Partition]", "say Type=root"));
        }
        super::check::complete(&mut self.definition)?;
        Ok(Some(self.definition))
    }
}

fn push<T>(list: &mut Vec<T>, item: T) -> Result<(), Unread> {
    if list.len() >= MOST_PATHS {
        return Err(Unread::Refused("a definition has at most 10000 of these"));
    }
    list.push(item);
    Ok(())
}

fn exclude(paths: &mut Vec<String>, value: &str, facts: &Facts) -> Result<(), Unread> {
    if value.is_empty() {
        paths.clear();
    }
    for word in list(value)? {
        push(paths, expanded_path(&word, facts, true)?)?;
    }
    Ok(())
}

/// The words of a value, separated by blanks; quotes group.
fn list(value: &str) -> Result<Vec<String>, Unread> {
    words::split(value, usize::MAX).map(|(words, _)| words).map_err(|_| Unread::Value("an open quote"))
}

/// One to `most` fields between colons.
fn parts(value: &str, most: usize) -> Result<impl Iterator<Item = String> + use<>, Unread> {
    let parts = fields::colons(value, true).ok_or(Unread::Value("an open quote or escape"))?;
    match parts.len() > most {
        true => Err(Unread::Value("too many fields")),
        false => Ok(parts.into_iter()),
    }
}

/// A path with its specifiers expanded, or why it is none.
fn expanded_path(text: &str, facts: &Facts, keep_trailing_slash: bool) -> Result<String, &'static str> {
    let text = facts.expand(text, PATH_MAX).map_err(|_| "a specifier that has no value here")?;
    fields::path(&text, keep_trailing_slash).ok_or("no absolute path")
}

/// A label with its specifiers expanded.
fn label(value: &str, facts: &Facts) -> Result<String, Unread> {
    // Twice as many bytes as units is more than any valid label has, and less would cut valid ones.
    let text = facts
        .expand(value, LABEL_UNITS * 4)
        .map_err(|_| Unread::Value("a specifier that has no value here, or too long"))?;
    if text.encode_utf16().count() > LABEL_UNITS {
        return Err(Unread::Value("a label has at most 36 characters"));
    }
    Ok(text)
}

fn weight(value: &str) -> Result<u32, Unread> {
    fields::number(value)
        .and_then(|weight| u32::try_from(weight).ok())
        .filter(|weight| *weight <= MAX_WEIGHT)
        .ok_or(Unread::Value("a weight is a number from 0 to 1000000"))
}

fn bytes(value: &str) -> Result<u64, Unread> {
    size::parse(value).ok_or(Unread::Refused("a size is a number with K, M, G or T behind it"))
}

fn block_size(value: &str) -> Result<u32, Unread> {
    let size = size::parse(value).and_then(|size| u32::try_from(size).ok());
    size.filter(|size| size.is_power_of_two() && (512..=4096).contains(size))
        .ok_or(Unread::Refused("say 512, 1024, 2048 or 4096"))
}

fn boolean(value: &str) -> Result<bool, Unread> {
    fields::boolean(value).ok_or(Unread::Value("say yes or no"))
}

fn tristate(value: &str) -> Result<Option<bool>, Unread> {
    match value {
        "" => Ok(None),
        text => boolean(text).map(Some),
    }
}

#[cfg(test)]
mod tests;
