//! The strategy for each path: `hermetic.etc=` for all of /etc, and the exceptions in
//! `/usr/lib/hermetic-init/etc.conf`.
//!
//! The format of that file: docs/reference/formats.md, "The exceptions of /etc".

use core::fmt;
use std::prelude::v1::*;

use super::entry::{ancestry, is_path};
pub use crate::config::Strategy;
use crate::glob::{self, Flags};

/// Files that belong to the machine and not to its image: an image that has them all the same does not give them. The
/// machine id is systemd's (machine-id(5)), the stamp `systemd-update-done`'s, the lock lckpwdf(3)'s; `initrd-release`
/// would make systemd believe that the root is an initramfs.
const OF_THE_MACHINE: [&[u8]; 4] = [b"machine-id", b".updated", b".pwd.lock", b"initrd-release"];

/// The suffix of a file that is put beside the root's own.
pub const BESIDE: &[u8] = b".hermetic-new";

/// The strategy for every path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rules {
    default: Strategy,
    exceptions: Vec<(Vec<u8>, Strategy)>,
    free: Vec<Vec<u8>>,
}

/// A line of etc.conf that is passed over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RuleError {
    /// The line, from 1.
    pub line: usize,
    /// The fault.
    pub reason: &'static str,
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/usr/{CONF}:{}: {}; ignored", self.line, self.reason)
    }
}

/// The file of exceptions, as seen from /usr.
pub const CONF: &str = "lib/hermetic-init/etc.conf";

impl Rules {
    /// This strategy for all paths.
    pub fn new(default: Strategy) -> Self {
        Self { default, exceptions: Vec::new(), free: Vec::new() }
    }

    /// The strategy where no exception says otherwise.
    pub fn default(&self) -> Strategy {
        self.default
    }

    /// Adds the exceptions of an etc.conf; lines that say nothing come back.
    pub fn read(&mut self, text: &[u8]) -> Vec<RuleError> {
        let mut errors = Vec::new();
        for (number, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            match exception(line) {
                Ok(exception) => self.exceptions.push(exception),
                Err(reason) => errors.push(RuleError { line: number + 1, reason }),
            }
        }
        errors
    }

    /// Makes this path below /etc a link, unless etc.conf says otherwise. A name with a wildcard stays what it is.
    pub fn link(&mut self, path: &[u8]) {
        if is_path(path) && !path.iter().any(|byte| b"*?".contains(byte)) {
            self.exceptions.insert(0, (path.to_vec(), Strategy::Symlink));
        }
    }

    /// Leaves this path below /etc free, whatever etc.conf says.
    pub fn free(&mut self, path: &[u8]) {
        self.exceptions.push((path.to_vec(), Strategy::None));
        self.free.push(path.to_vec());
    }

    /// Returns true when a path was left free.
    pub(super) fn leaves_some_free(&self) -> bool {
        !self.free.is_empty()
    }

    /// Returns true for a path that was left free.
    pub(super) fn is_free(&self, path: &[u8]) -> bool {
        self.free.iter().any(|free| free == path)
    }

    /// The strategy for a path of the factory: as [`Rules::strategy`], but a name that is reserved for entries beside
    /// the root's cannot come from the factory.
    pub fn of_factory(&self, path: &[u8]) -> Strategy {
        if is_beside(path) { Strategy::None } else { self.strategy(path) }
    }

    /// The strategy for a path below /etc. Paths below one that is linked or left out have no strategy of their own:
    /// they are not asked for.
    pub fn strategy(&self, path: &[u8]) -> Strategy {
        if OF_THE_MACHINE.contains(&path) {
            return Strategy::None;
        }
        let named =
            |pattern: &[u8]| ancestry(path).any(|path| glob::matches(pattern, path, Flags::PLAIN_PATH));
        match self.exceptions.iter().rev().find(|(pattern, _)| named(pattern)) {
            Some((_, strategy)) => *strategy,
            // tmpfiles.d says which links there are; those of whole directories would make /etc read-only.
            None if self.default == Strategy::Symlink => Strategy::None,
            None => self.default,
        }
    }
}

/// Returns true when this stands beside one of the root's files, or below such an entry.
pub(super) fn is_beside(path: &[u8]) -> bool {
    path.split(|&byte| byte == b'/').any(|name| name.ends_with(BESIDE))
}

fn exception(line: &[u8]) -> Result<(Vec<u8>, Strategy), &'static str> {
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let (pattern, strategy) = match (words.next(), words.next(), words.next()) {
        (Some(pattern), Some(strategy), None) => (pattern, strategy),
        _ => return Err("is not PATTERN STRATEGY"),
    };
    let pattern = pattern.strip_prefix(b"/etc/").ok_or("the pattern is not below /etc/")?;
    let pattern = pattern.strip_suffix(b"/").unwrap_or(pattern);
    if !is_path(pattern) {
        return Err("the pattern is not a path without . and ..");
    }
    let strategy = core::str::from_utf8(strategy).ok().and_then(Strategy::parse);
    Ok((pattern.to_vec(), strategy.ok_or("the strategy is none of track, copy, symlink, none")?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    // proptest has a trait of that name.
    use super::{Strategy, *};

    #[test]
    fn the_last_line_that_names_a_path_decides() {
        let mut rules = Rules::new(Strategy::Track);
        let errors = rules.read(
            b"# a comment\n\n/etc/cups copy\n/etc/fonts/*.d\tsymlink\n  /etc/*.sample none \n/etc/cups/keep/ track\n",
        );
        assert_eq!(errors, []);
        for (path, strategy) in [
            ("cups", Strategy::Copy),
            ("cups/cupsd.conf", Strategy::Copy),
            ("cups/keep", Strategy::Track),
            ("cups/keep/x", Strategy::Track),
            ("cupsd", Strategy::Track),
            ("fonts/conf.d", Strategy::Symlink),
            ("fonts/conf.d/10", Strategy::Symlink),
            ("fonts/x/conf.d", Strategy::Track),
            ("a.sample", Strategy::None),
            ("x/a.sample", Strategy::Track),
            ("machine-id", Strategy::None),
            ("x/machine-id", Strategy::Track),
        ] {
            assert_eq!(rules.strategy(path.as_bytes()), strategy, "{path}");
            assert_eq!(rules.of_factory(path.as_bytes()), strategy, "{path}");
        }
        // Names that are reserved for entries beside the root's.
        assert_eq!(rules.strategy(b"b.hermetic-new/x"), Strategy::Track);
        assert_eq!(rules.of_factory(b"b.hermetic-new/x"), Strategy::None);
    }

    #[test]
    fn lines_that_say_nothing_are_reported() {
        let mut rules = Rules::new(Strategy::Copy);
        let errors =
            rules.read(b"/etc/a\n/etc/a sometimes\n/usr/a copy\n/etc/../a copy\n/etc/a copy now\n/etc/ none");
        assert_eq!(errors.iter().map(|error| error.line).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
        assert_eq!(rules, Rules::new(Strategy::Copy));
        assert_eq!(
            errors[1].to_string(),
            "/usr/lib/hermetic-init/etc.conf:2: the strategy is none of track, copy, symlink, none; ignored"
        );
    }

    proptest! {
        #[test]
        fn any_text_is_rules_or_errors(text: Vec<u8>, path: Vec<u8>) {
            let mut rules = Rules::new(Strategy::Track);
            let lines = text.split(|&byte| byte == b'\n').count();
            prop_assert!(rules.read(&text).len() <= lines);
            rules.strategy(&path);
        }
    }
}
