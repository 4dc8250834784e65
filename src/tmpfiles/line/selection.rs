//! The choice of lines that count, and the facts that are looked up while they are read.

use std::prelude::v1::*;

use super::super::{acl::Names, kind::Kind, path, specifier::Specifiers};

/// The context in which lines are read.
pub struct Context<'a> {
    /// The values of specifiers.
    pub specifiers: &'a Specifiers,
    /// The facts that are looked up while lines are read.
    pub surroundings: &'a dyn Surroundings,
    /// The choice of lines that count.
    pub selection: &'a Selection,
}

/// The choice of lines that count.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Selection {
    /// Lines with `!` count.
    pub boot: bool,
    /// Lines whose user or group does not exist count without it.
    pub graceful: bool,
    /// If there are any, only lines for paths below one of them count.
    pub prefixes: Vec<Vec<u8>>,
    /// Lines for paths below one of these do not count.
    pub excluded: Vec<Vec<u8>>,
    /// If there are any, only lines of these types count.
    pub kinds: Vec<Kind>,
}

impl Selection {
    /// Returns true when a line is seen at its first letter not to count, so that it need not be read.
    pub(in super::super) fn passes_over(&self, line: &[u8]) -> bool {
        let kind = line.first().and_then(|letter| Kind::from_letter(*letter));
        !self.kinds.is_empty() && kind.is_some_and(|kind| !self.kinds.contains(&kind))
    }

    /// Returns true when lines of this type for this path count.
    pub(super) fn includes(&self, kind: Kind, path: &[u8]) -> bool {
        let below = |prefixes: &[Vec<u8>]| prefixes.iter().any(|prefix| path::starts_with(path, prefix));
        !below(&self.excluded)
            && (self.prefixes.is_empty() || below(&self.prefixes))
            && (self.kinds.is_empty() || self.kinds.contains(&kind))
    }
}

/// The facts that are looked up while lines are read.
pub trait Surroundings: Names {
    /// Returns true when something lies at a path of the root; a link at its end counts as itself.
    fn exists(&self, path: &[u8]) -> bool;

    /// The content of a credential; None for an unknown name.
    fn credential(&self, name: &str) -> Option<Vec<u8>>;
}
