//! Mode, user and group, and numbers and names of other columns.

use std::prelude::v1::*;

use super::{
    super::{
        item::{AccessMode, Item, Owner},
        path::show,
    },
    Refusal, Say, invalid,
    selection::Context,
    set,
};
use crate::{level::Level, sysusers::names::parse_id};

/// The columns mode, user and group.
pub(super) fn owners_and_mode(
    item: &mut Item,
    [mode, user, group]: [&[u8]; 3],
    context: &Context<'_>,
    say: Say<'_>,
) -> Result<(), Refusal> {
    let graceful = context.selection.graceful;
    let mut is_missing = false;
    let mut owner = |field: &[u8], what: &str, by_name: &dyn Fn(&[u8]) -> Option<u32>| {
        let Some(field) = set(field) else { return Ok(None) };
        let (name, only_new) = match field.strip_prefix(b":") {
            Some(name) => (name, true),
            None => (field, false),
        };
        match parse_id(&show(name)).ok().or_else(|| by_name(name)) {
            Some(id) => Ok(Some(Owner { id, only_new })),
            None if graceful => {
                is_missing = true;
                let path = show(&item.path);
                say(
                    Level::Debug,
                    format!("{path}: {what} '{}' not found, not adjusting ownership.", show(name)),
                );
                Ok(None)
            }
            None => invalid(format!("Failed to resolve {what} '{}': No such process", show(name))),
        }
    };
    item.user = owner(user, "user", &|name| context.surroundings.user(name))?;
    item.group = owner(group, "group", &|name| context.surroundings.group(name))?;
    if let Some(mode) = set(mode) {
        let prefix = mode.iter().take_while(|byte| b"~:".contains(byte)).count();
        let (prefix, digits) = mode.split_at_checked(prefix).unwrap_or((b"", mode));
        let Some(bits) = octal_mode(digits) else {
            return invalid(format!("Invalid mode '{}'.", show(mode)));
        };
        item.creation_mode = bits;
        item.mode =
            Some(AccessMode { bits, only_new: prefix.contains(&b':'), masked: prefix.contains(&b'~') });
    }
    if is_missing && item.creation_mode & !0o777 != 0 {
        let (old, new) = (item.creation_mode, item.creation_mode & 0o777);
        say(Level::Info, format!("Changing mode 0{old:o} to 0{new:o} because of changed ownership."));
        item.creation_mode = new;
        if let Some(mode) = &mut item.mode {
            mode.bits = new;
        }
    }
    Ok(())
}

/// An octal mode of up to 07777, as strtoul(3) reads it but without a sign.
pub(super) fn octal_mode(digits: &[u8]) -> Option<u32> {
    let digits = core::str::from_utf8(digits).ok()?.trim_ascii_start();
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    u32::from_str_radix(digits, 8).ok().filter(|&mode| plain && mode <= 0o7777)
}

/// `MAJOR:MINOR`, each as strtoul(3) reads it with base 0, within the kernel's 12 and 20 bits.
pub(super) fn device_number(text: &[u8]) -> Option<(u32, u32)> {
    let (major, minor) = core::str::from_utf8(text).ok()?.split_once(':')?;
    if !major.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = |text: &str| {
        let text = text.trim_ascii_start();
        let text = text.strip_prefix('+').unwrap_or(text);
        let (digits, base) = match text.as_bytes() {
            [b'0', b'x' | b'X', ..] => (text.get(2..)?, 16),
            [b'0', b'o', ..] => (text.get(2..)?, 8),
            [b'0', b'b', ..] => (text.get(2..)?, 2),
            [b'0', _, ..] => (text, 8),
            _ => (text, 10),
        };
        let plain = digits.bytes().all(|byte| byte.is_ascii_alphanumeric());
        plain.then(|| u32::from_str_radix(digits, base).ok())?
    };
    let (major, minor) = (number(major)?, number(minor)?);
    (major < 1 << 12 && minor < 1 << 20).then_some((major, minor))
}

/// Returns true when a credential can have this name: that of a file, and that of a descriptor that is passed on
/// (systemd's `credential_name_valid`).
pub(super) fn is_credential_name(name: &str) -> bool {
    let plain = name.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'/' && byte != b':');
    plain && !name.is_empty() && name != "." && name != ".." && name.len() <= 255
}
