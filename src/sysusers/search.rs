//! The search path of sysusers.d, and what may stand in for one of its files.

use super::SysusersError;
use crate::{
    etc::tree::Tree,
    fragments::search::{Found, SearchError, find},
};

/// Where definitions lie, the strongest first: a file hides those of its name in the directories after it.
pub const DIRECTORIES: [&str; 4] =
    ["/etc/sysusers.d", "/run/sysusers.d", "/usr/local/lib/sysusers.d", "/usr/lib/sysusers.d"];

/// Every `*.conf` of the search path that no stronger one of its name hides, in the order of their names.
///
/// # Errors
/// A directory of the search path that exists and cannot be read.
pub fn list(tree: &Tree<'_>) -> Result<Vec<Found>, SysusersError> {
    Ok(find(tree, "sysusers.d")?)
}

/// Puts a path, there or not, where its name and directory have it (`--replace=`): it takes the place of a weaker file of its name, and
/// has none beside a stronger one.
pub fn insert(files: &mut Vec<Found>, path: &str) {
    let at = files.partition_point(|found| name(&found.path) < name(path));
    match files.get_mut(at).filter(|found| name(&found.path) == name(path)) {
        Some(found) if rank(&found.path) <= rank(path) => {}
        Some(found) => *found = Found::at(path),
        None => files.insert(at, Found::at(path)),
    }
}

fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// The place of a file's directory in [`DIRECTORIES`], or the number of these.
fn rank(path: &str) -> usize {
    let below = |directory: &&str| path.strip_prefix(*directory).is_some_and(|rest| rest.starts_with('/'));
    DIRECTORIES.iter().position(below).unwrap_or(DIRECTORIES.len())
}

impl From<SearchError> for SysusersError {
    fn from(SearchError { step, path, errno }: SearchError) -> Self {
        Self::Call { step, path, errno }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_put_where_its_name_has_it() {
        let listed = |paths: &[&str], new: &str| {
            let mut files: Vec<Found> = Vec::new();
            for path in paths {
                insert(&mut files, path);
            }
            insert(&mut files, new);
            files.into_iter().map(|found| found.path).collect::<Vec<_>>()
        };
        let (etc, run, lib) =
            ("/etc/sysusers.d/b.conf", "/run/sysusers.d/b.conf", "/usr/lib/sysusers.d/b.conf");
        for (paths, new, all) in [
            (&[][..], etc, &[etc][..]),
            (
                &["/etc/sysusers.d/a.conf", "/run/sysusers.d/c.conf"],
                lib,
                &["/etc/sysusers.d/a.conf", lib, "/run/sysusers.d/c.conf"],
            ),
            (&[lib], etc, &[etc]),
            (&[etc], run, &[etc]),
            (&[etc], etc, &[etc]),
            (&[lib], "/else/b.conf", &[lib]),
        ] {
            assert_eq!(listed(paths, new), all, "{paths:?} {new}");
        }
    }
}
