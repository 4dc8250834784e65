//! Lines of sysusers.d → [`Definitions`]: what is asked for, checked line by line (sysusers.d(5)).

use std::prelude::v1::*;

use super::{
    names::{is_gecos, is_name, is_path, parse_id, simplify},
    range::IdRanges,
};
use crate::fragments::{Facts, LineError, lines, words};

/// Lengths that a field may have after its specifiers were replaced (`NAME_MAX`, `PATH_MAX` - 1, `LONG_LINE_MAX`).
const MAX_NAME: usize = 255;
const MAX_PATH: usize = 4095;
const MAX_GECOS: usize = 1 << 20;

/// A user that is to exist.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct User {
    /// Its name.
    pub name: String,
    /// The id it would like.
    pub uid: Option<u32>,
    /// The group id it insists on; a group of that id must exist or be made by another line.
    pub gid: Option<u32>,
    /// The group it insists on, by name.
    pub group: Option<String>,
    /// The file whose owner it would like to be.
    pub owner_of: Option<String>,
    /// The GECOS field.
    pub description: Option<String>,
    /// The home directory.
    pub home: Option<String>,
    /// The login shell.
    pub shell: Option<String>,
    /// `u!`: the account is expired, so that no way of logging in works.
    pub locked: bool,
}

/// A group that is to exist.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// The id it would like.
    pub gid: Option<u32>,
    /// The file whose group it would like to be.
    pub owner_of: Option<String>,
}

/// Where an item was first defined.
type Origin = (String, usize);

/// What all files together ask for, in the order in which it was asked.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Definitions {
    /// Users of `u` lines.
    pub users: Vec<User>,
    /// Groups of `g` lines.
    pub groups: Vec<Group>,
    /// Groups and who is to be their member, of `m` lines; neither repeats.
    pub members: Vec<(String, Vec<String>)>,
    /// The pool of `r` lines; empty when there was none.
    pub ranges: IdRanges,
    /// Lines that were passed over because they ask for nothing that can be given.
    pub errors: Vec<LineError>,
    /// Lines that were passed over because an earlier one asked for something else under the same name.
    pub conflicts: Vec<LineError>,
    user_origins: Vec<Origin>,
    group_origins: Vec<Origin>,
}

impl Definitions {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads one more file. A line that is wrong is put on [`Definitions::errors`] and the others count, as with
    /// systemd-sysusers.
    pub fn parse(&mut self, file: &str, content: &[u8], facts: &Facts) {
        for (number, line) in lines(content).enumerate() {
            let result = match core::str::from_utf8(line).map(str::trim_ascii) {
                Err(_) => Err("not UTF-8".to_owned()),
                Ok(line) if line.is_empty() || line.starts_with('#') => Ok(()),
                Ok(line) => self.line((file, number + 1), line, facts),
            };
            if let Err(message) = result {
                self.errors.push(LineError { file: file.to_owned(), line: number + 1, message });
            }
        }
    }

    /// Every path whose owner is to be looked up before ids can be allocated.
    pub fn owner_paths(&self) -> impl Iterator<Item = &str> {
        let users = self.users.iter().filter_map(|user| user.owner_of.as_deref());
        users.chain(self.groups.iter().filter_map(|group| group.owner_of.as_deref()))
    }

