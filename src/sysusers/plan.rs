//! The new content of the four databases, as a value.

use std::{collections::BTreeMap, prelude::v1::*};

use super::{
    allocate::{Allocation, NewUser, Owner, allocate},
    database::{DatabaseError, Databases, Kind, Line, members, with_field},
    definition::Definitions,
};
use crate::secret::Secret;

/// The shell of whoever is not to log in, where Debian, Fedora and systemd's default have it.
const NOLOGIN: &str = "/usr/sbin/nologin";
/// The password field that points to shadow (passwd(5)).
const SEE_SHADOW: &str = "x";
/// The password that nothing hashes to.
const LOCKED: &[u8] = b"!*";
/// The root password that systemd-firstboot may still set.
const UNPROVISIONED: &[u8] = b"!unprovisioned";

/// Where passwords and shells may come from: the names and contents of system credentials (systemd.system-credentials(7)).
pub trait Credentials {
    /// The credential of this name.
    fn get(&self, name: &str) -> Option<&[u8]>;
}

impl Credentials for BTreeMap<String, Secret> {
    fn get(&self, name: &str) -> Option<&[u8]> {
        BTreeMap::get(self, name).map(Secret::expose)
    }
}

impl Credentials for BTreeMap<String, Vec<u8>> {
    fn get(&self, name: &str) -> Option<&[u8]> {
        BTreeMap::get(self, name).map(Vec::as_slice)
    }
}

/// No credentials at all.
impl Credentials for () {
    fn get(&self, _: &str) -> Option<&[u8]> {
        None
    }
}

/// What the new lines take from the machine.
pub struct Surroundings<'a> {
    /// Owners of the definitions' paths, as far as these exist.
    pub owners: BTreeMap<String, Owner>,
    /// Whether the root has /bin/bash, which is then root's shell; /bin/sh otherwise.
    pub has_bash: bool,
    /// Days since 1970, for shadow's date of the last password change.
    pub today: u32,
    /// `passwd.hashed-password.NAME`, `passwd.shell.NAME`.
    pub credentials: &'a dyn Credentials,
}

/// The whole new content of each database that changes, and what it is made of.
#[derive(Default)]
pub struct Plan {
    /// /etc/group
    pub group: Option<Vec<u8>>,
    /// /etc/gshadow
    pub gshadow: Option<Vec<u8>>,
    /// /etc/passwd
    pub passwd: Option<Vec<u8>>,
    /// /etc/shadow
    pub shadow: Option<Vec<u8>>,
    /// Who is added, and what could not be.
    pub allocation: Allocation,
}

/// Plans what is added to the databases so that all is there that `definitions` ask for. Existing entries stay as
/// they are and where they are, but for members that are added; NIS entries and what is behind them stay last.
///
/// # Errors
/// A database with a line that is no entry, or with a gshadow entry for a group that group lacks.
pub fn plan(
    definitions: &Definitions,
    databases: &Databases,
    surroundings: &Surroundings<'_>,
) -> Result<Plan, DatabaseError> {
    let mut allocation = allocate(definitions, databases, &surroundings.owners)?;
    let mut problems = Vec::new();
    let mut plan = Plan::default();
    if !allocation.groups.is_empty() || !definitions.members.is_empty() {
        plan.group = groups(Kind::Group, definitions, databases.group.as_deref(), &allocation)?;
        plan.gshadow = groups(Kind::Gshadow, definitions, databases.gshadow.as_deref(), &allocation)?;
    }
    if !allocation.users.is_empty() {
        plan.passwd = Some(passwd(databases.passwd.as_deref(), &allocation, surroundings, &mut problems)?);
        plan.shadow = Some(shadow(databases.shadow.as_deref(), &allocation, surroundings, &mut problems)?);
    }
    allocation.problems.append(&mut problems);
    plan.allocation = allocation;
    Ok(plan)
}

