//! The new content of the four databases, as a value.

use std::prelude::v1::*;

use super::{
    allocate::{Allocation, NewGroup, NewUser, allocate},
    database::{DatabaseError, Databases, Kind, Line, members, with_field},
    definition::{Definitions, shell_of},
    item::User,
    message::Message,
    surroundings::Surroundings,
};
use crate::{
    map::{Map, Names},
    secret::Secret,
    sort,
};

/// The password field that points to shadow (passwd(5)).
const SEE_SHADOW: &str = "x";
/// The password that nothing hashes to.
const LOCKED: &[u8] = b"!*";
/// The root password that systemd-firstboot may still set.
const UNPROVISIONED: &[u8] = b"!unprovisioned";

/// The whole new content of each database that changes, and its parts.
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
    /// The added entries, and those that could not be made.
    pub allocation: Allocation,
    /// The messages about missing facts of the machine.
    pub messages: Vec<Message>,
}

impl Plan {
    /// Plans the lines to add when ids have been assigned.
    ///
    /// # Errors
    /// As [`plan`].
    pub fn new(
        definitions: &Definitions,
        databases: &Databases,
        surroundings: &Surroundings<'_>,
        allocation: Allocation,
    ) -> Result<Self, DatabaseError> {
        let mut plan = Self::default();
        if !allocation.groups.is_empty() || !definitions.members().is_empty() {
            let [old, old_shadow] = [&databases.group, &databases.gshadow].map(Option::as_deref);
            plan.group = groups(Kind::Group, definitions, old, &allocation)?;
            plan.gshadow = groups(Kind::Gshadow, definitions, old_shadow, &allocation)?;
        }
        if !allocation.users.is_empty() {
            let [old, old_shadow] = [&databases.passwd, &databases.shadow].map(Option::as_deref);
            plan.passwd = Some(passwd(old, &allocation, surroundings, &mut plan.messages));
            plan.shadow = Some(shadow(old_shadow, &allocation, surroundings, &mut plan.messages));
        }
        plan.allocation = allocation;
        Ok(plan)
    }

    /// The databases that systemd-sysusers looks through for these definitions, in its order: it writes them, or says that it would.
    pub fn concerned(&self, definitions: &Definitions) -> impl Iterator<Item = Kind> {
        let groups = !self.allocation.groups.is_empty() || !definitions.members().is_empty();
        let users = !self.allocation.users.is_empty();
        let all =
            [(Kind::Group, groups), (Kind::Gshadow, groups), (Kind::Passwd, users), (Kind::Shadow, users)];
        all.into_iter().filter_map(|(kind, concerned)| concerned.then_some(kind))
    }
}

