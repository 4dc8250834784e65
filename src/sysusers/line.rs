//! One line of sysusers.d → its request, or the error message of systemd-sysusers (sysusers.d(5)).

use std::prelude::v1::*;

use super::{
    item::{Group, Item, User},
    message::Reason,
    names::{is_gecos, is_name, is_path, parse_id, simplify},
    range::IdRanges,
};
use crate::fragments::{Facts, words};

/// Lengths that a field may have after its specifiers were replaced (`NAME_MAX`, `PATH_MAX` - 1, `LONG_LINE_MAX`).
const MAX_NAME: usize = 255;
const MAX_PATH: usize = 4095;
const MAX_GECOS: usize = 1 << 20;

/// Parses a line that is neither empty nor a comment.
///
/// # Errors
/// systemd's sentence.
pub(super) fn parse(text: &[u8], facts: &Facts) -> Result<Item, String> {
    let text = core::str::from_utf8(text).map_err(|_| "String is not UTF-8 clean.".to_owned())?;
    let (columns, rest) = words::split(text, 6).map_err(|_| "Syntax error.".to_owned())?;
    let mut columns = columns.into_iter();
    let (Some(action), Some(name)) = (columns.next(), columns.next()) else {
        return Err("Missing action and name columns.".to_owned());
    };
    if !rest.is_empty() {
        return Err("Trailing garbage.".to_owned());
    }
    let (kind, locked) = kind(&action)?;
    let fields = Fields::read(name, columns, facts)?;
    match kind {
        'r' => fields.range(locked),
        'm' => fields.member(locked),
        'u' => fields.user(locked),
        _ => fields.group(locked),
    }
}

/// The type, and whether it has a `!`.
fn kind(action: &str) -> Result<(char, bool), String> {
    let mut letters = action.chars();
    let kind = letters.next().ok_or_else(|| "Empty command specification.".to_owned())?;
    let locked = match letters.as_str() {
        "" => false,
        "!" => true,
        _ => return Err(format!("Unknown modifiers in command '{action}'.")),
    };
    match kind {
        'u' | 'g' | 'm' | 'r' => Ok((kind, locked)),
        _ => Err(format!("Unknown command type '{kind}'.")),
    }
}

/// The columns behind the type, expanded and checked; None for an empty column or `-`.
struct Fields {
    name: Option<String>,
    /// As it was written, for messages.
    raw_id: String,
    id: Option<String>,
    description: Option<String>,
    home: Option<String>,
    shell: Option<String>,
}

