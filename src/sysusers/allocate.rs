//! Who gets which id, in systemd's order: first every group, then every user, both as they were defined; free ids come from
//! one pool, from the top down, and a cursor never goes back.

use std::{collections::BTreeMap, prelude::v1::*};

use super::{
    database::{DatabaseError, Databases, Kind},
    definition::{Definitions, Group, User},
    range::IdRanges,
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
    /// What was asked for.
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
    /// Whether a `g` or `m` line asked for it; otherwise it is a user's own.
    pub explicit: bool,
}

/// What is to be added, in the order of the new lines.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Allocation {
    /// Users.
    pub users: Vec<NewUser>,
    /// Groups.
    pub groups: Vec<NewGroup>,
    /// Users and groups that could not be made, and ids that could not be given: one sentence each.
    pub problems: Vec<String>,
}

/// Names to ids and back, of one pair of databases. The first of several equal ones counts.
#[derive(Default)]
struct Ids {
    by_name: BTreeMap<Vec<u8>, u32>,
    by_id: BTreeMap<u32, Vec<u8>>,
}

impl Ids {
    fn read(kind: Kind, content: Option<&Vec<u8>>) -> Result<Self, DatabaseError> {
        let mut ids = Self::default();
        for entry in kind.lines(content.map_or(&[], |content| content))?.iter().filter_map(|line| line.entry)
        {
            ids.by_name.entry(entry.name.to_vec()).or_insert(entry.id);
            ids.by_id.entry(entry.id).or_insert_with(|| entry.name.to_vec());
        }
        Ok(ids)
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

struct Allocator {
    users: Ids,
    groups: Ids,
    pool: IdRanges,
    /// The last id that was taken from the pool.
    cursor: u32,
    new_uids: BTreeMap<u32, String>,
    new_gids: BTreeMap<u32, String>,
    result: Allocation,
}

/// Gives ids to all that `definitions` ask for and the databases lack. `owners` holds the owners of the definitions'
/// [`Definitions::owner_paths`] as far as these exist.
///
/// # Errors
/// A database with a line that is no entry.
pub fn allocate(
    definitions: &Definitions,
    databases: &Databases,
    owners: &BTreeMap<String, Owner>,
) -> Result<Allocation, DatabaseError> {
    let mut allocator = Allocator {
        users: Ids::read(Kind::Passwd, databases.passwd.as_ref())?,
        groups: Ids::read(Kind::Group, databases.group.as_ref())?,
        pool: match definitions.ranges.is_empty() {
            true => IdRanges::system(),
            false => definitions.ranges.clone(),
        },
        cursor: u32::MAX,
        new_uids: BTreeMap::new(),
        new_gids: BTreeMap::new(),
        result: Allocation::default(),
    };
    let (users, groups) = with_implicit(definitions);
    let owner = |path: &Option<String>| path.as_ref().and_then(|path| owners.get(path).copied());

    let mut group_items = BTreeMap::new();
    for group in &groups {
        let mut item = Item {
            name: group.name.clone(),
            gid: group.gid,
            owner: owner(&group.owner_of),
            ..Item::default()
        };
        if let Err(problem) = allocator.group(&mut item, true) {
            allocator.result.problems.push(problem);
        }
        group_items.insert(group.name.as_str(), item);
    }
    let mut user_items: BTreeMap<&str, Item> = BTreeMap::new();
    for user in &users {
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
            (None, Some(name)) => group_items.get(name.as_str()).or_else(|| user_items.get(name.as_str())),
            (None, None) => group_items.get(user.name.as_str()),
        };
        let done = match queued.filter(|queued| queued.made_group) {
            Some(queued) => {
                (item.gid, item.strict) = (queued.gid, true);
                allocator.user(&mut item, user)
            }
            None => allocator.group_of(&mut item, user).and_then(|()| allocator.user(&mut item, user)),
        };
        if let Err(problem) = done {
            allocator.result.problems.push(problem);
        }
        user_items.insert(user.name.as_str(), item);
    }
    Ok(allocator.result)
}

/// The users and groups that are asked for, with those that only `m` lines name.
fn with_implicit(definitions: &Definitions) -> (Vec<User>, Vec<Group>) {
    let (mut users, mut groups) = (definitions.users.clone(), definitions.groups.clone());
    for (group, members) in &definitions.members {
        for member in members {
            if !users.iter().any(|user| user.name == *member) {
                users.push(User { name: member.clone(), ..User::default() });
            }
        }
        if !users.iter().any(|user| user.name == *group) && !groups.iter().any(|other| other.name == *group) {
            groups.push(Group { name: group.clone(), ..Group::default() });
        }
    }
    (users, groups)
}

impl Allocator {
    /// The group of a user for whom no other line makes one.
    fn group_of(&mut self, item: &mut Item, user: &User) -> Result<(), String> {
        let Some(name) = &user.group else { return self.group(item, false) };
        let gid = self.groups.by_name.get(name.as_bytes());
        item.gid =
            Some(*gid.ok_or_else(|| format!("user '{}' not made: there is no group '{name}'", item.name))?);
        item.strict = true;
        Ok(())
    }

