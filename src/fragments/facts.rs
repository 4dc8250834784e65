//! The machine's facts, and the specifiers that stand for them in a definition (sysusers.d(5), "Specifiers").

use core::fmt;
use std::prelude::v1::*;

use crate::os_release::OsRelease;

/// The values that specifiers expand to. A value of None is not known, and a line that asks for it is an error.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Facts {
    /// `%m`: 32 hexadecimal digits. Of the root that is furnished, so None before it has an id.
    pub machine_id: Option<String>,
    /// `%b`: 32 hexadecimal digits.
    pub boot_id: Option<String>,
    /// `%v`: as `uname -r` says it.
    pub kernel_release: Option<String>,
    /// `%H`; `%l` is the part before its first dot.
    pub hostname: Option<String>,
    /// `%q`; when it is None, `%l` is taken.
    pub pretty_hostname: Option<String>,
    /// `%a`: in systemd's spelling, see [`architecture`].
    pub architecture: Option<String>,
    /// os-release for `%A %B %M %o %w %W`; a field that is not in it is empty.
    pub os_release: Option<OsRelease>,
}

/// The longest expansion that is accepted, in bytes; names and paths have tighter limits of their own.
const MAX_LENGTH: usize = 1 << 20;

/// The reason why a text could not be expanded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExpandError {
    /// There is no such specifier.
    Unknown(char),
    /// There is, but the machine's value for it is not known.
    Unavailable(char),
    /// The result would be longer than this many bytes.
    TooLong(usize),
}

impl fmt::Display for ExpandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(letter) => write!(f, "unknown specifier %{letter}"),
            Self::Unavailable(letter) => write!(f, "specifier %{letter} has no value here"),
            Self::TooLong(limit) => write!(f, "longer than {limit} bytes"),
        }
    }
}

/// Replaces the specifiers in `text` by the results of `value`. `%` before anything but a letter or a digit stays as it
/// is.
///
/// # Errors
/// The error of `value`, a result of more than `limit` bytes.
pub fn expand<'a>(
    text: &[u8],
    limit: usize,
    value: &dyn Fn(char) -> Result<&'a str, ExpandError>,
) -> Result<Vec<u8>, ExpandError> {
    let limit = limit.min(MAX_LENGTH);
    let mut expanded = Vec::with_capacity(text.len().min(limit));
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        match (byte, byte == b'%') {
            (_, false) => expanded.push(byte),
            (_, true) => match bytes.next() {
                None | Some(b'%') => expanded.push(b'%'),
                Some(letter) if letter.is_ascii_alphanumeric() => {
                    expanded.extend_from_slice(value(char::from(*letter))?.as_bytes());
                }
                Some(other) => expanded.extend([b'%', *other]),
            },
        }
        if expanded.len() > limit {
            return Err(ExpandError::TooLong(limit));
        }
    }
    Ok(expanded)
}

impl Facts {
    /// Replaces the specifiers in `text`. `%` before anything but a letter or a digit stays as it is.
    ///
    /// # Errors
    /// An unknown specifier, one without a value, a result of more than `limit` bytes.
    pub fn expand(&self, text: &str, limit: usize) -> Result<String, ExpandError> {
        let expanded = expand(text.as_bytes(), limit, &|letter| self.value(letter))?;
        // Text with texts in the place of ASCII is text, and comes back as it is.
        Ok(String::from_utf8(expanded)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    /// The value of one specifier.
    ///
    /// # Errors
    /// It is unknown or has no value.
    pub fn value(&self, letter: char) -> Result<&str, ExpandError> {
        let os_release = |field: &str| Some(self.os_release.as_ref()?.value(field));
        let short = || self.hostname.as_deref().map(|name| name.split('.').next().unwrap_or(name));
        match letter {
            'a' => self.architecture.as_deref(),
            'A' => os_release("IMAGE_VERSION"),
            'b' => self.boot_id.as_deref(),
            'B' => os_release("BUILD_ID"),
            'H' => self.hostname.as_deref(),
            'l' => short(),
            'm' => self.machine_id.as_deref(),
            'M' => os_release("IMAGE_ID"),
            'o' => os_release("ID"),
            'q' => self.pretty_hostname.as_deref().or_else(short),
            // With --root= systemd looks at no environment variable for these.
            'T' => Some("/tmp"),
            'v' => self.kernel_release.as_deref(),
            'V' => Some("/var/tmp"),
            'w' => os_release("VERSION_ID"),
            'W' => os_release("VARIANT_ID"),
            _ => return Err(ExpandError::Unknown(letter)),
        }
        .ok_or(ExpandError::Unavailable(letter))
    }
}

/// systemd's word for the architecture that `uname -m` (or Rust's `std::env::consts::ARCH`) calls so.
pub fn architecture(machine: &str) -> &str {
    match machine {
        "x86_64" => "x86-64",
        "aarch64" => "arm64",
        "i386" | "i486" | "i586" | "i686" => "x86",
        "ppc64le" | "powerpc64le" => "ppc64-le",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specifiers_expand() {
        let facts = Facts {
            hostname: Some("host.example".to_owned()),
            os_release: Some(OsRelease::parse(
                "ID=debian\nVERSION_ID=\"13\"\n# x\nNAME='De bian'\nBAD LINE=1\n",
            )),
            ..Facts::default()
        };
        for (text, expanded) in [
            ("%H %l %q", Ok("host.example host host")),
            ("%o-%w%W", Ok("debian-13")),
            ("%%x%.%", Ok("%x%.%")),
            ("%T%V", Ok("/tmp/var/tmp")),
            ("%z", Err(ExpandError::Unknown('z'))),
            ("%m", Err(ExpandError::Unavailable('m'))),
            ("0123456789012345678901234567890", Err(ExpandError::TooLong(30))),
        ] {
            assert_eq!(facts.expand(text, 30), expanded.map(str::to_owned), "{text}");
        }
    }
}
