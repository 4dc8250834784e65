//! The requests of sysusers.d: the items of all files together, found by name.

use std::prelude::v1::*;

use super::{
    item::{Group, Item, User},
    line,
    message::Message,
    range::IdRanges,
};
use crate::{
    fragments::{Facts, lines},
    level::Level,
    map::{Map, Names},
};

/// A group and its new members; no member is named twice.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Membership {
    /// The group.
    pub group: String,
    /// Its members, in the order in which they were asked for.
    pub users: Vec<String>,
}

/// Items in the order in which they were asked for, found by name. Each knows the file and line that asked first.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Named<T> {
    items: Vec<T>,
    places: Vec<Place>,
    by_name: Map<usize>,
}

/// A number in [`Definitions::files`], and a line.
type Place = (usize, usize);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self { items: Vec::new(), places: Vec::new(), by_name: Map::new() }
    }
}

impl<T> Named<T> {
    fn get(&self, name: &str) -> Option<(&T, Place)> {
        let at = *self.by_name.get(name.as_bytes())?;
        Some((self.items.get(at)?, *self.places.get(at)?))
    }

    fn add(&mut self, name: &str, item: T, place: Place) {
        self.by_name.insert(name, self.items.len());
        self.items.push(item);
        self.places.push(place);
    }
}

/// The requests of all files together, in the order of their lines.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Definitions {
    users: Named<User>,
    groups: Named<Group>,
    members: Vec<Membership>,
    member_of: Map<(usize, Names)>,
    ranges: IdRanges,
    messages: Vec<Message>,
    /// Messages that do not count if two shells turn out to be one file: number in `messages`, the shells.
    doubts: Vec<(usize, [Shell; 2])>,
    files: Vec<String>,
    is_terse: bool,
}

/// The shell of a user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Shell {
    /// The one it asks for.
    Path(String),
    /// Root's, which depends on what there is.
    OfRoot,
    /// None.
    Nologin,
}

impl Definitions {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// No requests yet, for a caller that takes warnings and errors alone: actions and reasons need no words.
    pub fn terse() -> Self {
        Self { is_terse: true, ..Self::default() }
    }

    /// Returns true when only warnings and errors are logged.
    pub fn is_terse(&self) -> bool {
        self.is_terse
    }

    /// Users of `u` lines.
    pub fn users(&self) -> &[User] {
        &self.users.items
    }

    /// Groups of `g` lines.
    pub fn groups(&self) -> &[Group] {
        &self.groups.items
    }

    /// Members of `m` lines.
    pub fn members(&self) -> &[Membership] {
        &self.members
    }

    /// The users that are to be members of this group.
    pub fn members_of(&self, group: &[u8]) -> Option<&[String]> {
        let (at, _) = self.member_of.get(group)?;
        self.members.get(*at).map(|membership| membership.users.as_slice())
    }

    /// The pool of `r` lines; empty when there was none.
    pub fn ranges(&self) -> &IdRanges {
        &self.ranges
    }

    /// Returns true when a `u` line asks for this user.
    pub fn has_user(&self, name: &str) -> bool {
        self.users.by_name.contains_key(name.as_bytes())
    }

    /// Returns true when a `g` line asks for this group.
    pub fn has_group(&self, name: &str) -> bool {
        self.groups.by_name.contains_key(name.as_bytes())
    }

    /// Lines that were passed over, and why.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Adds a message about something that could not be read.
    pub fn complain(&mut self, text: impl Into<String>) {
        self.messages.push(Message::new(Level::Error, text));
    }

    /// Reads one more file, as its reader calls it. A line that is wrong is passed over with a message and the others count, as with
    /// systemd-sysusers. Returns whether every line was right.
    pub fn parse(&mut self, file: &str, content: &[u8], facts: &Facts) -> bool {
        let mut right = true;
        for (number, text) in lines(content).enumerate() {
            let text = text.trim_ascii();
            if !text.is_empty() && !text.starts_with(b"#") {
                right &= self.parse_line(file, number + 1, text, facts);
            }
        }
        right
    }

    /// Reads one line. Returns whether it was right.
    pub fn parse_line(&mut self, file: &str, number: usize, text: &[u8], facts: &Facts) -> bool {
        match line::parse(text, facts) {
            Ok(item) => {
                self.add(file, number, item);
                true
            }
            Err(text) => {
                self.say(Level::Error, file, number, text);
                false
            }
        }
    }

    /// Every path whose owner is to be looked up before ids can be allocated.
    pub fn owner_paths(&self) -> impl Iterator<Item = &str> {
        let users = self.users().iter().filter_map(|user| user.owner_of.as_deref());
        users.chain(self.groups().iter().filter_map(|group| group.owner_of.as_deref()))
    }

    /// Removes the messages about two lines for one user whose shells are the same file after all. `resolve` follows
    /// links.
    pub fn settle_shells(&mut self, resolve: impl Fn(&Shell) -> Option<String>) {
        let mut settled = Vec::new();
        for (message, [one, other]) in &self.doubts {
            if resolve(one).is_some_and(|one| Some(one) == resolve(other)) {
                settled.push(*message);
            }
        }
        self.doubts.clear();
        let mut number = 0;
        self.messages.retain(|_| {
            number += 1;
            !settled.contains(&(number - 1))
        });
    }

