//! The files of sysusers.d.

use super::SysusersError;
use crate::{
    fragments::search::{Found, find},
    tree::Tree,
};

/// Every `*.conf` of the search path that no stronger one of its name hides, in the order of their names.
///
/// # Errors
/// A directory of the search path that exists and cannot be read.
pub fn list(tree: &Tree<'_>) -> Result<Vec<Found>, SysusersError> {
    Ok(find(tree, "sysusers.d")?)
}
