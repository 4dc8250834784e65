//! Specifiers of tmpfiles.d(5): those of [`Facts`], and directories and the user on top.

use std::prelude::v1::*;

use crate::fragments::facts::{ExpandError, Facts, expand};

/// The longest path or argument after its specifiers were replaced (`PATH_MAX` - 1).
const MAX_PATH: usize = 4095;
/// Extended attributes may be longer (systemd sets no bound; the kernel's is 64 KiB).
const MAX_XATTR: usize = 64 << 10;

/// The values of specifiers. A value of None is not known, and a line that asks for it is passed over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Specifiers {
    /// The facts that sysusers.d uses as well.
    pub facts: Facts,
    /// `%C`
    pub cache: Option<String>,
    /// `%g`
    pub group: Option<String>,
    /// `%G`
    pub gid: u32,
    /// `%h`
    pub home: Option<String>,
    /// `%L`
    pub logs: Option<String>,
    /// `%S`
    pub state: Option<String>,
    /// `%t`
    pub runtime: Option<String>,
    /// `%T`
    pub temporary: String,
    /// `%u`
    pub user: Option<String>,
    /// `%U`
    pub uid: u32,
    /// `%V`
    pub large_temporary: String,
}

impl Specifiers {
    /// Those of the system, not of a user's session.
    pub fn of_system(facts: Facts) -> Self {
        let path = |path: &str| Some(path.to_owned());
        Self {
            facts,
            cache: path("/var/cache"),
            group: path("root"),
            gid: 0,
            home: path("/root"),
            logs: path("/var/log"),
            state: path("/var/lib"),
            runtime: path("/run"),
            temporary: "/tmp".to_owned(),
            user: path("root"),
            uid: 0,
            large_temporary: "/var/tmp".to_owned(),
        }
    }

    /// Replaces the specifiers in a path or an argument.
    ///
    /// # Errors
    /// An unknown specifier, one without a value, a result that is longer than a path may be.
    pub fn expand(&self, text: &[u8]) -> Result<Vec<u8>, ExpandError> {
        self.expand_to(text, MAX_PATH)
    }

    /// Replaces the specifiers in the name or the value of an extended attribute.
    ///
    /// # Errors
    /// As [`Specifiers::expand`].
    pub fn expand_xattr(&self, text: &[u8]) -> Result<Vec<u8>, ExpandError> {
        self.expand_to(text, MAX_XATTR)
    }

    fn expand_to(&self, text: &[u8], limit: usize) -> Result<Vec<u8>, ExpandError> {
        let (uid, gid) = (self.uid.to_string(), self.gid.to_string());
        expand(text, limit, &|letter| {
            match letter {
                'C' => self.cache.as_deref(),
                'g' => self.group.as_deref(),
                'G' => Some(gid.as_str()),
                'h' => self.home.as_deref(),
                'L' => self.logs.as_deref(),
                'S' => self.state.as_deref(),
                't' => self.runtime.as_deref(),
                'T' => Some(self.temporary.as_str()),
                'u' => self.user.as_deref(),
                'U' => Some(uid.as_str()),
                'V' => Some(self.large_temporary.as_str()),
                letter => return self.facts.value(letter),
            }
            .ok_or(ExpandError::Unavailable(letter))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_and_the_user() {
        let specifiers = Specifiers { home: None, uid: 7, ..Specifiers::of_system(Facts::default()) };
        let expanded = specifiers.expand(b"%C:%L:%S:%t:%T:%V:%u:%U:%g:%G").unwrap();
        assert_eq!(expanded, b"/var/cache:/var/log:/var/lib:/run:/tmp:/var/tmp:root:7:root:0");
        assert_eq!(specifiers.expand(b"%h"), Err(ExpandError::Unavailable('h')));
        assert_eq!(specifiers.expand(b"%m"), Err(ExpandError::Unavailable('m')));
        assert_eq!(specifiers.expand(b"%Y"), Err(ExpandError::Unknown('Y')));
    }
}