/// Plans the lines to add to the databases, so that all entries exist that `definitions` ask for. Existing entries stay
/// as they are and where they are, but for members that are added; NIS entries and lines behind them stay last.
///
/// # Errors
/// A gshadow entry for a group that group lacks.
pub fn plan(
    definitions: &Definitions,
    databases: &Databases,
    surroundings: &Surroundings<'_>,
) -> Result<Plan, DatabaseError> {
    let allocation = allocate(definitions, databases, &surroundings.owners, surroundings.service);
    Plan::new(definitions, databases, surroundings, allocation)
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
    let lines = kind.lines(existing.unwrap_or_default());
    let (first, last) = apart(&lines, kind);
    let mut content = Vec::new();
    let mut changed = !allocation.groups.is_empty();
    let explicit: Names = match kind {
        Kind::Gshadow => allocation.groups.iter().filter(|new| new.explicit).map(key).collect(),
        _ => Names::new(),
    };
    for line in first {
        let Some(entry) = line.entry else {
            push(&mut content, line.text);
            continue;
        };
        if explicit.contains_key(entry.name) {
            return Err(DatabaseError::Orphan(String::from_utf8_lossy(entry.name).into_owned()));
        }
        match with_members(line.text, entry.name, definitions) {
            Some(text) => {
                push(&mut content, &text);
                changed = true;
            }
            // libc writes the colon before an empty list of members, and so does the tool.
            None if kind == Kind::Group && count_colons(line.text) == 2 => {
                push(&mut content, &[line.text, b":"].concat());
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

fn count_colons(text: &[u8]) -> usize {
    text.iter().filter(|byte| **byte == b':').count()
}

fn key(group: &NewGroup) -> (&[u8], ()) {
    (group.name.as_bytes(), ())
}

/// The entry with the members that it lacks, all sorted; None when it lacks none.
fn with_members(text: &[u8], name: &[u8], definitions: &Definitions) -> Option<Vec<u8>> {
    // Members are the fourth field of both files.
    const FIELD: usize = 3;
    let wanted = definitions.members_of(name)?;
    let mut all = members(text, FIELD);
    let present: Names = all.iter().map(|member| (*member, ())).collect();
    let count = all.len();
    all.extend(wanted.iter().map(String::as_bytes).filter(|member| !present.contains_key(member)));
    if all.len() == count {
        return None;
    }
    sort::slice(&mut all);
    all.dedup();
    Some(with_field(text, FIELD, &all.join(&b',')))
}

fn passwd(
    existing: Option<&[u8]>,
    allocation: &Allocation,
    surroundings: &Surroundings<'_>,
    messages: &mut Vec<Message>,
) -> Vec<u8> {
    let lines = Kind::Passwd.lines(existing.unwrap_or_default());
    let (first, last) = apart(&lines, Kind::Passwd);
    let mut content = Vec::new();
    first.iter().for_each(|line| push(&mut content, line.text));
    for NewUser { user, uid, gid } in &allocation.users {
        let credential = surroundings.credential(&format!("passwd.shell.{}", user.name), messages);
        // A user with root's id gets root's shell, also by chance: systemd has set the item's id by now.
        let wanted = shell_of(&User { uid: Some(*uid), shell: user.shell.clone(), ..User::default() });
        let shell = credential
            .and_then(|shell| core::str::from_utf8(shell).ok())
            .unwrap_or_else(|| surroundings.shell(&wanted));
        let (gecos, home) =
            (user.description.as_deref().unwrap_or_default(), user.home.as_deref().unwrap_or("/"));
        push(
            &mut content,
            format!("{}:{SEE_SHADOW}:{uid}:{gid}:{gecos}:{home}:{shell}", user.name).as_bytes(),
        );
    }
    last.iter().for_each(|line| push(&mut content, line.text));
    content
}

fn shadow(
    existing: Option<&[u8]>,
    allocation: &Allocation,
    surroundings: &Surroundings<'_>,
    messages: &mut Vec<Message>,
) -> Vec<u8> {
    let lines = Kind::Shadow.lines(existing.unwrap_or_default());
    let (first, last) = apart(&lines, Kind::Shadow);
    let today = surroundings.today.to_string();
    let mut content = Vec::new();
    // True for those that have an entry already.
    let mut new: Map<bool> = allocation.users.iter().map(|new| (new.user.name.as_bytes(), false)).collect();
    for line in first {
        match line.entry.and_then(|entry| new.get_mut(entry.name)) {
            Some(present) => {
                *present = true;
                push(&mut content, &with_field(line.text, 2, today.as_bytes()));
            }
            None => push(&mut content, line.text),
        }
    }
    for NewUser { user, .. } in &allocation.users {
        if new.get(user.name.as_bytes()).is_some_and(|present| *present) {
            continue;
        }
        let default = if user.name == "root" { UNPROVISIONED } else { LOCKED };
        let password = surroundings.password(&user.name, messages);
        let expires: &[u8] = if user.locked { b"1" } else { b"" };
        for part in [
            user.name.as_bytes(),
            b":",
            password.as_ref().map_or(default, Secret::expose),
            b":",
            today.as_bytes(),
            b":::::",
            expires,
            b":\n",
        ] {
            content.extend_from_slice(part);
        }
    }
    last.iter().for_each(|line| push(&mut content, line.text));
    content
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        config::credentials,
        level::Level,
        sysusers::{Facts, surroundings::Credentials},
    };

    fn given(all: &[(&str, &str)]) -> credentials::Credentials {
        let mut credentials = credentials::Credentials::new();
        for (name, value) in all {
            credentials.add(name, Secret::new(value.as_bytes().to_vec()));
        }
        credentials
    }

    fn planned(lines: &str, databases: &Databases, credentials: &dyn Credentials) -> Plan {
        let mut definitions = Definitions::new();
        definitions.parse("f", lines.as_bytes(), &Facts::default());
        let surroundings = Surroundings {
            owners: Map::new(),
            has_bash: false,
            today: 20780,
            credentials,
            salt: &|| Some([0; 16]),
            service: &(),
        };
        plan(&definitions, databases, &surroundings).unwrap()
    }

    fn text(content: &Option<Vec<u8>>) -> &str {
        content.as_deref().map_or("unchanged", |content| core::str::from_utf8(content).unwrap())
    }

    /// The lines that systemd-sysusers 257 wrote for these definitions, recorded.
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
        let credentials = given(&[
            ("passwd.hashed-password.a", "x:1::::::\nroot::1"),
            ("passwd.shell.a", "/bin/sh\ntoor:x:0:0::/:/bin/sh"),
        ]);
        let plan = planned("u a 5\n", &Databases::default(), &credentials);
        assert_eq!(text(&plan.passwd), "a:x:5:5::/:/usr/sbin/nologin\n");
        assert_eq!(text(&plan.shadow), "a:!*:20780::::::\n");
        let errors = plan.messages.iter().filter(|message| message.level == Level::Error);
        assert_eq!(errors.count(), 2);
    }

    #[test]
    fn a_password_in_clear_is_hashed() {
        let credentials = given(&[("passwd.plaintext-password.a", "secret")]);
        let plan = planned("u a 5\nu b 6\n", &Databases::default(), &credentials);
        let shadow = text(&plan.shadow);
        assert!(shadow.starts_with("a:$y$j9T$......................$"), "{shadow}");
        assert!(shadow.ends_with(":20780::::::\nb:!*:20780::::::\n"), "{shadow}");
    }

    /// The order of a hash map may not show, and many lines may not cost their square.
    #[test]
    fn ten_thousand_users_and_members() {
        let mut lines = String::from("r - 1000-60000\n");
        for number in 0..10_000 {
            lines += &format!("u u{number} -\nm u{number} all\n");
        }
        let plan = planned(&lines, &Databases::default(), &());
        assert_eq!((plan.allocation.users.len(), plan.allocation.groups.len()), (10_000, 10_001));
        assert!(text(&plan.passwd).starts_with("u0:x:59999:59999:"));
    }

    proptest! {
        /// For any definitions, every old line is still there, in its order; added entries have unused names and ids.
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
