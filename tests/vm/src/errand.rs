//! An errand: a script that the running system does once it is up, though nothing of it is in the verified /usr.
//!
//! It travels in the kernel command line as two system credentials (systemd-debug-generator(8)): `systemd.extra-unit.*`
//! is a service, `systemd.unit-dropin.*` makes multi-user.target want it. What the script prints goes to the console,
//! each line between the unit's own messages as it is.

/// The name of the service.
const UNIT: &str = "errand.service";

/// The words for the kernel command line that make a system run `script` (sh) on its console after multi-user.target
/// and power off. The kernel's command line has room for some 1000 bytes of script (x86: 2048 bytes in all).
#[must_use]
pub fn words(script: &str) -> String {
    let quoted = script.replace('\\', "\\\\").replace('\'', "\\'").replace('%', "%%").replace('$', "$$");
    let oneline = quoted.lines().map(str::trim).collect::<Vec<_>>().join("; ");
    // A service that is up as soon as it is executed: the script may wait until the boot's last job is done.
    let service = format!(
        "[Unit]\nDefaultDependencies=no\nAfter=multi-user.target\n[Service]\nType=exec\nStandardOutput=tty\n\
         StandardError=tty\nTTYPath=/dev/console\nExecStart=/bin/sh -c '{oneline}'\n\
         ExecStopPost=systemctl poweroff --no-block\n"
    );
    let target = format!("[Unit]\nWants={UNIT}\n");
    format!(
        "systemd.set_credential_binary=systemd.extra-unit.{UNIT}:{} \
         systemd.set_credential_binary=systemd.unit-dropin.multi-user.target~errand:{}",
        base64(service.as_bytes()),
        base64(target.as_bytes())
    )
}

/// Base 64 (RFC 4648 §4), with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let value = group
            .iter()
            .enumerate()
            .fold(0_u32, |sum, (place, byte)| sum | u32::from(*byte) << (16 - 8 * place));
        for place in 0..4 {
            let digit =
                usize::try_from(value >> (18 - 6 * place) & 63).ok().and_then(|index| DIGITS.get(index));
            match digit {
                Some(digit) if place <= group.len() => text.push(char::from(*digit)),
                _ => text.push('='),
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4648 §10.
    #[test]
    fn base64_of_the_standard() {
        let cases = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (bytes, text) in cases {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn words_fit_into_a_command_line() {
        assert!(words(&"x".repeat(900)).len() < 1900);
    }
}
