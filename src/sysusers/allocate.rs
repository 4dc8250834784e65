//! Assigns ids in systemd's order: first every group, then every user, both as they were defined; free ids come from
//! one pool, from the top down, and a cursor never goes back.

use core::fmt;
use std::prelude::v1::*;

use super::{
    database::{Databases, Kind},
    definition::Definitions,
    item::{Group, User},
    message::Message,
    range::IdRanges,
};
use crate::{
    level::Level,
    map::{Map, Names},
};

/// The user and the group that own a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owner {
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// A user that is to be added.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewUser {
    /// The request.
    pub user: User,
    /// The id it got.
    pub uid: u32,
    /// The id of its group.
    pub gid: u32,
}

/// A group that is to be added.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewGroup {
    /// Its name.
    pub name: String,
    /// The id it got.
    pub gid: u32,
    /// True when a `g` or `m` line asked for it; otherwise it is a user's own.
    pub explicit: bool,
}

/// The entries to be added, in the order of the new lines.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Allocation {
    /// Users.
    pub users: Vec<NewUser>,
    /// Groups.
    pub groups: Vec<NewGroup>,
    /// The actions and their reasons, in order.
    pub messages: Vec<Message>,
}

/// Another source of users and groups on the machine whose own root is changed: a directory service, systemd's own
/// dynamic users.
pub trait NameService {
    /// The id of this user.
    fn uid_of(&self, name: &str) -> Option<u32>;
    /// The id of this group.
    fn gid_of(&self, name: &str) -> Option<u32>;
    /// Returns true when there is a user of this id.
    fn has_uid(&self, uid: u32) -> bool;
    /// The name of the group of this id.
    fn group_of(&self, gid: u32) -> Option<String>;
}

/// Nothing else: any root but the machine's own.
impl NameService for () {
    fn uid_of(&self, _: &str) -> Option<u32> {
        None
    }

    fn gid_of(&self, _: &str) -> Option<u32> {
        None
    }

    fn has_uid(&self, _: u32) -> bool {
        false
    }

    fn group_of(&self, _: u32) -> Option<String> {
        None
    }
}

/// Names to ids and back, of one pair of databases. The first of several equal ones counts.
#[derive(Default)]
struct Ids {
    by_name: Map<u32>,
    /// By the bytes of the id.
    by_id: Map<Vec<u8>>,
}

impl Ids {
    fn read(kind: Kind, content: Option<&Vec<u8>>) -> Self {
        let mut ids = Self::default();
        for entry in kind.lines(content.map_or(&[], |content| content)).iter().filter_map(|line| line.entry) {
            ids.by_name.insert_new(entry.name, entry.id);
            ids.by_id.insert_new(entry.id.to_be_bytes(), entry.name.to_vec());
        }
        ids
    }
}

/// A user or a group while its ids are sought.
#[derive(Default)]
struct Item {
    name: String,
    uid: Option<u32>,
    gid: Option<u32>,
    /// The group must exist, and it need not have the user's name.
    strict: bool,
    owner: Option<Owner>,
    /// A group was made for this item.
    made_group: bool,
}

struct Allocator<'a> {
    users: Ids,
    groups: Ids,
    service: &'a dyn NameService,
    pool: IdRanges,
    /// The last id that was taken from the pool.
    cursor: u32,
    /// The names of new users and groups, by the bytes of their ids.
    new_uids: Map<String>,
    new_gids: Map<String>,
    result: Allocation,
    /// True when actions and reasons are not logged.
    is_terse: bool,
}

/// An entry that could not be made; the reason has been logged.
struct Failed;