    fn add(&mut self, file: &str, number: usize, item: Item) {
        if self.files.last().is_none_or(|last| last != file) {
            self.files.push(file.to_owned());
        }
        let place = (self.files.len() - 1, number);
        match item {
            Item::Range(ranges) => self.ranges.merge(&ranges),
            Item::Member(user, group) => self.add_member(user, group),
            Item::Group(group) => match self.groups.get(&group.name) {
                None => self.groups.add(&group.name.clone(), group, place),
                Some((earlier, _)) if *earlier == group => {}
                Some((_, first)) => self.conflict(file, number, "group", &group.name, first),
            },
            Item::User(user) => match self.users.get(&user.name) {
                None => self.users.add(&user.name.clone(), user, place),
                Some((earlier, first)) => {
                    let shells = [shell_of(&user), shell_of(earlier)];
                    let same = same_but_shell(earlier, &user);
                    if !same {
                        self.conflict(file, number, "user", &user.name, first);
                    } else if !same_shell(&shells) {
                        self.doubts.push((self.messages.len(), shells));
                        self.conflict(file, number, "user", &user.name, first);
                    }
                }
            },
        }
    }

    fn add_member(&mut self, user: String, group: String) {
        let next = self.members.len();
        if !self.member_of.contains_key(group.as_bytes()) {
            self.member_of.insert(&*group, (next, Names::new()));
            self.members.push(Membership { group: group.clone(), users: Vec::new() });
        }
        if let Some((at, known)) = self.member_of.get_mut(group.as_bytes())
            && known.insert(&*user, ()).is_none()
            && let Some(membership) = self.members.get_mut(*at)
        {
            membership.users.push(user);
        }
    }

    fn say(&mut self, level: Level, file: &str, number: usize, text: String) {
        self.messages.push(Message { level, place: Some((file.to_owned(), number)), text });
    }

    fn conflict(&mut self, file: &str, number: usize, kind: &str, name: &str, first: Place) {
        let earlier = self.files.get(first.0).map(String::as_str).unwrap_or_default();
        let text = format!(
            "Conflict with earlier configuration for {kind} '{name}' in {earlier}:{}, ignoring line.",
            first.1
        );
        self.say(Level::Warning, file, number, text);
    }
}

/// Returns true when two lines for one user ask for the same, leaving the shells out of it. As systemd compares them:
/// neither `!` nor the group's name counts.
fn same_but_shell(one: &User, other: &User) -> bool {
    (&one.owner_of, &one.description, one.uid, one.gid, &one.home)
        == (&other.owner_of, &other.description, other.uid, other.gid, &other.home)
}

/// The shell of a user (systemd: `pick_shell`).
pub(super) fn shell_of(user: &User) -> Shell {
    match (&user.shell, user.uid) {
        (Some(shell), _) => Shell::Path(shell.clone()),
        (None, Some(0)) => Shell::OfRoot,
        (None, _) => Shell::Nologin,
    }
}

/// Returns true when two shells are the same without a look at the files: by name, or because neither permits a login.
fn same_shell([one, other]: &[Shell; 2]) -> bool {
    let lets_nobody_in = |shell: &Shell| match shell {
        Shell::Nologin => true,
        Shell::OfRoot => false,
        Shell::Path(path) => {
            matches!(
                path.strip_prefix("/usr").unwrap_or(path),
                "/bin/nologin" | "/sbin/nologin" | "/bin/false" | "/bin/true"
            )
        }
    };
    one == other || (lets_nobody_in(one) && lets_nobody_in(other))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_become_what_they_ask_for() {
        let mut definitions = Definitions::new();
        let text = "u! a 5:g \"G e\" //h/ /bin/sh\ng b /f/\nm a g\nm c g\nm a g\nr - 5-7\n";
        assert!(definitions.parse("f", text.as_bytes(), &Facts::default()));
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
        assert_eq!(definitions.users(), [user]);
        assert_eq!(
            definitions.groups(),
            [Group { name: "b".to_owned(), gid: None, owner_of: Some("/f".to_owned()) }]
        );
        let members = Membership { group: "g".to_owned(), users: vec!["a".to_owned(), "c".to_owned()] };
        assert_eq!(definitions.members(), [members]);
        assert!(definitions.ranges().contains(6) && !definitions.ranges().contains(8));
        assert_eq!(definitions.messages(), []);
    }

    #[test]
    fn conflicts_are_named_unless_the_shells_are_one() {
        let mut definitions = Definitions::new();
        let text = "u a 5\nu a 6\ng b 7\ng b 8\nu c 9 - - /bin/sh\nu c 9 - - /bin/dash\nu d 1 - - /bin/false\nu d 1\n";
        definitions.parse("f", text.as_bytes(), &Facts::default());
        let said = |definitions: &Definitions| {
            definitions.messages().iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let words = "Conflict with earlier configuration for";
        let mut all = vec![
            format!("f:2: {words} user 'a' in f:1, ignoring line."),
            format!("f:4: {words} group 'b' in f:3, ignoring line."),
            format!("f:6: {words} user 'c' in f:5, ignoring line."),
        ];
        let mut other = definitions.clone();
        other.settle_shells(|shell| Some(format!("{shell:?}")));
        assert_eq!(said(&other), all);
        definitions.settle_shells(|_| Some("/bin/dash".to_owned()));
        all.pop();
        assert_eq!(said(&definitions), all);
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
