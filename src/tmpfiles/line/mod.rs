//! One line → [`Item`] (tmpfiles.d(5)), in systemd's order of checks and with its words.

use std::prelude::v1::*;

mod argument;
mod columns;
mod selection;

use self::{
    argument::{default_argument, expand_argument, replace_argument, special_argument},
    columns::owners_and_mode,
};
use super::{
    acl::Acls,
    age::{Age, AgeError},
    item::Item,
    kind::Kind,
    path::{self, show},
};
use crate::{
    fragments::{
        facts::ExpandError,
        words::{Backslash, split_bytes},
    },
    level::Level,
};

pub use selection::{Context, Selection, Surroundings};

/// The receiver of messages about a line that counts all the same.
type Say<'a> = &'a mut dyn FnMut(Level, String);

/// The result of a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Line {
    /// It counts.
    Item(Box<Item>),
    /// It does not, which is not a mistake.
    Skipped,
}

/// The reason why a line is passed over that should have counted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The fault.
    pub message: String,
    /// True when the line itself is wrong, which gives exit status 65; false when something else failed while it was
    /// read.
    pub is_invalid: bool,
}

/// The line is wrong.
fn invalid<T>(message: String) -> Result<T, Refusal> {
    Err(Refusal { message, is_invalid: true })
}

/// Something failed.
fn failed<T>(message: String) -> Result<T, Refusal> {
    Err(Refusal { message, is_invalid: false })
}

/// A column, unless it is empty or `-`.
fn set(field: &[u8]) -> Option<&[u8]> {
    (!field.is_empty() && field != b"-").then_some(field)
}

/// The characters behind the letter.
#[derive(Clone, Copy, Default)]
struct Modifiers {
    boot: bool,
    append_or_force: bool,
    allow_failure: bool,
    try_replace: bool,
    unbase64: bool,
    from_credential: bool,
    purge: bool,
    ignore_if_target_missing: bool,
}

impl Modifiers {
    /// Each may stand once. None: there is another character, or one stands twice.
    fn parse(text: &[u8]) -> Option<Self> {
        let mut modifiers = Self::default();
        for letter in text {
            let flag = match letter {
                b'!' => &mut modifiers.boot,
                b'+' => &mut modifiers.append_or_force,
                b'-' => &mut modifiers.allow_failure,
                b'=' => &mut modifiers.try_replace,
                b'~' => &mut modifiers.unbase64,
                b'^' => &mut modifiers.from_credential,
                b'$' => &mut modifiers.purge,
                b'?' => &mut modifiers.ignore_if_target_missing,
                _ => return None,
            };
            if core::mem::replace(flag, true) {
                return None;
            }
        }
        Some(modifiers)
    }
}