    fn line(&mut self, origin: (&str, usize), line: &str, facts: &Facts) -> Result<(), String> {
        let (words, rest) =
            words::split(line, 6).map_err(|_| "unbalanced quotes or trailing backslash".to_owned())?;
        if !rest.is_empty() {
            return Err(format!("trailing garbage '{rest}'"));
        }
        let mut words = words.into_iter();
        let (Some(action), Some(name)) = (words.next(), words.next()) else {
            return Err("type or name is missing".to_owned());
        };
        let (kind, locked) = match action.strip_suffix('!') {
            Some(kind) => (kind, true),
            None => (action.as_str(), false),
        };
        if !matches!(kind, "u" | "g" | "m" | "r") {
            return Err(format!("unknown type '{action}'"));
        }
        let mut field =
            |what: &str, limit, path: bool, valid: fn(&str) -> bool| -> Result<Option<String>, String> {
                let Some(text) = words.next().filter(|text| !text.is_empty() && text != "-") else {
                    return Ok(None);
                };
                let text = facts.expand(&text, limit).map_err(|error| format!("{what} '{text}': {error}"))?;
                let text = if path { simplify(&text) } else { text };
                valid(&text).then_some(Some(())).ok_or_else(|| format!("'{text}' is no valid {what}"))?;
                Ok(Some(text))
            };
        let name = match name.as_str() {
            "" | "-" => None,
            name => {
                let name = facts.expand(name, MAX_NAME).map_err(|error| format!("name '{name}': {error}"))?;
                is_name(&name)
                    .then_some(())
                    .ok_or_else(|| format!("'{name}' is no valid user or group name"))?;
                Some(name)
            }
        };
        let id = field("id", MAX_PATH, false, |_| true)?;
        let description = field("GECOS field", MAX_GECOS, false, is_gecos)?;
        let home = field("home directory", MAX_PATH, true, is_path)?;
        let shell = field("login shell", MAX_PATH, true, is_path)?;
        if kind != "u" {
            if locked {
                return Err(format!("'!' is not for lines of type '{kind}'"));
            }
            if description.is_some() || home.is_some() || shell.is_some() {
                return Err(format!("lines of type '{kind}' take no GECOS field, home directory or shell"));
            }
        }
        match (kind, name, id) {
            ("r", None, Some(range)) => match self.ranges.add(&range) {
                true => Ok(()),
                false => Err(format!("'{range}' is no range of ids")),
            },
            ("r", Some(_), _) => Err("lines of type 'r' take no name: write '-'".to_owned()),
            ("r", None, None) => Err("lines of type 'r' need a range as their third field".to_owned()),
            (_, None, _) => Err(format!("lines of type '{kind}' need a name")),
            ("m", Some(user), Some(group)) if is_name(&group) => {
                self.member(group, user);
                Ok(())
            }
            ("m", _, Some(group)) => Err(format!("'{group}' is no valid group name")),
            ("m", _, None) => Err("lines of type 'm' need a group as their third field".to_owned()),
            ("g", Some(name), id) => {
                self.group(origin, group(name, id)?);
                Ok(())
            }
            (_, Some(name), id) => {
                let user = User { name, description, home, shell, locked, ..user_id(id)? };
                self.user(origin, user);
                Ok(())
            }
        }
    }

    fn member(&mut self, group: String, user: String) {
        match self.members.iter_mut().find(|(name, _)| *name == group) {
            None => self.members.push((group, vec![user])),
            Some((_, users)) if users.contains(&user) => {}
            Some((_, users)) => users.push(user),
        }
    }

    fn group(&mut self, origin: (&str, usize), group: Group) {
        let existing =
            self.groups.iter().zip(&self.group_origins).find(|(existing, _)| existing.name == group.name);
        match existing {
            Some((existing, first)) if *existing != group => {
                self.conflicts.push(conflict(origin, "group", &group.name, first));
            }
            Some(_) => {}
            None => {
                self.groups.push(group);
                self.group_origins.push((origin.0.to_owned(), origin.1));
            }
        }
    }

    fn user(&mut self, origin: (&str, usize), user: User) {
        let existing =
            self.users.iter().zip(&self.user_origins).find(|(existing, _)| existing.name == user.name);
        match existing {
            Some((existing, first)) if !equivalent(existing, &user) => {
                self.conflicts.push(conflict(origin, "user", &user.name, first));
            }
            Some(_) => {}
            None => {
                self.users.push(user);
                self.user_origins.push((origin.0.to_owned(), origin.1));
            }
        }
    }
}

fn conflict(origin: (&str, usize), kind: &str, name: &str, first: &Origin) -> LineError {
    LineError {
        file: origin.0.to_owned(),
        line: origin.1,
        message: format!("line ignored: {kind} '{name}' is defined otherwise in {}:{}", first.0, first.1),
    }
}

