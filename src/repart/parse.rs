//! From the text of definition files to [`Definition`]s.
//!
//! A word of Type=, Encrypt=, Format=, CopyBlocks=, Verity= or a size that is not understood refuses, as does a combination
//! that systemd refuses; what systemd reads over with a warning (a label that is too long, a path that is not absolute, an
//! unknown key) is read over with a warning here. The keys themselves stand in [`super::keys`].

use std::prelude::v1::*;

use uuid::Uuid;

use super::{
    Definition, Definitions, Place, RepartError, Source, Warning,
    ini::{self, Item},
    size,
    value::{Unread, Word},
};
use crate::{fragments::Facts, sort};

/// The surroundings in which definition files are read.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// The values of specifiers.
    pub facts: &'a Facts,
    /// The architecture for types of a definition that depend on it; None leaves the types as they are.
    pub architecture: Option<&'a str>,
    /// The types that are read over.
    pub filter: Filter<'a>,
}

impl<'a> Reading<'a> {
    /// Everything, as it is written.
    pub fn new(facts: &'a Facts) -> Self {
        Self { facts, architecture: None, filter: Filter::All }
    }
}

/// The definitions that count, by type.
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
    /// True when definitions of this type count.
    pub fn passes(self, type_guid: Uuid) -> bool {
        match self {
            Self::All => true,
            Self::Only(types) => types.contains(&type_guid),
            Self::Without(types) => !types.contains(&type_guid),
        }
    }
}

impl Definitions {
    /// Parses files, in any order. An empty file is a mask: it defines nothing.
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

/// A definition while it is read.
struct Parser<'a> {
    reading: Reading<'a>,
    warnings: &'a mut Vec<Warning>,
    definition: Definition,
    /// Words of the value at hand that make no sense, and why: systemd goes on with the next word, and so do we.
    bad: Vec<(String, &'static str)>,
}

impl<'a> Parser<'a> {
    fn new(reading: Reading<'a>, warnings: &'a mut Vec<Warning>) -> Self {
        Self { reading, warnings, definition: Definition::of_type(Uuid::nil()), bad: Vec::new() }
    }

    fn text(&mut self, file: &str, text: &str) -> Result<(), RepartError> {
        let items = ini::parse(text).map_err(|error| RepartError::Refused {
            file: file.into(),
            line: error.line,
            what: format!("{}: this is no definition file", error.what),
            advice: "see repart.d(5)".into(),
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
                        self.definition.places.push(Place { key, value, file: file.into(), line });
                    }
                    Err(Unread::Key) => self.warn(file, line, format!("the unknown key {key}=")),
                    Err(Unread::Value(why)) => self.warn(file, line, format!("{key}={value} ({why})")),
                    Err(Unread::Refused(advice)) => {
                        return Err(RepartError::Refused {
                            file: file.into(),
                            line,
                            what: format!("{key}={value} is not supported"),
                            advice: advice.into(),
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

    /// Raises a largest size to the smallest where only their rounding has put it below: 257 rounded the other way, and what a machine
    /// has booted with is no reason to refuse. 262 does refuse.
    fn meet_where_rounding_parts(&mut self) {
        let definition = &mut self.definition;
        let last = |key: &str| definition.places.iter().rfind(|place| place.key == key);
        let said = |key: &str| last(key).and_then(|place| size::parse(&place.value));
        let mut raised = Vec::new();
        for (least, most, min, max) in [
            ("SizeMinBytes", "SizeMaxBytes", definition.size_min, &mut definition.size_max),
            ("PaddingMinBytes", "PaddingMaxBytes", definition.padding_min, &mut definition.padding_max),
        ] {
            if min.zip(*max).is_some_and(|(min, max)| min > max)
                && said(least).zip(said(most)).is_some_and(|(least, most)| least <= most)
                && let Some(Place { key, value, file, line }) = last(most)
            {
                *max = min;
                let what = format!("{key}={value} (it is rounded down, and raised to the smallest again)");
                raised.push(Warning { file: file.clone(), line: *line, what });
            }
        }
        self.warnings.extend(raised);
    }

    /// Takes one assignment.
    fn assign(&mut self, key: &str, text: &str) -> Result<(), Unread> {
        let Reading { facts, architecture, .. } = self.reading;
        self.definition.assign(key, &mut Word { text, facts, architecture, bad: &mut self.bad })
    }

    /// The finished definition; None when its type is filtered out.
    fn finish(mut self, source: &Source) -> Result<Option<Definition>, RepartError> {
        self.definition.file = source.name.clone();
        self.definition.path = source.path.clone();
        let type_guid = self.definition.type_guid;
        // Type= takes no nil.
        if type_guid.is_nil() {
            return Err(self.definition.refuse("", "no Type= in section [Partition]", "say Type=root"));
        }
        if !self.reading.filter.passes(type_guid) {
            return Ok(None);
        }
        self.meet_where_rounding_parts();
        super::check::complete(&mut self.definition)?;
        Ok(Some(self.definition))
    }
}

#[cfg(test)]
mod tests;