/// Gives ids to all that `definitions` ask for and neither the databases nor `service` has. `owners` holds the owners
/// of the definitions' [`Definitions::owner_paths`] as far as these exist.
pub fn allocate(
    definitions: &Definitions,
    databases: &Databases,
    owners: &Map<Owner>,
    service: &dyn NameService,
) -> Allocation {
    let mut allocator = Allocator {
        users: Ids::read(Kind::Passwd, databases.passwd.as_ref()),
        groups: Ids::read(Kind::Group, databases.group.as_ref()),
        service,
        pool: match definitions.ranges().is_empty() {
            true => IdRanges::system(),
            false => definitions.ranges().clone(),
        },
        cursor: u32::MAX,
        new_uids: Map::new(),
        new_gids: Map::new(),
        result: Allocation::default(),
        is_terse: definitions.is_terse(),
    };
    let implicit = allocator.implicit(definitions);
    let owner = |path: &Option<String>| path.as_ref().and_then(|path| owners.get(path.as_bytes()).copied());

    let mut group_items: Map<Item> = Map::new();
    for group in definitions.groups().iter().chain(&implicit.groups) {
        let mut item = Item {
            name: group.name.clone(),
            gid: group.gid,
            owner: owner(&group.owner_of),
            ..Item::default()
        };
        // An entry that could not be made is logged, and the rest is done, as by systemd-sysusers.
        let _said = allocator.group(&mut item, true);
        group_items.insert(group.name.as_str(), item);
    }
    let mut user_items: Map<Item> = Map::new();
    for user in definitions.users().iter().chain(&implicit.users) {
        let mut item = Item {
            name: user.name.clone(),
            uid: user.uid,
            gid: user.gid,
            strict: user.gid.is_some(),
            owner: owner(&user.owner_of),
            made_group: false,
        };
        let queued = match (user.gid, &user.group) {
            (Some(_), _) => None,
            (None, Some(name)) => {
                group_items.get(name.as_bytes()).or_else(|| user_items.get(name.as_bytes()))
            }
            (None, None) => group_items.get(user.name.as_bytes()),
        };
        let grouped = match queued.filter(|queued| queued.made_group) {
            Some(queued) => {
                (item.gid, item.strict) = (queued.gid, true);
                Ok(())
            }
            None => allocator.group_of(&mut item, user),
        };
        let _said = grouped.and_then(|()| allocator.user(&mut item, user));
        user_items.insert(user.name.as_str(), item);
    }
    allocator.result
}

/// Users and groups that only `m` lines name.
#[derive(Default)]
struct Implicit {
    users: Vec<User>,
    groups: Vec<Group>,
}

