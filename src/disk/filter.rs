//! The labels that partitions must have to be found by their type: `systemd.image_filter=`.
//!
//! Source: systemd.image-filter(7), of systemd 258 and later. `DESIGNATOR=PATTERN[:...]`; a partition whose label does not match
//! the pattern of its designator is invisible. One whose designator has no pattern is not filtered.

use core::fmt;
use std::prelude::v1::*;

use super::types::Role;
use crate::glob::{self, Flags};

/// The designators of the Discoverable Partitions Specification, as systemd names them.
const DESIGNATORS: [&str; 13] = [
    "root",
    "usr",
    "home",
    "srv",
    "esp",
    "xbootldr",
    "swap",
    "root-verity",
    "root-verity-sig",
    "usr-verity",
    "usr-verity-sig",
    "tmp",
    "var",
];

/// The patterns of labels, by designator: a checked text of rules.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Filter(String);

/// The reason why a filter is invalid.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FilterError {
    /// A rule without `=`.
    NoPattern(String),
    /// Not a designator.
    Unknown(String),
    /// Two rules for the same designator.
    Twice(String),
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPattern(rule) => write!(f, "rule \"{rule}\" has no =; write DESIGNATOR=PATTERN"),
            Self::Unknown(name) => {
                write!(f, "\"{name}\" is not the name of partitions; known are {}", DESIGNATORS.join(", "))
            }
            Self::Twice(name) => write!(f, "{name} is given twice"),
        }
    }
}

impl core::error::Error for FilterError {}

impl Filter {
    /// No filter.
    pub const ALL: &Self = &Self(String::new());

    /// Reads a filter. The empty text lets every partition pass.
    ///
    /// # Errors
    /// See [`FilterError`].
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let rules = || text.split(':').filter(|_| !text.is_empty());
        for (index, rule) in rules().enumerate() {
            let (name, _) = rule.split_once('=').ok_or_else(|| FilterError::NoPattern(rule.into()))?;
            if !DESIGNATORS.contains(&name) {
                return Err(FilterError::Unknown(name.into()));
            }
            if rules().take(index).any(|earlier| earlier.split('=').next() == Some(name)) {
                return Err(FilterError::Twice(name.into()));
            }
        }
        Ok(Self(text.into()))
    }

    /// The pattern for partitions of this role; None when they are not filtered.
    pub fn pattern(&self, role: Role) -> Option<&str> {
        let (prefix, suffix) = role.affixes();
        let mut rules = self.0.split(':').filter_map(|rule| rule.split_once('='));
        rules.find(|(name, _)| name.strip_prefix(prefix) == Some(suffix)).map(|(_, pattern)| pattern)
    }

    /// True when a partition of this role with this label is visible.
    pub fn passes(&self, role: Role, label: &str) -> bool {
        let matches = |pattern: &str| glob::matches(pattern.as_bytes(), label.as_bytes(), Flags::NONE);
        self.pattern(role).is_none_or(matches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The word on ParticleOS's command line.
    const PARTICLEOS: &str = "usr=ParticleOS_*:usr-verity=ParticleOS_*:usr-verity-sig=ParticleOS_*:\
                              root=ParticleOS-*:swap=ParticleOS-*:home=ParticleOS-*";

    #[test]
    fn labels_pass_by_the_pattern_of_their_designator() {
        for (filter, role, label, expected) in [
            (PARTICLEOS, Role::Usr, "ParticleOS_47110815", true),
            (PARTICLEOS, Role::Usr, "ParticleOS-root", false),
            (PARTICLEOS, Role::Usr, "", false),
            (PARTICLEOS, Role::UsrVerity, "ParticleOS_47110815", true),
            (PARTICLEOS, Role::Root, "ParticleOS-3f2a", true),
            (PARTICLEOS, Role::Root, "other", false),
            ("usr=a?c", Role::Usr, "abc", true),
            ("usr=[!a]*", Role::Usr, "abc", false),
            ("usr=ParticleOS_47110815", Role::Usr, "ParticleOS_47110815", true),
            ("usr=", Role::Usr, "", true),
            ("usr=", Role::Usr, "x", false),
            ("usr=x=y", Role::Usr, "x=y", true),
            ("root=x", Role::Usr, "anything", true),
            ("", Role::Root, "anything", true),
        ] {
            assert_eq!(
                Filter::parse(filter).unwrap().passes(role, label),
                expected,
                "{filter} {role:?} {label}"
            );
        }
    }

    #[test]
    fn what_is_not_understood_refuses() {
        for (text, error) in [
            ("usr", FilterError::NoPattern("usr".into())),
            ("usr=a:", FilterError::NoPattern("".into())),
            ("user=a", FilterError::Unknown("user".into())),
            ("=a", FilterError::Unknown("".into())),
            ("usr=a:usr=b", FilterError::Twice("usr".into())),
        ] {
            assert_eq!(Filter::parse(text), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in any::<String>(), label in any::<String>()) {
            if let Ok(filter) = Filter::parse(&text) {
                let _ = filter.passes(Role::Usr, &label);
            }
        }
    }
}
