//! System credentials (systemd.system-credentials(7)): names and secrets that firmware, hypervisor and command line give to the
//! machine. Here they are read, not taken away: the real systemd imports its own.
//!
//! Bounds and precedence are systemd's (src/core/import-creds.c): 1 MiB each and all together, and of several with one name the
//! first counts.
//!
//! References: SMBIOS specification (DSP0134) 3.6, section 6.1 and type 11; systemd.system-credentials(7).

use std::prelude::v1::*;

use base64ct::{Base64, Encoding as _};
use zeroize::Zeroize as _;

use super::cmdline::{Word, boolean, words};
use crate::{map::Map, secret::Secret};

/// The largest credential, and the largest sum of all (`CREDENTIAL_SIZE_MAX`, `CREDENTIALS_TOTAL_SIZE_MAX`), in bytes.
pub const MAX_SIZE: usize = 1 << 20;
/// The most credentials that are kept; each has at least a name, which the sum does not count.
const MOST: usize = 4096;
/// The longest name: that of a file and of a descriptor (`NAME_MAX`, `FDNAME_MAX`).
const LONGEST_NAME: usize = 255;

/// Names and secrets.
#[derive(Default)]
pub struct Credentials {
    entries: Map<Secret>,
    total: usize,
    problems: Vec<String>,
}

impl Credentials {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// The credential of this name.
    pub fn get(&self, name: &str) -> Option<&Secret> {
        self.entries.get(name.as_bytes())
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().filter_map(|name| core::str::from_utf8(name).ok())
    }

    /// The credentials that were passed over, one sentence each, without secrets.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// Adds one, unless its name is taken already. A bad name or one credential too many is a problem.
    pub fn add(&mut self, name: &str, value: Secret) {
        let size = value.expose().len();
        if !is_name(name) {
            self.problem("a credential's name is not valid", name);
        } else if size > MAX_SIZE.saturating_sub(self.total) || self.entries.len() >= MOST {
            self.problem("credentials are larger than 1 MiB", name);
        } else if !self.entries.contains_key(name.as_bytes()) {
            self.total += size;
            self.entries.insert(name, value);
        }
    }

    /// Adds those of the kernel command line: `systemd.set_credential=NAME:VALUE`, `systemd.set_credential_binary=NAME:BASE64`.
    pub fn add_command_line(&mut self, text: &str) {
        for word in words(text) {
            let binary = match word.folded().as_str() {
                "systemd.set_credential" => false,
                "systemd.set_credential_binary" => true,
                _ => continue,
            };
            // systemd does not take this word with the prefix `rd.`.
            if word.rd {
                continue;
            }
            match word.value.as_deref().and_then(|value| value.split_once(':')) {
                Some((name, value)) => self.add_text(name, value.as_bytes(), binary),
                None => self.problem("a credential of the command line has no colon", &word.key),
            }
        }
    }

    /// Adds those of the firmware's OEM strings: `io.systemd.credential:NAME=VALUE`,
    /// `io.systemd.credential.binary:NAME=BASE64`. `table` is the table of SMBIOS structures
    /// (`/sys/firmware/dmi/tables/DMI`); reading ends at the first invalid structure.
    pub fn add_smbios(&mut self, table: &[u8]) {
        for strings in oem_strings(table) {
            for string in strings.split(|byte| *byte == 0) {
                let (binary, rest) = if let Some(rest) = string.strip_prefix(b"io.systemd.credential:") {
                    (false, rest)
                } else if let Some(rest) = string.strip_prefix(b"io.systemd.credential.binary:") {
                    (true, rest)
                } else {
                    continue;
                };
                let at = rest.iter().position(|byte| *byte == b'=');
                let parts = at.and_then(|at| Some((rest.get(..at)?, rest.get(at + 1..)?)));
                match parts.and_then(|(name, value)| Some((core::str::from_utf8(name).ok()?, value))) {
                    Some((name, value)) => self.add_text(name, value, binary),
                    None => self.problem("a credential of the firmware has no name or no '='", ""),
                }
            }
        }
    }

    fn add_text(&mut self, name: &str, value: &[u8], binary: bool) {
        if !binary {
            return self.add(name, Secret::new(value.to_vec()));
        }
        let mut text: Vec<u8> = value.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        match core::str::from_utf8(&text).ok().and_then(|text| Base64::decode_vec(text).ok()) {
            Some(bytes) => self.add(name, Secret::new(bytes)),
            None => self.problem("a credential is not base64", name),
        }
        text.zeroize();
    }

    fn problem(&mut self, what: &str, name: &str) {
        // A longer list would not be read.
        if self.problems.len() < 16 {
            let name: String =
                name.chars().filter(|letter| !letter.is_control()).take(LONGEST_NAME).collect();
            self.problems.push(format!("{what}: '{name}' is passed over"));
        }
    }
}

