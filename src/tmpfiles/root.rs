//! The facts of the root that lines ask for while they are read: users and groups by name, copy sources, credentials.

use std::cell::OnceCell;

use super::{acl::Names, line::Surroundings};
use crate::{
    map::Map,
    sysusers::Credentials,
    tree::{
        Last, Tree,
        read::{self, Limit},
    },
};

/// The largest user database that is read.
const MAX_SIZE: Limit = Limit::mebibytes(4);

/// Names and their ids.
type Ids = Map<u32>;

/// A root, and the credentials of the machine.
pub struct Root<'a> {
    tree: Tree<'a>,
    credentials: &'a dyn Credentials,
    users: OnceCell<Ids>,
    groups: OnceCell<Ids>,
}

impl<'a> Root<'a> {
    /// Looks at this root; the user databases are read when the first name is asked for.
    pub fn new(tree: Tree<'a>, credentials: &'a dyn Credentials) -> Self {
        Self { tree, credentials, users: OnceCell::new(), groups: OnceCell::new() }
    }

    /// The entries of a database in /etc, and of the one in /usr/lib that some distributions keep. The first of a name counts.
    fn ids(&self, file: &str) -> Ids {
        let mut ids = Ids::new();
        for directory in ["/etc", "/usr/lib"] {
            let path = format!("{directory}/{file}");
            // A root without users is not a mistake; a line that needs one will say so.
            let Ok(file) = self.tree.open_read(&path) else { continue };
            let Ok(content) = read::whole(file, MAX_SIZE) else { continue };
            for line in content.split(|&byte| byte == b'\n') {
                let mut fields = line.trim_ascii_start().split(|&byte| byte == b':');
                let (Some(name), Some(id)) = (fields.next(), fields.nth(1)) else { continue };
                if let Some(id) = core::str::from_utf8(id).ok().and_then(|id| id.parse().ok()) {
                    ids.insert_new(name, id);
                }
            }
        }
        ids
    }
}

impl Names for Root<'_> {
    fn user(&self, name: &[u8]) -> Option<u32> {
        if name == b"root" {
            return Some(0);
        }
        self.users.get_or_init(|| self.ids("passwd")).get(name).copied()
    }

    fn group(&self, name: &[u8]) -> Option<u32> {
        if name == b"root" {
            return Some(0);
        }
        self.groups.get_or_init(|| self.ids("group")).get(name).copied()
    }
}

impl Surroundings for Root<'_> {
    fn exists(&self, path: &[u8]) -> bool {
        self.tree.walk(path, Last::Kept, &mut ()).is_ok()
    }

    fn credential(&self, name: &str) -> Option<Vec<u8>> {
        self.credentials.get(name).map(<[u8]>::to_vec)
    }
}
