//! Reading the files of sysusers.d that count.

use super::{Definitions, Facts, LineError, SysusersError};
use crate::{
    etc::tree::Tree,
    fragments::search::{SearchError, find},
};

/// Reads every `*.conf` of the search path, in the order of their names. Unreadable files are reported on
/// [`Definitions::errors`], as line 0.
///
/// # Errors
/// A directory of the search path that exists and cannot be read.
pub fn read(tree: &Tree<'_>, facts: &Facts) -> Result<Definitions, SysusersError> {
    let mut definitions = Definitions::new();
    for file in find(tree, "sysusers.d")? {
        match file.read(tree) {
            Ok(Some(content)) => definitions.parse(&file.path, &content, facts),
            Ok(None) => {}
            Err(errno) => definitions.errors.push(LineError {
                file: file.path,
                line: 0,
                message: format!("cannot be read: {errno}"),
            }),
        }
    }
    Ok(definitions)
}

impl From<SearchError> for SysusersError {
    fn from(SearchError { step, path, errno }: SearchError) -> Self {
        Self::Call { step, path, errno }
    }
}
