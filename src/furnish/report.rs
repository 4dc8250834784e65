//! The report of the changes to a root: counts, deviations from the factory, messages.

use core::fmt;
use std::fmt::Write as _;

use crate::{
    etc::{self, EtcError, Plan, Strategy, factory, follow::Updated, store},
    level::Level,
    sysusers::SysusersError,
};

/// The report of [`super::create`] or [`super::follow()`]. After an error it has the results before it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// The copy of the factory.
    pub copied: factory::Report,
    /// Changes of /etc that brought it to the new factory.
    pub changes: usize,
    /// Users and groups that were added.
    pub users: usize,
    /// The entries that do not follow the factory: those that could not first, then the others by path.
    pub deviations: Vec<Deviation>,
    /// Paths that an update may have made, each with all that is below it: they have no SELinux label yet.
    pub unlabelled: Vec<String>,
    /// The messages, in order.
    pub messages: Vec<(Level, String)>,
}

impl Report {
    /// Adds messages.
    pub(super) fn say(&mut self, level: Level, messages: impl IntoIterator<Item: fmt::Display>) {
        self.messages.extend(messages.into_iter().map(|message| (level, message.to_string())));
    }

    /// Adds the changes of an update.
    pub(super) fn updated(&mut self, updated: &Updated, strategy: Strategy) {
        let plan = &updated.plan;
        self.changes = plan.steps.len();
        self.unlabelled = unlabelled(plan, strategy);
        if let Some(error) = &updated.stays {
            self.deviations = vec![Deviation { path: Vec::new(), why: Why::Failed(error.clone()) }];
            return;
        }
        let files = plan
            .deviations
            .iter()
            .map(|(path, why)| Deviation { path: path.clone(), why: Why::Factory(why.clone()) });
        let users = plan.kept_users.iter().map(|kept| Deviation {
            path: kept.file.as_bytes().to_vec(),
            why: Why::User { name: kept.name.clone(), why: kept.why },
        });
        let failed = updated
            .failed
            .iter()
            .map(|(path, error)| Deviation { path: path.clone(), why: Why::Failed(error.clone()) });
        // Only the first of many get into the log.
        self.deviations = failed.chain(files).chain(users).collect();
    }

    /// Adds a user database that users could not be added to. One line for its path is enough.
    pub(super) fn lacks_users(&mut self, error: SysusersError) {
        let path = match &error {
            SysusersError::Call { path, .. } => path.strip_prefix("/etc/").unwrap_or_default(),
            SysusersError::Database(_) => "gshadow",
        };
        // The new file is made under a hidden name beside the database.
        let name = path.strip_prefix(".#").and_then(|path| path.strip_suffix(".hermetic")).unwrap_or(path);
        let path = name.as_bytes().to_vec();
        let is_known =
            |deviation: &Deviation| deviation.path == path && matches!(deviation.why, Why::Failed(_));
        if !self.deviations.iter().any(is_known) {
            self.deviations
                .retain(|deviation| deviation.path != path || !matches!(deviation.why, Why::Factory(_)));
            let failures = self.deviations.iter().take_while(|deviation| deviation.is_failure()).count();
            self.deviations.insert(failures, Deviation { path, why: Why::Users(error) });
        }
    }
}

/// Something in /etc that does not follow the factory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Deviation {
    /// Its path below /etc.
    pub path: Vec<u8>,
    /// The reason.
    pub why: Why,
}

impl Deviation {
    /// Returns true when it could not be done, and is tried again.
    pub fn is_failure(&self) -> bool {
        matches!(self.why, Why::Failed(_) | Why::Users(_))
    }
}

/// The reason why something does not follow the factory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Why {
    /// The file was changed, or is in the way.
    Factory(etc::Deviation),
    /// An entry of a user database was changed, or is in the way.
    User {
        /// The entry's name.
        name: Vec<u8>,
        /// The reason.
        why: etc::users::Why,
    },
    /// It could not be done, and is tried again at the next boot.
    Failed(EtcError),
    /// Users could not be added to this database; likewise.
    Users(SysusersError),
}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_slice() {
            b"" => f.write_str("/etc: ")?,
            path => write!(f, "/etc/{}: ", printable(path))?,
        }
        f.write_str(match &self.why {
            Why::User { name, why } => return write!(f, "{} {}", printable(name), why.text()),
            Why::Failed(error) => {
                return write!(f, "stays for this boot: {}", printable(error.to_string().as_bytes()));
            }
            Why::Users(error) => return write!(f, "has no new users for this boot: {error}"),
            Why::Factory(etc::Deviation::Beside(beside)) => {
                return write!(f, "conflict, stays; that of /usr is /etc/{}", printable(beside));
            }
            Why::Factory(etc::Deviation::Changed) => "changed here, stays",
            Why::Factory(etc::Deviation::ChangedOnBothSides) => "changed here and in /usr, stays",
            Why::Factory(etc::Deviation::ChangedAndDropped) => "changed here, /usr has none any more, stays",
            Why::Factory(etc::Deviation::Removed) => "removed here, stays removed",
            Why::Factory(etc::Deviation::Occupied) => "new in /usr, but there is one here, which stays",
        })
    }
}

/// A path as one printable word of a line.
fn printable(path: &[u8]) -> String {
    path.iter().fold(String::new(), |mut text, &byte| {
        match byte {
            b' '..=b'~' if byte != b'\\' => text.push(char::from(byte)),
            // Writing to a String cannot fail.
            _ => drop(write!(text, "\\x{byte:02x}")),
        }
        text
    })
}

/// Paths that an update may have made.
fn unlabelled(plan: &Plan, strategy: Strategy) -> Vec<String> {
    let ours = format!("/{}", store::DIRECTORY);
    if strategy == Strategy::Symlink {
        // Entries that tmpfiles.d made there are in no plan.
        return vec!["/etc".to_owned(), ours];
    }
    let mut paths = vec![ours];
    // The user databases may have been written by sysusers.d as well.
    for (name, _) in etc::manifest::DATABASES {
        paths.extend([format!("/etc/{name}"), format!("/etc/{name}-")]);
    }
    for step in &plan.steps {
        if let etc::Step::Put { path, .. } | etc::Step::Adjust { path, .. } = step
            && let Ok(path) = core::str::from_utf8(path)
            && !path.contains('\n')
        {
            paths.push(format!("/etc/{path}"));
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_of_a_line() {
        assert_eq!(printable(b"a b\n\\\xff"), "a b\\x0a\\x5c\\xff");
        let error = EtcError::NotADirectory { path: "/etc/a\nb".to_owned() };
        let line = Deviation { path: b"a\nb".to_vec(), why: Why::Failed(error) }.to_string();
        assert!(line.starts_with("/etc/a\\x0ab: stays for this boot: /etc/a\\x0ab of"), "{line}");
    }
}