/// Lines before which new ones go, and the rest, which begins with the first NIS entry.
fn apart<'l, 'a>(lines: &'l [Line<'a>], kind: Kind) -> (&'l [Line<'a>], &'l [Line<'a>]) {
    let nis = |line: &Line<'_>| kind != Kind::Gshadow && line.entry.is_some_and(|entry| entry.is_nis());
    lines.split_at(lines.iter().position(nis).unwrap_or(lines.len()))
}

/// Adds a line, with its end.
fn push(content: &mut Vec<u8>, line: &[u8]) {
    content.extend_from_slice(line);
    content.push(b'\n');
}

/// The new group or gshadow; None when it would be as it is.
fn groups(
    kind: Kind,
    definitions: &Definitions,
    existing: Option<&[u8]>,
    allocation: &Allocation,
) -> Result<Option<Vec<u8>>, DatabaseError> {
    let lines = kind.lines(existing.unwrap_or_default())?;
    let (first, last) = apart(&lines, kind);
    let mut content = Vec::new();
    let mut changed = !allocation.groups.is_empty();
    for (number, line) in first.iter().enumerate() {
        let Some(entry) = line.entry else {
            push(&mut content, line.text);
            continue;
        };
        let new = |group: &&super::allocate::NewGroup| group.explicit && group.name.as_bytes() == entry.name;
        if kind == Kind::Gshadow && allocation.groups.iter().any(|group| new(&group)) {
            // A password would come to life for a group that somebody took out of /etc/group.
            let reason = "is an entry for a group that /etc/group lacks";
            return Err(DatabaseError { file: kind.file(), line: number + 1, reason });
        }
        match with_members(line.text, entry.name, definitions) {
            Some(text) => {
                push(&mut content, &text);
                changed = true;
            }
            None => push(&mut content, line.text),
        }
    }
    for group in &allocation.groups {
        let line = match kind {
            Kind::Gshadow => [group.name.as_bytes(), b":", LOCKED, b"::"].concat(),
            _ => format!("{}:{SEE_SHADOW}:{}:", group.name, group.gid).into_bytes(),
        };
        let line = with_members(&line, group.name.as_bytes(), definitions).unwrap_or(line);
        push(&mut content, &line);
    }
    last.iter().for_each(|line| push(&mut content, line.text));
    Ok(changed.then_some(content))
}

/// The entry with the members that it lacks, all sorted; None when it lacks none.
fn with_members(text: &[u8], name: &[u8], definitions: &Definitions) -> Option<Vec<u8>> {
    // Members are the fourth field of both files.
    const FIELD: usize = 3;
    let (_, wanted) = definitions.members.iter().find(|(group, _)| group.as_bytes() == name)?;
    let mut all = members(text, FIELD);
    let present = all.len();
    for member in wanted.iter().map(String::as_bytes) {
        if !all.contains(&member) {
            all.push(member);
        }
    }
    if all.len() == present {
        return None;
    }
    all.sort_unstable();
    all.dedup();
    Some(with_field(text, FIELD, &all.join(&b',')))
}

fn passwd(
    existing: Option<&[u8]>,
    allocation: &Allocation,
    surroundings: &Surroundings<'_>,
    problems: &mut Vec<String>,
) -> Result<Vec<u8>, DatabaseError> {
    let lines = Kind::Passwd.lines(existing.unwrap_or_default())?;
    let (first, last) = apart(&lines, Kind::Passwd);
    let mut content = Vec::new();
    first.iter().for_each(|line| push(&mut content, line.text));
    for NewUser { user, uid, gid } in &allocation.users {
        let default = match (uid, surroundings.has_bash) {
            (0, true) => "/bin/bash",
            (0, false) => "/bin/sh",
            _ => NOLOGIN,
        };
        let credential = credential(surroundings, &format!("passwd.shell.{}", user.name), problems);
        let shell = credential
            .and_then(|shell| core::str::from_utf8(shell).ok())
            .or(user.shell.as_deref())
            .unwrap_or(default);
        let (gecos, home) =
            (user.description.as_deref().unwrap_or_default(), user.home.as_deref().unwrap_or("/"));
        push(
            &mut content,
            format!("{}:{SEE_SHADOW}:{uid}:{gid}:{gecos}:{home}:{shell}", user.name).as_bytes(),
        );
    }
    last.iter().for_each(|line| push(&mut content, line.text));
    Ok(content)
}