/// The third field of a `g` line.
fn group(name: String, id: Option<String>) -> Result<Group, String> {
    match id {
        None => Ok(Group { name, gid: None, owner_of: None }),
        Some(path) if path.starts_with('/') => Ok(Group { name, gid: None, owner_of: Some(simplify(&path)) }),
        Some(id) => match parse_id(&id) {
            Some(gid) => Ok(Group { name, gid: Some(gid), owner_of: None }),
            None => Err(format!("'{id}' is no group id")),
        },
    }
}

/// The third field of a `u` line, as a user that has nothing else: `-`, `UID`, `UID:GID`, `UID:GROUP`, `-:GID`, `-:GROUP`, `/path`.
fn user_id(id: Option<String>) -> Result<User, String> {
    let Some(id) = id else { return Ok(User::default()) };
    if id.starts_with('/') {
        return Ok(User { owner_of: Some(simplify(&id)), ..User::default() });
    }
    let mut user = User::default();
    let uid = match id.split_once(':') {
        None => id.as_str(),
        Some((uid, group)) => {
            user.gid = parse_id(group);
            if user.gid.is_none() {
                is_name(group)
                    .then_some(())
                    .ok_or_else(|| format!("'{group}' is neither a group id nor a group name"))?;
                user.group = Some(group.to_owned());
            }
            uid
        }
    };
    if uid != "-" {
        user.uid = Some(parse_id(uid).ok_or_else(|| format!("'{uid}' is no user id"))?);
    }
    Ok(user)
}

/// Whether two lines for one user ask for the same. As systemd compares them: neither `!` nor the group's name counts, and all shells
/// that let nobody in are one.
fn equivalent(one: &User, other: &User) -> bool {
    (&one.owner_of, &one.description, one.uid, one.gid, &one.home)
        == (&other.owner_of, &other.description, other.uid, other.gid, &other.home)
        && shell_of(one) == shell_of(other)
}

/// The shell as far as it matters for [`equivalent`], with /usr merged.
fn shell_of(user: &User) -> &str {
    let shell = match (&user.shell, user.uid) {
        (Some(shell), _) => shell.as_str(),
        (None, Some(0)) => "/bin/bash",
        (None, _) => "/sbin/nologin",
    };
    match shell.strip_prefix("/usr").unwrap_or(shell) {
        "/bin/nologin" | "/sbin/nologin" | "/bin/false" | "/bin/true" => "/sbin/nologin",
        merged => merged,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_becomes_what_it_asks_for() {
        let mut definitions = Definitions::new();
        let text = "u! a 5:g \"G e\" //h/ /bin/sh\ng b /f/\nm a g\nm c g\nm a g\nr - 5-7\n";
        definitions.parse("f", text.as_bytes(), &Facts::default());
        let user = User {
            name: "a".to_owned(),
            uid: Some(5),
            group: Some("g".to_owned()),
            description: Some("G e".to_owned()),
            home: Some("/h".to_owned()),
            shell: Some("/bin/sh".to_owned()),
            locked: true,
            ..User::default()
        };
        assert_eq!(definitions.users, [user]);
        assert_eq!(
            definitions.groups,
            [Group { name: "b".to_owned(), gid: None, owner_of: Some("/f".to_owned()) }]
        );
        assert_eq!(definitions.members, [("g".to_owned(), vec!["a".to_owned(), "c".to_owned()])]);
        assert!(definitions.ranges.contains(6) && !definitions.ranges.contains(8));
        assert_eq!((definitions.errors.len(), definitions.conflicts.len()), (0, 0));
    }

    #[test]
    fn a_wrong_line_is_named_and_the_others_count() {
        let mut definitions = Definitions::new();
        definitions.parse("f", b"u a x\n\xff\ng b\n", &Facts::default());
        let errors: Vec<String> = definitions.errors.iter().map(LineError::to_string).collect();
        assert_eq!(errors, ["f:1: 'x' is no user id", "f:2: not UTF-8"]);
        assert_eq!(definitions.groups.len(), 1);
    }

    proptest! {
        #[test]
        fn any_content_parses(content: Vec<u8>, line in "[ugmr]!? [a-c] [-0-9a-c:/%\"' ]{0,20}") {
            let mut definitions = Definitions::new();
            definitions.parse("f", &content, &Facts::default());
            definitions.parse("g", line.as_bytes(), &Facts::default());
        }
    }
}
