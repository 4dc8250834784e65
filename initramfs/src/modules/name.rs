//! A module's name. The kernel, kmod and file names disagree about `-` and `_`; here they are one letter.

use std::fmt;

/// The name of a module, with every `-` written as `_`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ModuleName(String);

impl ModuleName {
    /// The name that `text` spells.
    pub fn new(text: &str) -> Self {
        Self(text.replace('-', "_"))
    }

    /// The name of the module in the file `path`: its last component up to `.ko`, with any suffix of a compression
    /// behind it. None for the path of another file.
    pub fn of_path(path: &str) -> Option<Self> {
        let file = path.rsplit('/').next()?;
        let (stem, rest) = file.split_once(".ko")?;
        (!stem.is_empty() && (rest.is_empty() || rest.starts_with('.'))).then(|| Self::new(stem))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ModuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_paths_whatever_the_compression() {
        for (path, name) in [
            ("kernel/drivers/md/dm-mod.ko", Some("dm_mod")),
            ("kernel/drivers/md/dm-mod.ko.xz", Some("dm_mod")),
            ("aesni-intel.ko.zst", Some("aesni_intel")),
            ("a.b.ko.gz", Some("a.b")),
            ("kernel/.ko", None),
            ("kernel/x.kow", None),
            ("kernel/x.o", None),
            ("", None),
        ] {
            assert_eq!(ModuleName::of_path(path), name.map(ModuleName::new), "{path}");
        }
    }
}