    /// Finds or makes the group that has the item's name.
    fn group(&mut self, item: &mut Item, explicit: bool) -> Result<(), String> {
        if let Some(gid) = self.groups.by_name.get(item.name.as_bytes()) {
            item.gid = Some(*gid);
            return Ok(());
        }
        if let Some(gid) = item.gid {
            let free = self.gid_is_free(gid, &item.name, false);
            match (item.strict, free) {
                (true, true) => {
                    return Err(format!("user '{}' not made: there is no group with id {gid}", item.name));
                }
                (true, false) => return Ok(()),
                (false, true) => {}
                (false, false) => {
                    self.result
                        .problems
                        .push(format!("group '{}' gets another id: {gid} is taken", item.name));
                    item.gid = None;
                }
            }
        }
        let mut candidates =
            [item.uid, item.owner.map(|owner| owner.gid).filter(|gid| self.suits(*gid))].into_iter();
        let gid = item.gid.or_else(|| {
            candidates.find_map(|gid| gid.filter(|gid| self.gid_is_free(*gid, &item.name, true)))
        });
        let gid = match gid {
            Some(gid) => gid,
            None => self
                .next(|this, gid| this.gid_is_free(gid, &item.name, true))
                .ok_or_else(|| format!("group '{}' not made: no id is free", item.name))?,
        };
        (item.gid, item.made_group) = (Some(gid), true);
        self.new_gids.insert(gid, item.name.clone());
        self.result.groups.push(NewGroup { name: item.name.clone(), gid, explicit });
        Ok(())
    }

    /// Makes the user, unless there is one of its name.
    fn user(&mut self, item: &mut Item, user: &User) -> Result<(), String> {
        if self.users.by_name.contains_key(item.name.as_bytes()) {
            return Ok(());
        }
        if let Some(uid) = item.uid
            && !self.uid_is_free(uid, &item.name, !item.strict)
        {
            self.result.problems.push(format!("user '{}' gets another id: {uid} is taken", item.name));
            item.uid = None;
        }
        let mut candidates =
            [item.owner.map(|owner| owner.uid).filter(|uid| self.suits(*uid)), item.gid].into_iter();
        let uid = item.uid.or_else(|| {
            candidates.find_map(|uid| uid.filter(|uid| self.uid_is_free(*uid, &item.name, true)))
        });
        let uid = match uid {
            Some(uid) => uid,
            None => self
                .next(|this, uid| this.uid_is_free(uid, &item.name, true))
                .ok_or_else(|| format!("user '{}' not made: no id is free", item.name))?,
        };
        item.uid = Some(uid);
        self.new_uids.insert(uid, item.name.clone());
        self.result.users.push(NewUser { user: user.clone(), uid, gid: item.gid.unwrap_or(uid) });
        Ok(())
    }

    /// Whether a file's owner may become a system user's id: nobody gets root's.
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

    /// Whether no group has this id and, if `mind_users`, no user of another name.
    fn gid_is_free(&self, gid: u32, name: &str, mind_users: bool) -> bool {
        let other = |user: &[u8]| mind_users && user != name.as_bytes();
        !self.new_gids.contains_key(&gid)
            && !self.groups.by_id.contains_key(&gid)
            && !self.new_uids.get(&gid).is_some_and(|user| other(user.as_bytes()))
            && !self.users.by_id.get(&gid).is_some_and(|user| other(user))
    }

    /// Whether no user has this id and, if `mind_groups`, no group of another name.
    fn uid_is_free(&self, uid: u32, name: &str, mind_groups: bool) -> bool {
        let other = |group: &[u8]| mind_groups && group != name.as_bytes();
        !self.new_uids.contains_key(&uid)
            && !self.users.by_id.contains_key(&uid)
            && !self.new_gids.get(&uid).is_some_and(|group| other(group.as_bytes()))
            && !self.groups.by_id.get(&uid).is_some_and(|group| other(group))
    }
}