/// Returns true when the command line wants credentials to be imported at all (`systemd.import_credentials=`, yes by
/// default).
pub fn are_wanted(command_line: &str) -> bool {
    let last = words(command_line).filter(|word: &Word| word.folded() == "systemd.import_credentials").last();
    last.is_none_or(|word| word.value.as_deref().is_none_or(|value| boolean(value).unwrap_or(true)))
}

/// Returns true when a credential can have this name: valid as a file's and as a descriptor's.
pub fn is_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
        && name.len() <= LONGEST_NAME
        && name.bytes().all(|byte| (b' '..127).contains(&byte) && !matches!(byte, b':' | b'/'))
}

/// The strings of every structure of type 11, NUL between them.
fn oem_strings(table: &[u8]) -> impl Iterator<Item = &[u8]> {
    const OEM_STRINGS: u8 = 11;
    const END: u8 = 127;
    let mut rest = table;
    core::iter::from_fn(move || {
        loop {
            // Type, length of the formatted part with these four bytes, handle; then strings up to an empty one.
            let (kind, length) = (*rest.first()?, usize::from(*rest.get(1)?));
            let strings = rest.get(length..).filter(|_| length >= 4 && kind != END)?;
            let end = strings.windows(2).position(|pair| pair == [0, 0])?;
            rest = strings.get(end + 2..)?;
            if kind == OEM_STRINGS {
                return strings.get(..end);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(credentials: &Credentials) -> Vec<(&str, &[u8])> {
        credentials.names().map(|name| (name, credentials.get(name).unwrap().expose())).collect()
    }

    /// A structure: type, formatted part after the handle, strings.
    fn structure(kind: u8, more: &[u8], strings: &[&str]) -> Vec<u8> {
        let mut bytes = vec![kind, 4 + u8::try_from(more.len()).unwrap(), 0, 0];
        bytes.extend_from_slice(more);
        for string in strings {
            bytes.extend_from_slice(string.as_bytes());
            bytes.push(0);
        }
        bytes.extend_from_slice(if strings.is_empty() { &[0, 0] } else { &[0] });
        bytes
    }

    #[test]
    fn the_command_line_sets_them() {
        let mut credentials = Credentials::new();
        credentials.add_command_line(
            "quiet systemd.set_credential=a:b:c systemd.set-credential=a:again \"systemd.set_credential=s:two words\" \
             systemd.set_credential_binary=bin:AAH/ systemd.set_credential=none rd.systemd.set_credential=rd:x \
             systemd.set_credential_binary=bad:x systemd.set_credential=../up:x -- systemd.set_credential=late:x",
        );
        assert_eq!(all(&credentials), [("a", &b"b:c"[..]), ("bin", &[0, 1, 255]), ("s", b"two words")]);
        assert_eq!(credentials.problems().len(), 3, "{:?}", credentials.problems());
        for (text, wanted) in [
            ("", true),
            ("systemd.import_credentials=no", false),
            ("systemd.import_credentials=0 rd.systemd.import-credentials", true),
        ] {
            assert_eq!(are_wanted(text), wanted, "{text}");
        }
    }

    #[test]
    fn the_firmware_sets_them() {
        let mut table = structure(0, &[1, 2], &["SeaBIOS"]);
        table.extend(structure(
            11,
            &[3],
            &["io.systemd.credential:a=b=c", "something else", "io.systemd.credential.binary:bin=AAH/"],
        ));
        table.extend(structure(3, &[9; 9], &[]));
        table.extend(structure(11, &[1], &["io.systemd.credential:z="]));
        table.extend(structure(127, &[], &[]));
        table.extend(structure(11, &[1], &["io.systemd.credential:behind=the end"]));
        let mut credentials = Credentials::new();
        credentials.add_smbios(&table);
        assert_eq!(all(&credentials), [("a", &b"b=c"[..]), ("bin", &[0, 1, 255]), ("z", b"")]);
    }

    #[test]
    fn there_is_a_limit() {
        let mut credentials = Credentials::new();
        credentials.add("a", Secret::zeroed(MAX_SIZE - 1));
        credentials.add("b", Secret::zeroed(2));
        credentials.add("c", Secret::zeroed(1));
        assert_eq!(credentials.names().collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(credentials.problems().len(), 1);
    }

    proptest! {
        #[test]
        fn any_table_is_read(table: Vec<u8>, text: String) {
            let mut credentials = Credentials::new();
            credentials.add_smbios(&table);
            credentials.add_command_line(&text);
            prop_assert!(credentials.total <= MAX_SIZE);
            prop_assert!(credentials.names().all(is_name));
        }
    }
}
