//! The argument of a line: its form, escapes and specifiers, its source.

use std::prelude::v1::*;

use base64ct::{Base64, Encoding as _};

use super::{
    super::{
        acl::Acls,
        attribute::{Attributes, AttributesError},
        item::Item,
        kind::Kind,
        path::{self, show},
        specifier::Specifiers,
    },
    Refusal, Say, columns, failed, invalid,
    selection::Context,
};
use crate::{
    fragments::{
        escape,
        facts::ExpandError,
        words::{Backslash, split_bytes},
    },
    level::Level,
};

/// Checks the argument of types that give it a form.
pub(super) fn special_argument(
    item: &mut Item,
    unbase64: bool,
    context: &Context<'_>,
    say: Say<'_>,
) -> Result<(), Refusal> {
    let base64_for = match item.kind {
        Kind::Symlink => "symlink targets",
        Kind::Copy => "copy sources",
        Kind::CharacterDevice | Kind::BlockDevice => "device node creation",
        Kind::Xattr | Kind::Xattrs => "extended attributes",
        Kind::Acl | Kind::Acls => "ACLs",
        Kind::Attribute | Kind::Attributes => "file attributes",
        _ => "",
    };
    if unbase64 && !base64_for.is_empty() {
        return invalid(format!("base64 decoding not supported for {base64_for}."));
    }
    if item.kind.ignores_argument() {
        if item.argument.is_some() {
            let letter = char::from(item.kind.letter());
            say(Level::Warning, format!("{letter} lines don't take argument fields, ignoring."));
        }
        return Ok(());
    }
    let required = match item.kind {
        Kind::Write => "Write file",
        Kind::CharacterDevice | Kind::BlockDevice => "Device file",
        Kind::Xattr | Kind::Xattrs => "Set extended attribute",
        Kind::Acl | Kind::Acls => "Set ACLs",
        Kind::Attribute | Kind::Attributes => "Set file attribute",
        _ => return Ok(()),
    };
    let Some(argument) = item.argument.as_deref() else {
        return invalid(format!("{required} requires argument."));
    };
    match item.kind {
        Kind::CharacterDevice | Kind::BlockDevice => match columns::device_number(argument) {
            Some(device) => item.device = device,
            None => return invalid(format!("Can't parse device file major/minor '{}'.", show(argument))),
        },
        Kind::Xattr | Kind::Xattrs => item.xattrs = xattrs(argument, say),
        Kind::Acl | Kind::Acls => match Acls::parse(argument, context.surroundings, item.append_or_force) {
            Some(acls) => item.acls = acls,
            None => {
                let level = if context.selection.graceful { Level::Debug } else { Level::Warning };
                say(level, format!("Failed to parse ACL \"{}\", ignoring: Invalid argument", show(argument)));
            }
        },
        Kind::Attribute | Kind::Attributes => match Attributes::parse(argument) {
            Ok(attributes) => item.attributes = Some(attributes),
            Err(AttributesError::Missing) => {
                let path = show(&item.path);
                return invalid(format!(
                    "Setting file attribute on '{path}' needs an attribute specification."
                ));
            }
            Err(AttributesError::Unknown(letter)) => {
                return invalid(format!("Unknown file attribute '{letter}' on '{}'.", show(&item.path)));
            }
        },
        _ => {}
    }
    Ok(())
}

/// Extended attributes: words `NAME=VALUE`. An invalid word is logged and passed over; nothing is read behind a broken
/// quote.
pub(super) fn xattrs(argument: &[u8], say: Say<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut attributes = Vec::new();
    let mut rest = argument;
    while !rest.is_empty() {
        let Ok((words, behind)) = split_bytes(rest, 1, Backslash::Escapes) else {
            let text = show(rest);
            say(
                Level::Warning,
                format!("Failed to parse extended attribute '{text}', ignoring: Invalid argument"),
            );
            break;
        };
        rest = behind;
        for word in words {
            let Some(equals) = word.iter().position(|&byte| byte == b'=') else {
                say(Level::Warning, format!("Failed to parse extended attribute, ignoring: {}", show(&word)));
                continue;
            };
            match word.split_at_checked(equals) {
                Some((name, [_, value @ ..])) if !name.is_empty() && !value.is_empty() => {
                    attributes.push((name.to_vec(), value.to_vec()));
                }
                _ => say(
                    Level::Warning,
                    format!("Malformed extended attribute found, ignoring: {}", show(&word)),
                ),
            }
        }
    }
    attributes
}