/// Reads one line that is neither empty nor a comment, without white space around it. `say` gets messages about a line
/// that counts all the same.
///
/// # Errors
/// The reason why the line is passed over.
pub fn parse(line: &[u8], context: &Context<'_>, say: Say<'_>) -> Result<Line, Refusal> {
    let Ok((words, rest)) = split_bytes(line, 6, Backslash::Escapes) else {
        return invalid("Failed to parse line: Invalid argument".to_owned());
    };
    let mut words = words.iter().map(Vec::as_slice);
    let (Some(action), Some(path)) = (words.next(), words.next()) else {
        return invalid("Syntax error.".to_owned());
    };
    let [mode, user, group, age] = core::array::from_fn(|_| words.next().unwrap_or_default());
    let argument = set(rest).map(<[u8]>::to_vec);
    let Some((&letter, modifiers)) = action.split_first() else {
        return invalid(format!("Command too short '{}'.", show(action)));
    };
    let Some(modifiers) = Modifiers::parse(modifiers) else {
        return invalid(format!("Unknown modifiers in command: {}", show(action)));
    };
    if modifiers.boot && !context.selection.boot {
        say(
            Level::Debug,
            format!("Ignoring entry {} \"{}\" because --boot is not specified.", show(action), show(path)),
        );
        return Ok(Line::Skipped);
    }
    let path = match context.specifiers.expand(path) {
        Ok(path) => path,
        Err(ExpandError::Unavailable(letter)) => return unresolvable(letter, say),
        Err(error) => {
            return specifier_error(error, |reason| {
                format!("Failed to replace specifiers in '{}': {reason}", show(path))
            });
        }
    };
    if path.first() != Some(&b'/') {
        return invalid(format!("Path '{}' not absolute.", show(&path)));
    }
    let path = below_run(path::simplify(&path), say);
    let Some(kind) = Kind::from_letter(letter) else {
        return invalid(format!("Unknown command type '{}'.", char::from(letter)));
    };
    let mut item = Item {
        kind,
        path,
        argument,
        xattrs: Vec::new(),
        acls: Acls::default(),
        attributes: None,
        device: (0, 0),
        user: None,
        group: None,
        mode: None,
        creation_mode: if kind.is_directory() { 0o755 } else { 0o644 },
        age: Age::default(),
        append_or_force: modifiers.append_or_force,
        allow_failure: modifiers.allow_failure,
        try_replace: modifiers.try_replace,
        purge: modifiers.purge,
        ignore_if_target_missing: modifiers.ignore_if_target_missing,
    };
    special_argument(&mut item, modifiers.unbase64, context, say)?;
    if item.purge && !kind.is_purgeable() {
        return invalid(format!(
            "Purge flag '$' combined with line type '{}' which does not support purging.",
            char::from(letter)
        ));
    }
    if item.ignore_if_target_missing && kind != Kind::Symlink {
        return invalid(format!(
            "Modifier '?' combined with line type '{}' which does not support this modifier.",
            char::from(letter)
        ));
    }
    if !context.selection.includes(kind, &item.path) {
        return Ok(Line::Skipped);
    }
    if !modifiers.unbase64 {
        match expand_argument(&mut item, context.specifiers) {
            Err(ExpandError::Unavailable(letter)) => return unresolvable(letter, say),
            Err(error) => {
                return specifier_error(error, |reason| {
                    format!("Failed to substitute specifiers in argument: {reason}")
                });
            }
            Ok(Some(argument)) => {
                say(Level::Error, format!("Failed to unescape parameter to write: {}", show(&argument)));
                return invalid("Failed to substitute specifiers in argument: Invalid argument".to_owned());
            }
            Ok(None) => {}
        }
    }
    if !default_argument(&mut item, context, say)? {
        return Ok(Line::Skipped);
    }
    let is_there = replace_argument(&mut item, modifiers.from_credential, modifiers.unbase64, context, say)?;
    if !is_there {
        return Ok(Line::Skipped);
    }
    owners_and_mode(&mut item, [mode, user, group], context, say)?;
    if let Some(age) = set(age) {
        let age = show(age);
        item.age = match Age::parse(&age) {
            Ok(age) => age,
            Err(AgeError::By(by)) => return invalid(format!("Invalid age-by '{by}'.")),
            Err(AgeError::Time(time)) => return invalid(format!("Invalid age '{time}'.")),
        };
    }
    Ok(Line::Item(Box::new(item)))
}

/// A specifier without a value at present is not a mistake: the line is for later.
fn unresolvable(letter: char, say: Say<'_>) -> Result<Line, Refusal> {
    say(
        Level::Debug,
        format!("Failed to resolve specifier %{letter}: uninitialized /etc/ detected, skipping."),
    );
    Ok(Line::Skipped)
}

fn specifier_error<T>(error: ExpandError, message: impl FnOnce(&str) -> String) -> Result<T, Refusal> {
    match error {
        ExpandError::TooLong(_) => failed(message("File name too long")),
        ExpandError::Unknown(_) | ExpandError::Unavailable(_) => invalid(message("Invalid slot")),
    }
}

/// /var/run is /run, and two lines for one path under two names would not be seen to conflict.
fn below_run(path: Vec<u8>, say: Say<'_>) -> Vec<u8> {
    let Some(below) = path.strip_prefix(b"/var/run/") else { return path };
    let new = path::join(b"/run", below);
    say(
        Level::Notice,
        format!(
            "Line references path below legacy directory /var/run/, updating {} → {}; please update the tmpfiles.d/ drop-in file accordingly.",
            show(&path),
            show(&new)
        ),
    );
    new
}

#[cfg(test)]
pub(super) mod tests;
