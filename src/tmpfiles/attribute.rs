//! File attributes of `h` and `H` lines (tmpfiles.d(5); chattr(1); values of linux/fs.h).

/// The letters of chattr(1) that systemd knows, with their flags.
const FLAGS: [(u8, u32); 15] = [
    (b'A', 0x80),        // FS_NOATIME_FL
    (b'S', 0x08),        // FS_SYNC_FL
    (b'D', 0x1_0000),    // FS_DIRSYNC_FL
    (b'a', 0x20),        // FS_APPEND_FL
    (b'c', 0x04),        // FS_COMPR_FL
    (b'd', 0x40),        // FS_NODUMP_FL
    (b'e', 0x8_0000),    // FS_EXTENT_FL
    (b'i', 0x10),        // FS_IMMUTABLE_FL
    (b'j', 0x4000),      // FS_JOURNAL_DATA_FL
    (b's', 0x01),        // FS_SECRM_FL
    (b'u', 0x02),        // FS_UNRM_FL
    (b't', 0x8000),      // FS_NOTAIL_FL
    (b'T', 0x2_0000),    // FS_TOPDIR_FL
    (b'C', 0x80_0000),   // FS_NOCOW_FL
    (b'P', 0x2000_0000), // FS_PROJINHERIT_FL
];

/// The flag that only directories can have (`FS_DIRSYNC_FL`).
pub const DIRECTORY_ONLY: u32 = 0x1_0000;

/// Flags to be set and cleared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attributes {
    /// The flags that are set; a part of `mask`.
    pub value: u32,
    /// The flags that are changed; the others stay.
    pub mask: u32,
}

/// The reason why an argument is not valid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttributesError {
    /// `+` or `-` without letters.
    Missing,
    /// There is no such attribute.
    Unknown(char),
}

impl Attributes {
    /// Reads `[+-=]LETTERS`.
    ///
    /// # Errors
    /// Letters are missing or unknown.
    pub fn parse(argument: &[u8]) -> Result<Self, AttributesError> {
        let (operator, letters) = match argument.split_first() {
            Some((operator @ (b'+' | b'-' | b'='), letters)) => (*operator, letters),
            _ => (b'+', argument),
        };
        if letters.is_empty() && operator != b'=' {
            return Err(AttributesError::Missing);
        }
        let mut attributes = Self { value: 0, mask: 0 };
        for letter in letters {
            let flag = FLAGS.iter().find(|(name, _)| name == letter);
            let (_, flag) = flag.ok_or(AttributesError::Unknown(char::from(*letter)))?;
            attributes.mask |= flag;
            if operator != b'-' {
                attributes.value |= flag;
            }
        }
        if operator == b'=' {
            attributes.mask = FLAGS.iter().fold(0, |all, (_, flag)| all | flag);
        }
        Ok(attributes)
    }

    /// The new flags of a file with the flags `old`.
    pub fn applied_to(self, old: u32, is_directory: bool) -> u32 {
        let value = if is_directory { self.value } else { self.value & !DIRECTORY_ONLY };
        (old & !self.mask) | (value & self.mask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_and_letters() {
        for (argument, expected) in [
            ("+C", Ok((0x80_0000, 0x80_0000))),
            ("C", Ok((0x80_0000, 0x80_0000))),
            ("-iC", Ok((0, 0x80_0010))),
            ("=A", Ok((0x80, 0x208b_c0ff))),
            ("=", Ok((0, 0x208b_c0ff))),
            ("+", Err(AttributesError::Missing)),
            ("", Err(AttributesError::Missing)),
            ("-Cx", Err(AttributesError::Unknown('x'))),
        ] {
            let parsed = Attributes::parse(argument.as_bytes()).map(|flags| (flags.value, flags.mask));
            assert_eq!(parsed, expected, "{argument}");
        }
    }

    #[test]
    fn what_is_not_named_stays() {
        let flags = Attributes::parse(b"-i").unwrap();
        assert_eq!(flags.applied_to(0x8_0010, false), 0x8_0000);
        let flags = Attributes::parse(b"+Da").unwrap();
        assert_eq!((flags.applied_to(0, true), flags.applied_to(0, false)), (0x1_0020, 0x20));
    }
}