fn shadow(
    existing: Option<&[u8]>,
    allocation: &Allocation,
    surroundings: &Surroundings<'_>,
    problems: &mut Vec<String>,
) -> Result<Vec<u8>, DatabaseError> {
    let lines = Kind::Shadow.lines(existing.unwrap_or_default())?;
    let (first, last) = apart(&lines, Kind::Shadow);
    let today = surroundings.today.to_string();
    let mut content = Vec::new();
    let mut present: Vec<&[u8]> = Vec::new();
    for line in first {
        match line.entry {
            Some(entry) if allocation.users.iter().any(|new| new.user.name.as_bytes() == entry.name) => {
                present.push(entry.name);
                push(&mut content, &with_field(line.text, 2, today.as_bytes()));
            }
            _ => push(&mut content, line.text),
        }
    }
    for NewUser { user, .. } in
        allocation.users.iter().filter(|new| !present.contains(&new.user.name.as_bytes()))
    {
        let hashed = credential(surroundings, &format!("passwd.hashed-password.{}", user.name), problems);
        let plaintext = format!("passwd.plaintext-password.{}", user.name);
        if hashed.is_none() && surroundings.credentials.get(&plaintext).is_some() {
            problems.push(format!(
                "credential {plaintext} ignored: passwords are not hashed here, '{}' stays locked: give passwd.hashed-password.{0}",
                user.name
            ));
        }
        let password = hashed.unwrap_or(if user.name == "root" { UNPROVISIONED } else { LOCKED });
        let expires: &[u8] = if user.locked { b"1" } else { b"" };
        let line: [&[u8]; 7] =
            [user.name.as_bytes(), b":", password, b":", today.as_bytes(), b":::::", expires];
        push(&mut content, &[line.concat().as_slice(), b":"].concat());
    }
    last.iter().for_each(|line| push(&mut content, line.text));
    Ok(content)
}

