//! One file of repart.d: a partition that should exist.
//!
//! Source: repart.d(5).

use core::fmt;
use std::prelude::v1::*;

use uuid::Uuid;

use super::{
    RepartError,
    ini::{self, Item},
    size,
};
use crate::disk::types::{self, Identifier, Role};

/// A definition file as it was read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Source {
    /// Its name, `50-root.conf`: the order of definitions.
    pub name: String,
    /// Its text.
    pub text: String,
    /// Its drop-ins (`50-root.conf.d/*.conf`) by name: read after it, in order, the last assignment counts.
    pub drop_ins: Vec<(String, String)>,
}

/// Whether a partition is encrypted, and what opens it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Encrypt {
    /// It is not.
    #[default]
    Off,
    /// LUKS2, opened by the key file.
    KeyFile,
}

/// The file system that a new partition gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// ext4.
    Ext4,
}

/// A partition that should exist.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Definition {
    /// The file that says so.
    pub file: String,
    /// Its type.
    pub type_guid: Uuid,
    /// Its label; None for the default, systemd's identifier of the type.
    pub label: Option<String>,
    /// Its encryption.
    pub encrypt: Encrypt,
    /// Its file system.
    pub format: Format,
    /// The smallest size in bytes, a multiple of 4096.
    pub size_min: Option<u64>,
    /// The largest size in bytes, a multiple of 4096.
    pub size_max: Option<u64>,
    /// Its share of free space, 1000 unless said otherwise.
    pub weight: u32,
}

/// Something that was read over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Warning {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// What it says.
    pub what: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {} is ignored", self.file, self.line, self.what)
    }
}

/// All definitions of an image, in the order of their names.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Definitions {
    /// The definitions.
    pub list: Vec<Definition>,
    /// What was read over.
    pub warnings: Vec<Warning>,
}

impl Definitions {
    /// Parses files, whatever their order. An empty file is a mask: it defines nothing.
    ///
    /// # Errors
    /// The first word of policy that is not understood or cannot be done, with its file and line.
    pub fn parse(files: &[Source]) -> Result<Self, RepartError> {
        let mut files: Vec<&Source> = files.iter().filter(|file| !file.text.is_empty()).collect();
        files.sort_by(|a, b| a.name.cmp(&b.name));
        let mut definitions = Self::default();
        for file in files {
            let mut reading = Reading::default();
            reading.text(&file.name, &file.text, &mut definitions.warnings)?;
            for (name, text) in &file.drop_ins {
                reading.text(name, text, &mut definitions.warnings)?;
            }
            definitions.list.push(reading.finish(&file.name)?);
        }
        Ok(definitions)
    }
}

/// The longest label that a GPT entry keeps, in UTF-16 units.
const LABEL_UNITS: usize = 36;
const MAX_WEIGHT: u32 = 1_000_000;
/// Sizes in definition files have this granularity.
const GRANULARITY: u64 = 4096;
const DEFAULT_WEIGHT: u32 = 1000;

/// A definition while it is read.
#[derive(Default)]
struct Reading {
    type_guid: Option<Uuid>,
    label: Option<String>,
    encrypt: Encrypt,
    format: Option<Format>,
    size_min: Option<u64>,
    size_max: Option<u64>,
    weight: Option<u32>,
}

impl Reading {
    fn text(&mut self, file: &str, text: &str, warnings: &mut Vec<Warning>) -> Result<(), RepartError> {
        let items = ini::parse(text).map_err(|error| RepartError::Refused {
            file: file.into(),
            line: error.line,
            what: format!("{}: this is no definition file", error.what),
            advice: "see repart.d(5)",
        })?;
        let mut ours = false;
        for (line, item) in items {
            let mut warn = |what| warnings.push(Warning { file: file.into(), line, what });
            match item {
                Item::Section(name) => {
                    ours = name == "Partition";
                    if !ours && !name.starts_with("X-") {
                        warn(format!("the unknown section [{name}]"));
                    }
                }
                Item::Assignment(key, value) if ours => {
                    let refuse = |advice| RepartError::Refused {
                        file: file.into(),
                        line,
                        what: format!("{key}={value} is not supported"),
                        advice,
                    };
                    if !self.assign(&key, &value).map_err(refuse)? {
                        warn(format!("the unknown key {key}="));
                    }
                }
                Item::Assignment(..) => {}
            }
        }
        Ok(())
    }

