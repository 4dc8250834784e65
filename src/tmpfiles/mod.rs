//! Files and directories by tmpfiles.d: definitions → order → apply.
//!
//! Does what systemd-tmpfiles 257 does with `--create` and `--remove` (tmpfiles.d(5), systemd-tmpfiles(8)), with its
//! words. The tests run both over the same trees and compare. Nothing is cleaned up by age and nothing is purged; such
//! fields are checked only.
//!
//! Intended differences: every path is looked up inside the root, link by link, and never through a directory that a
//! user other than root could have put there (the tool makes missing parents, globs and removes through any links, out
//! of `--root=` too); names in access control lists are those of the root, not of the host; `%S %C %L %t` are paths of
//! the root (the tool puts the root before them twice); and there is no NSS: users and groups are those of /etc and
//! /usr/lib.
//!
//! | module | content |
//! |---|---|
//! | [`kind`] | types of lines |
//! | [`line`](mod@line) | one line → [`Item`] |
//! | [`item`] | the entry at a path |
//! | [`specifier`], [`age`], [`acl`], [`attribute`], [`path`] | the columns of a line |
//! | [`definition`] | all lines → operations in order |
//! | [`log`] | messages |
//! | [`root`] | facts of the root: users, groups, sources, credentials (std) |
//! | [`mod@run`] | reads the files that count and carries them out (std) |
//! | [`apply`] | carries one item out (std) |

pub mod acl;
pub mod age;
pub mod attribute;
pub mod definition;
pub mod item;
pub mod kind;
pub mod line;
pub mod log;
pub mod path;
pub mod specifier;

#[cfg(feature = "std")]
pub mod apply;
#[cfg(feature = "std")]
mod request;
#[cfg(feature = "std")]
pub mod root;
#[cfg(feature = "std")]
pub mod run;

pub use definition::{Definitions, Operation};
pub use item::Item;
pub use kind::Kind;
pub use line::{Context, Selection};
pub use log::Log;
#[cfg(feature = "std")]
pub use request::Request;
#[cfg(feature = "std")]
pub use run::run;
pub use specifier::Specifiers;