/// Replaces escapes and specifiers in the argument. Returns the argument if its escapes are wrong.
pub(super) fn expand_argument(
    item: &mut Item,
    specifiers: &Specifiers,
) -> Result<Option<Vec<u8>>, ExpandError> {
    match item.kind {
        Kind::Copy | Kind::Symlink | Kind::File | Kind::TruncatedFile | Kind::Write => {
            let Some(argument) = item.argument.take() else { return Ok(None) };
            let Some(plain) = escape::all(&argument) else { return Ok(Some(argument)) };
            item.argument = Some(specifiers.expand(&plain)?);
        }
        Kind::Xattr | Kind::Xattrs => {
            for (name, value) in &mut item.xattrs {
                *name = specifiers.expand_xattr(name)?;
                *value = specifiers.expand_xattr(value)?;
            }
        }
        _ => {}
    }
    Ok(None)
}

/// Links and copies without an argument take the factory's file of the same path. Returns true when the line counts: a
/// copy of a missing source does not.
pub(super) fn default_argument(
    item: &mut Item,
    context: &Context<'_>,
    say: Say<'_>,
) -> Result<bool, Refusal> {
    if item.kind != Kind::Symlink && item.kind != Kind::Copy {
        return Ok(true);
    }
    let is_default = item.argument.is_none();
    let argument = item.argument.get_or_insert_with(|| path::join(b"/usr/share/factory", &item.path));
    if item.kind == Kind::Symlink {
        return Ok(true);
    }
    if !is_default && argument.first() != Some(&b'/') {
        return invalid(format!("Source path '{}' is not absolute.", show(argument)));
    }
    *argument = path::simplify(argument);
    let exists = context.surroundings.exists(argument);
    if !exists {
        say(Level::Debug, format!("Copy source path '{}' does not exist, skipping line.", show(argument)));
    }
    Ok(exists)
}

/// Takes the content of the credential that the argument names, and decodes base64, if asked. Returns true when the
/// line counts: without the credential it does not.
pub(super) fn replace_argument(
    item: &mut Item,
    from_credential: bool,
    unbase64: bool,
    context: &Context<'_>,
    say: Say<'_>,
) -> Result<bool, Refusal> {
    // Messages name the credential, never its content.
    let name = item.argument.as_deref().map(show);
    if from_credential {
        let Some(name) = &name else {
            return failed("Reading from credential requested, but no credential name specified.".to_owned());
        };
        if !columns::is_credential_name(name) {
            return failed(format!("Credential name not valid: {name}"));
        }
        item.argument = context.surroundings.credential(name);
        if item.argument.is_none() {
            say(Level::Debug, format!("Credential '{name}' not specified, skipping line."));
            return Ok(false);
        }
    }
    if unbase64 && let Some(argument) = item.argument.take() {
        let name = name.unwrap_or_default();
        match decode(&argument) {
            Ok(plain) => item.argument = Some(plain),
            Err(reason) => {
                return failed(format!("Failed to base64 decode specified argument '{name}': {reason}"));
            }
        }
    }
    Ok(true)
}

/// Decodes base64 of either alphabet (RFC 4648 sections 4 and 5), with white space in it. The error is worded as by
/// systemd.
fn decode(argument: &[u8]) -> Result<Vec<u8>, &'static str> {
    let plain = argument.iter().filter(|byte| !byte.is_ascii_whitespace());
    let text: String = plain
        .map(|byte| match byte {
            b'-' => '+',
            b'_' => '/',
            byte => char::from(*byte),
        })
        .collect();
    let is_digit = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
    match Base64::decode_vec(&text) {
        Ok(plain) => Ok(plain),
        Err(_) if text.chars().all(is_digit) && !text.len().is_multiple_of(4) => Err("Broken pipe"),
        Err(_) => Err("Invalid argument"),
    }
}