    /// Takes one assignment; false when the key is not known. The error is the advice.
    fn assign(&mut self, key: &str, value: &str) -> Result<bool, &'static str> {
        match key {
            "Type" => {
                let root = types::native(Role::Root);
                let guid = types::parse(value).filter(|guid| *guid == root && !root.is_nil());
                self.type_guid =
                    Some(guid.ok_or("only the root partition of this architecture can be made here")?);
            }
            "Label" => self.label = label(value)?,
            "Format" => {
                self.format = match value {
                    "" => None,
                    "ext4" => Some(Format::Ext4),
                    _ => return Err("say Format=ext4"),
                }
            }
            "Encrypt" => {
                self.encrypt = match value {
                    "" => Encrypt::Off,
                    "key-file" => Encrypt::KeyFile,
                    "off" => Encrypt::Off,
                    other => match boolean(other) {
                        Some(true) => Encrypt::KeyFile,
                        Some(false) => Encrypt::Off,
                        None => return Err("say Encrypt=off or Encrypt=key-file"),
                    },
                }
            }
            // systemd-repart 257 rounds the smallest size down and the largest up.
            "SizeMinBytes" => self.size_min = Some(size::round_down(bytes(value)?, GRANULARITY)),
            "SizeMaxBytes" => self.size_max = Some(size::round_up(bytes(value)?, GRANULARITY)),
            "Weight" => {
                let weight = value.parse().ok().filter(|weight| *weight <= MAX_WEIGHT);
                self.weight = Some(weight.ok_or("a weight is a number from 0 to 1000000")?);
            }
            "CopyBlocks" if value.is_empty() => {}
            "CopyBlocks" => return Err("remove it: the root partition is populated from /usr"),
            "Verity" if value.is_empty() || value == "off" => {}
            "Verity" => return Err("remove it: a writable root has no dm-verity"),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn finish(self, file: &str) -> Result<Definition, RepartError> {
        let refuse =
            |what: String, advice| Err(RepartError::Refused { file: file.into(), line: 0, what, advice });
        let Some(type_guid) = self.type_guid else {
            return refuse("no Type= in section [Partition]".into(), "say Type=root");
        };
        let format = match (self.format, self.encrypt) {
            (Some(format), _) => format,
            // As in systemd, where encryption implies a file system.
            (None, Encrypt::KeyFile) => Format::Ext4,
            (None, Encrypt::Off) => {
                let what = format!("no Format= for the {} partition", Identifier(type_guid));
                return refuse(what, "say Format=ext4, or it could not be mounted");
            }
        };
        if let (Some(min), Some(max)) = (self.size_min, self.size_max)
            && min > max
        {
            return refuse(
                format!("SizeMinBytes= is {min} and SizeMaxBytes= is {max}"),
                "the smallest size cannot be above the largest",
            );
        }
        Ok(Definition {
            file: file.into(),
            type_guid,
            label: self.label,
            encrypt: self.encrypt,
            format,
            size_min: self.size_min,
            size_max: self.size_max,
            weight: self.weight.unwrap_or(DEFAULT_WEIGHT),
        })
    }
}

/// A label with its only supported specifier, `%%`, expanded. Others would need the machine's identity.
fn label(value: &str) -> Result<Option<String>, &'static str> {
    let text = value.replace("%%", "\u{0}");
    if text.contains('%') {
        return Err("write the label out: specifiers other than %% are not expanded here");
    }
    let text = text.replace('\u{0}', "%");
    if text.encode_utf16().count() > LABEL_UNITS {
        return Err("a label has at most 36 characters");
    }
    Ok(Some(text).filter(|text| !text.is_empty()))
}

fn bytes(value: &str) -> Result<u64, &'static str> {
    size::parse(value).ok_or("a size is a number with K, M, G or T behind it")
}