impl Fields {
    fn read(name: String, mut columns: impl Iterator<Item = String>, facts: &Facts) -> Result<Self, String> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty() && text != "-");
        // systemd names the name also where it is the id that does not expand.
        let expand = |text: &str, limit, named: &str| {
            facts.expand(text, limit).map_err(|error| {
                format!("Failed to replace specifiers in '{named}': {}", Reason::from(error))
            })
        };
        let name = given(Some(name));
        let shown = name.clone().unwrap_or_else(|| "(null)".to_owned());
        let name = match name {
            None => None,
            Some(name) => {
                let name = expand(&name, MAX_NAME, &name)?;
                if !is_name(&name) {
                    return Err(not_a_name(&name));
                }
                Some(name)
            }
        };
        let raw_id = given(columns.next()).unwrap_or_default();
        let id = match raw_id.as_str() {
            "" => None,
            id => Some(expand(id, MAX_PATH, &shown)?),
        };
        let description = match given(columns.next()) {
            None => None,
            Some(text) => {
                let text = expand(&text, MAX_GECOS, &text)?;
                if !is_gecos(&text) {
                    return Err(format!("'{text}' is not a valid GECOS field."));
                }
                Some(text)
            }
        };
        let mut path = |what: &str| -> Result<Option<String>, String> {
            let Some(text) = given(columns.next()) else { return Ok(None) };
            let path = simplify(&expand(&text, MAX_PATH, &text)?);
            match is_path(&path) {
                true => Ok(Some(path)),
                false => Err(format!("'{path}' is not a valid {what} field.")),
            }
        };
        Ok(Self { name, raw_id, id, description, home: path("home directory")?, shell: path("login shell")? })
    }

    /// Lines of this type have only name and id, and no `!`.
    fn bare(&self, kind: char) -> Result<(), String> {
        let what = match (&self.description, &self.home, &self.shell) {
            (None, None, None) => return Ok(()),
            (Some(_), ..) => "GECOS",
            (_, Some(_), _) => "home directory",
            _ => "login shell",
        };
        Err(format!("Lines of type '{kind}' don't take a {what} field."))
    }

    fn range(self, locked: bool) -> Result<Item, String> {
        unlocked('r', locked)?;
        if self.name.is_some() {
            return Err("Lines of type 'r' don't take a name field.".to_owned());
        }
        let Some(id) = &self.id else {
            return Err("Lines of type 'r' require an ID range in the third field.".to_owned());
        };
        self.bare('r')?;
        let mut ranges = IdRanges::default();
        match ranges.add(id) {
            true => Ok(Item::Range(ranges)),
            false => Err(format!("Invalid UID range {id}.")),
        }
    }

    fn member(self, locked: bool) -> Result<Item, String> {
        let Some(user) = self.name.clone() else { return Err(needs_a_name('m')) };
        unlocked('m', locked)?;
        let Some(group) = self.id.clone() else {
            return Err("Lines of type 'm' require a group name in the third field.".to_owned());
        };
        if !is_name(&group) {
            return Err(not_a_name(&group));
        }
        self.bare('m')?;
        Ok(Item::Member(user, group))
    }

    fn group(self, locked: bool) -> Result<Item, String> {
        let Some(name) = self.name.clone() else { return Err(needs_a_name('g')) };
        unlocked('g', locked)?;
        self.bare('g')?;
        let mut group = Group { name, ..Group::default() };
        match &self.id {
            None => {}
            Some(path) if path.starts_with('/') => group.owner_of = Some(simplify(path)),
            Some(id) => group.gid = Some(parse_id(id).map_err(|reason| self.no_id("GID", reason))?),
        }
        Ok(Item::Group(group))
    }

    /// The third field of a `u` line: `-`, `UID`, `UID:GID`, `UID:GROUP`, `-:GID`, `-:GROUP`, `/path`.
    fn user(self, locked: bool) -> Result<Item, String> {
        let Some(name) = self.name.clone() else { return Err(needs_a_name('u')) };
        let mut user = User { name, locked, ..User::default() };
        match &self.id {
            None => {}
            Some(path) if path.starts_with('/') => user.owner_of = Some(simplify(path)),
            Some(id) => {
                let (uid, group) = match id.split_once(':') {
                    None => (id.as_str(), None),
                    Some((uid, group)) => (uid, Some(group)),
                };
                match group.map(|group| (group, parse_id(group))) {
                    None => {}
                    Some((_, Ok(gid))) => user.gid = Some(gid),
                    Some((group, Err(_))) if is_name(group) => user.group = Some(group.to_owned()),
                    Some((_, Err(reason))) => return Err(self.no_id("GID", reason)),
                }
                if uid != "-" {
                    user.uid = Some(parse_id(uid).map_err(|reason| self.no_id("UID", reason))?);
                }
            }
        }
        Ok(Item::User(User { description: self.description, home: self.home, shell: self.shell, ..user }))
    }

    fn no_id(&self, kind: &str, reason: Reason) -> String {
        format!("Failed to parse {kind}: '{}': {reason}", self.raw_id)
    }
}

fn unlocked(kind: char, locked: bool) -> Result<(), String> {
    match locked {
        false => Ok(()),
        true => Err(format!("Flag '!' not permitted on lines of type '{kind}'.")),
    }
}

fn needs_a_name(kind: char) -> String {
    format!("Lines of type '{kind}' require a user name in the second field.")
}

fn not_a_name(name: &str) -> String {
    format!("'{name}' is not a valid user or group name.")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The messages of systemd-sysusers 257 about these lines, recorded.
    #[test]
    fn what_is_wrong_is_said_in_the_tools_words() {
        for (line, said) in [
            ("u 'a", "Syntax error."),
            ("u", "Missing action and name columns."),
            ("u a 1 - - - x", "Trailing garbage."),
            ("'' a", "Empty command specification."),
            ("u!! a", "Unknown modifiers in command 'u!!'."),
            ("x a", "Unknown command type 'x'."),
            ("u a.b", "'a.b' is not a valid user or group name."),
            ("u %Z", "Failed to replace specifiers in '%Z': Invalid slot"),
            ("u a 9999999999", "Failed to parse UID: '9999999999': Numerical result out of range"),
            ("u a 65535", "Failed to parse UID: '65535': No such device or address"),
            ("u a x", "Failed to parse UID: 'x': Invalid argument"),
            ("u a 5:6:7", "Failed to parse GID: '5:6:7': Invalid argument"),
            ("u a - a:b", "'a:b' is not a valid GECOS field."),
            ("u a - - h", "'h' is not a valid home directory field."),
            ("u a - - - s", "'s' is not a valid login shell field."),
            ("u -", "Lines of type 'u' require a user name in the second field."),
            ("g! a", "Flag '!' not permitted on lines of type 'g'."),
            ("g a 5 x", "Lines of type 'g' don't take a GECOS field."),
            ("m a", "Lines of type 'm' require a group name in the third field."),
            ("r a 5", "Lines of type 'r' don't take a name field."),
            ("r - 9-5", "Invalid UID range 9-5."),
        ] {
            assert_eq!(parse(line.as_bytes(), &Facts::default()), Err(said.to_owned()), "{line}");
        }
    }
}