impl Allocator<'_> {
    fn implicit(&mut self, definitions: &Definitions) -> Implicit {
        let mut implicit = Implicit::default();
        let mut named = Names::new();
        for membership in definitions.members() {
            for user in &membership.users {
                if !definitions.has_user(user) && named.insert(user.as_bytes(), ()).is_none() {
                    self.debug(format_args!("Adding implicit user '{user}' due to m line"));
                    implicit.users.push(User { name: user.clone(), ..User::default() });
                }
            }
            let group = &membership.group;
            let is_asked_for = definitions.has_user(group) || definitions.has_group(group);
            if !is_asked_for && !named.contains_key(group.as_bytes()) {
                self.debug(format_args!("Adding implicit group '{group}' due to m line"));
                implicit.groups.push(Group { name: group.clone(), ..Group::default() });
            }
        }
        implicit
    }

    /// The group of a user without another line that makes one.
    fn group_of(&mut self, item: &mut Item, user: &User) -> Result<(), Failed> {
        let Some(name) = &user.group else { return self.group(item, false) };
        let Some(gid) = self.existing_group(name) else {
            return self.fail(format_args!("Group {name} not found."));
        };
        (item.gid, item.strict) = (Some(gid), true);
        Ok(())
    }

    fn existing_group(&self, name: &str) -> Option<u32> {
        self.groups.by_name.get(name.as_bytes()).copied().or_else(|| self.service.gid_of(name))
    }

    /// Finds or makes the group that has the item's name.
    fn group(&mut self, item: &mut Item, explicit: bool) -> Result<(), Failed> {
        if let Some(gid) = self.existing_group(&item.name) {
            self.debug(format_args!("Group {} already exists.", item.name));
            item.gid = Some(gid);
            return Ok(());
        }
        if let Some(gid) = item.gid {
            match (item.strict, self.gid_is_free(gid, &item.name, false)) {
                (true, true) => {
                    return self
                        .fail(format_args!("Failed to create {}: please create GID {gid}", item.name));
                }
                (true, false) => return Ok(()),
                (false, true) => {}
                (false, false) => {
                    self.say(
                        Level::Info,
                        format_args!("Suggested group ID {gid} for {} already used.", item.name),
                    );
                    item.gid = None;
                }
            }
        }
        let gid = match item.gid.or_else(|| self.gid_like(item)) {
            Some(gid) => gid,
            None => match self.next(|this, gid| this.gid_is_free(gid, &item.name, true)) {
                Some(gid) => gid,
                None => return self.fail(format_args!("No free group ID available for {}.", item.name)),
            },
        };
        (item.gid, item.made_group) = (Some(gid), true);
        self.new_gids.insert(gid.to_be_bytes(), item.name.clone());
        self.say(Level::Info, format_args!("Creating group '{}' with GID {gid}.", item.name));
        self.result.groups.push(NewGroup { name: item.name.clone(), gid, explicit });
        Ok(())
    }

    /// The id that would suit the group: its user's, or the one of the file it is to own.
    fn gid_like(&mut self, item: &Item) -> Option<u32> {
        let uid = item.uid.filter(|uid| self.gid_is_free(*uid, &item.name, true));
        if uid.is_some() {
            return uid;
        }
        let gid = item.owner?.gid;
        if !self.suits(gid) {
            self.debug(format_args!("Group ID {gid} of file not suitable for {}.", item.name));
        } else if self.gid_is_free(gid, &item.name, true) {
            return Some(gid);
        } else {
            self.debug(format_args!("Group ID {gid} of file for {} already used.", item.name));
        }
        None
    }

    /// Makes the user, unless there is one of its name.
    fn user(&mut self, item: &mut Item, user: &User) -> Result<(), Failed> {
        let name = &user.name;
        if self.users.by_name.contains_key(name.as_bytes()) || self.service.uid_of(name).is_some() {
            self.debug(format_args!("User {name} already exists."));
            return Ok(());
        }
        if let Some(uid) = item.uid
            && !self.uid_is_free(uid, name, !item.strict)
        {
            self.say(Level::Info, format_args!("Suggested user ID {uid} for {name} already used."));
            item.uid = None;
        }
        let uid = match item.uid.or_else(|| self.uid_like(item)) {
            Some(uid) => uid,
            None => match self.next(|this, uid| this.uid_is_free(uid, name, true)) {
                Some(uid) => uid,
                None => return self.fail(format_args!("No free user ID available for {name}.")),
            },
        };
        item.uid = Some(uid);
        let gid = item.gid.unwrap_or(uid);
        self.new_uids.insert(uid.to_be_bytes(), name.clone());
        let description = user.description.as_deref().unwrap_or("n/a");
        self.say(
            Level::Info,
            format_args!("Creating user '{name}' ({description}) with UID {uid} and GID {gid}."),
        );
        self.result.users.push(NewUser { user: user.clone(), uid, gid });
        Ok(())
    }

    /// The id that would suit the user: the one of the file it is to own, or its group's.
    fn uid_like(&mut self, item: &Item) -> Option<u32> {
        if let Some(Owner { uid, .. }) = item.owner {
            if !self.suits(uid) {
                self.debug(format_args!("User ID {uid} of file not suitable for {}.", item.name));
            } else if self.uid_is_free(uid, &item.name, true) {
                return Some(uid);
            } else {
                self.debug(format_args!("User ID {uid} of file for {} is already used.", item.name));
            }
        }
        item.gid.filter(|gid| self.uid_is_free(*gid, &item.name, true))
    }

    /// Returns true when a file's owner may become a system user's id: root's may not.
    fn suits(&self, id: u32) -> bool {
        id > 0 && self.pool.contains(id)
    }

    /// The next id below the cursor that is free. The cursor stays where the search ended.
    fn next(&mut self, is_free: impl Fn(&Self, u32) -> bool) -> Option<u32> {
        loop {
            self.cursor = self.pool.next_below(self.cursor)?;
            if is_free(self, self.cursor) {
                return Some(self.cursor);
            }
        }
    }

    /// Returns true when no group has this id and, if `mind_users`, no user of another name.
    fn gid_is_free(&self, gid: u32, name: &str, mind_users: bool) -> bool {
        let other = |user: &[u8]| mind_users && user != name.as_bytes();
        let taken = self.new_gids.contains_key(&gid.to_be_bytes())
            || self.groups.by_id.contains_key(&gid.to_be_bytes())
            || self.new_uids.get(&gid.to_be_bytes()).is_some_and(|user| other(user.as_bytes()))
            || self.users.by_id.get(&gid.to_be_bytes()).is_some_and(|user| other(user))
            || self.service.group_of(gid).is_some()
            || (mind_users && self.service.has_uid(gid));
        !taken
    }

    /// Returns true when no user has this id and, if `mind_groups`, no group of another name.
    fn uid_is_free(&self, uid: u32, name: &str, mind_groups: bool) -> bool {
        let other = |group: &[u8]| mind_groups && group != name.as_bytes();
        let taken = self.new_uids.contains_key(&uid.to_be_bytes())
            || self.users.by_id.contains_key(&uid.to_be_bytes())
            || self.new_gids.get(&uid.to_be_bytes()).is_some_and(|group| other(group.as_bytes()))
            || self.groups.by_id.get(&uid.to_be_bytes()).is_some_and(|group| other(group))
            || self.service.has_uid(uid)
            || (mind_groups && self.service.group_of(uid).is_some_and(|group| other(group.as_bytes())));
        !taken
    }

    fn say(&mut self, level: Level, text: fmt::Arguments<'_>) {
        if level <= Level::Warning || !self.is_terse {
            self.result.messages.push(Message::new(level, text.to_string()));
        }
    }

    fn debug(&mut self, text: fmt::Arguments<'_>) {
        self.say(Level::Debug, text);
    }

    fn fail(&mut self, text: fmt::Arguments<'_>) -> Result<(), Failed> {
        self.say(Level::Error, text);
        Err(Failed)
    }
}