/// A boolean in any of systemd's spellings.
fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Some(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Definitions, RepartError> {
        Definitions::parse(&[Source { name: "50-root.conf".into(), text: text.into(), drop_ins: vec![] }])
    }

    #[test]
    fn a_definition_is_read_key_by_key() {
        let found = parse(
            "[Partition]\nType=root\nLabel=100%% mine\nFormat=ext4\nEncrypt=Yes\nSizeMinBytes=10000\n\
             SizeMaxBytes=1.5G\nWeight=0\nFactoryReset=yes\n[Other]\nA=b\n[X-Mine]\nA=b\n",
        )
        .unwrap();
        assert_eq!(
            found.list,
            [Definition {
                file: "50-root.conf".into(),
                type_guid: types::native(Role::Root),
                label: Some("100% mine".into()),
                encrypt: Encrypt::KeyFile,
                format: Format::Ext4,
                size_min: Some(8192),
                size_max: Some(3 << 29),
                weight: 0,
            }]
        );
        let warnings: Vec<_> = found.warnings.iter().map(Warning::to_string).collect();
        assert_eq!(
            warnings,
            [
                "50-root.conf:9: the unknown key FactoryReset= is ignored",
                "50-root.conf:10: the unknown section [Other] is ignored"
            ]
        );
    }

    #[test]
    fn policy_that_cannot_be_done_refuses_with_file_line_and_advice() {
        for (line, expected) in [
            ("Type=home", "50-root.conf:4: Type=home is not supported; only the root partition"),
            ("Type=root-alpha", "50-root.conf:4: Type=root-alpha is not supported; "),
            ("Encrypt=tpm2", "50-root.conf:4: Encrypt=tpm2 is not supported; say Encrypt=off"),
            ("Format=btrfs", "50-root.conf:4: Format=btrfs is not supported; say Format=ext4"),
            ("SizeMinBytes=much", "50-root.conf:4: SizeMinBytes=much is not supported; a size is"),
            ("SizeMaxBytes=", "50-root.conf:4: SizeMaxBytes= is not supported; a size is"),
            ("CopyBlocks=auto", "50-root.conf:4: CopyBlocks=auto is not supported; remove it"),
            ("Verity=data", "50-root.conf:4: Verity=data is not supported; remove it"),
            ("Weight=1000001", "50-root.conf:4: Weight=1000001 is not supported; a weight is"),
            ("Label=%m", "50-root.conf:4: Label=%m is not supported; write the label out"),
            ("words", "50-root.conf:4: a line without '=': this is no definition file; see repart.d(5)"),
            ("Format=", "50-root.conf: no Format= for the root-"),
            ("SizeMinBytes=2M\nSizeMaxBytes=1M", "50-root.conf: SizeMinBytes= is 2097152 and"),
        ] {
            let error = parse(&format!("[Partition]\nType=root\nFormat=ext4\n{line}\n")).unwrap_err();
            assert!(error.to_string().starts_with(expected), "{error}");
        }
        let error = parse("[Partition]\nFormat=ext4\n").unwrap_err();
        assert_eq!(error.to_string(), "50-root.conf: no Type= in section [Partition]; say Type=root");
    }

    #[test]
    fn files_are_taken_by_name_masks_define_nothing_and_drop_ins_come_last() {
        let text = "[Partition]\nType=root\nFormat=ext4\nWeight=5\n";
        let source =
            |name: &str, text: &str| Source { name: name.into(), text: text.into(), drop_ins: vec![] };
        let mut second = source("20.conf", text);
        second.drop_ins.push(("20.conf.d/10.conf".into(), "[Partition]\nWeight=7\n".into()));
        let found = Definitions::parse(&[second, source("30.conf", ""), source("10.conf", text)]).unwrap();
        let seen: Vec<_> = found.list.iter().map(|d| (d.file.as_str(), d.weight)).collect();
        assert_eq!(seen, [("10.conf", 5), ("20.conf", 7)]);
    }

    proptest! {
        #[test]
        fn parsing_is_total(
            lines in proptest::collection::vec(
                "(Type|Label|Format|Encrypt|SizeMinBytes|SizeMaxBytes|Weight|Verity|X)=(root|ext4|off|%|[0-9]{0,25}[KMGTPE]?|\\PC{0,40})",
                0..12,
            ),
        ) {
            let _total = parse(&format!("[Partition]\n{}\n", lines.join("\n")));
        }
    }
}