/// A credential that can be a field of a database. One that cannot is reported and ignored.
fn credential<'a>(
    surroundings: &Surroundings<'a>,
    name: &str,
    problems: &mut Vec<String>,
) -> Option<&'a [u8]> {
    let value = surroundings.credentials.get(name)?;
    if value.iter().any(|byte| byte.is_ascii_control() || *byte == b':')
        || core::str::from_utf8(value).is_err()
    {
        problems.push(format!(
            "credential {name} ignored: it holds a colon, a newline or another control character"
        ));
        return None;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sysusers::Facts;

    fn planned(lines: &str, databases: &Databases, credentials: &dyn Credentials) -> Plan {
        let mut definitions = Definitions::new();
        definitions.parse("f", lines.as_bytes(), &Facts::default());
        let surroundings =
            Surroundings { owners: BTreeMap::new(), has_bash: false, today: 20780, credentials };
        plan(&definitions, databases, &surroundings).unwrap()
    }

    fn text(content: &Option<Vec<u8>>) -> &str {
        content.as_deref().map_or("unchanged", |content| core::str::from_utf8(content).unwrap())
    }

    /// What systemd-sysusers 257 wrote for these lines, recorded.
    #[test]
    fn an_empty_root_as_the_tool_fills_it() {
        let lines = "g abcg -\nu ax41b - 'ge'\nu! lk -\nu lk3 5:lk\nu root 0\nm lk abcg\nu d1 -:abcg\n";
        let plan = planned(lines, &Databases::default(), &());
        assert_eq!(
            text(&plan.passwd),
            "ax41b:x:998:998:ge:/:/usr/sbin/nologin\nlk:x:997:997::/:/usr/sbin/nologin\n\
             lk3:x:5:997::/:/usr/sbin/nologin\nroot:x:0:0::/:/bin/sh\nd1:x:996:999::/:/usr/sbin/nologin\n"
        );
        assert_eq!(text(&plan.group), "abcg:x:999:lk\nax41b:x:998:\nlk:x:997:\nroot:x:0:\n");
        assert_eq!(text(&plan.gshadow), "abcg:!*::lk\nax41b:!*::\nlk:!*::\nroot:!*::\n");
        assert_eq!(
            text(&plan.shadow),
            "ax41b:!*:20780::::::\nlk:!*:20780:::::1:\nlk3:!*:20780::::::\nroot:!unprovisioned:20780::::::\n\
             d1:!*:20780::::::\n"
        );
    }

    #[test]
    fn what_is_there_already_changes_nothing() {
        let databases = Databases {
            passwd: Some(b"a:x:5:5::/:/x".to_vec()),
            group: Some(b"g:x:7:b,a\na:x:5:".to_vec()),
            ..Databases::default()
        };
        let plan = planned("u a\nm a g\n", &databases, &());
        assert!(
            plan.passwd.is_none() && plan.shadow.is_none() && plan.group.is_none() && plan.gshadow.is_none()
        );
    }

    #[test]
    fn a_credential_cannot_add_a_line() {
        let credentials = BTreeMap::from([
            ("passwd.hashed-password.a".to_owned(), b"x:1::::::\nroot::1".to_vec()),
            ("passwd.shell.a".to_owned(), b"/bin/sh\ntoor:x:0:0::/:/bin/sh".to_vec()),
        ]);
        let plan = planned("u a 5\n", &Databases::default(), &credentials);
        assert_eq!(text(&plan.passwd), "a:x:5:5::/:/usr/sbin/nologin\n");
        assert_eq!(text(&plan.shadow), "a:!*:20780::::::\n");
        assert_eq!(plan.allocation.problems.len(), 2);
    }

    proptest! {
        /// Whatever is asked for, every line that was there is still there, in its order; what is added has names and ids that
        /// nobody had.
        #[test]
        fn nothing_existing_is_lost(
            lines in prop::collection::vec("(u|u!|g) [a-f] (-|[1-9]|[1-9]:[1-9]|[1-9]:[a-f])|m [a-f] [a-f]|r - [1-9]", 0..12),
            users in prop::collection::btree_map("[a-f]", 1u32..9, 0..5),
            groups in prop::collection::btree_map("[a-f]", 1u32..9, 0..5),
            nis: bool,
        ) {
            let mut passwd: Vec<String> = users.iter().map(|(name, id)| format!("{name}:x:{id}:{id}::/:/x")).collect();
            let group: Vec<String> = groups.iter().map(|(name, id)| format!("{name}:x:{id}:z")).collect();
            if nis {
                passwd.push("+::::::".to_owned());
            }
            let databases = Databases {
                passwd: Some(passwd.join("\n").into_bytes()),
                group: Some(group.join("\n").into_bytes()),
                ..Databases::default()
            };
            let plan = planned(&lines.join("\n"), &databases, &());
            if let Some(content) = &plan.passwd {
                let now: Vec<&str> = core::str::from_utf8(content).unwrap().lines().collect();
                let kept: Vec<&&str> = now.iter().filter(|line| passwd.iter().any(|old| old == **line)).collect();
                prop_assert!(kept.iter().map(|line| **line).eq(passwd.iter().map(String::as_str)));
                prop_assert_eq!(now.last() == Some(&"+::::::"), nis);
                prop_assert_eq!(now.len(), passwd.len() + plan.allocation.users.len());
            }
            for (number, new) in plan.allocation.users.iter().enumerate() {
                prop_assert!(!users.contains_key(&new.user.name) && !users.values().any(|id| *id == new.uid));
                prop_assert!(!plan.allocation.users.iter().skip(number + 1).any(|other| other.uid == new.uid));
            }
            for (number, new) in plan.allocation.groups.iter().enumerate() {
                prop_assert!(!groups.contains_key(&new.name) && !groups.values().any(|id| *id == new.gid));
                prop_assert!(!plan.allocation.groups.iter().skip(number + 1).any(|other| other.gid == new.gid));
            }
        }
    }
}
