//! The sources of a volume's key, a file each, and the order in which they are tried.

mod key_file;
mod passphrase;
mod tpm2;

use key_file::KeyFiles;
use passphrase::{Credential, Typed};
use tpm2::{PinOfCredential, TypedPin, WithoutPin};

use super::source::Source;

/// The sources of a key, in the order in which they are tried: first those that need no person, and among them the TPM,
/// which identifies the machine; then a person at a console.
pub const SOURCES: [&dyn Source; 6] =
    [&WithoutPin, &KeyFiles, &Credential, &PinOfCredential, &TypedPin, &Typed];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_tried_in_this_order() {
        let expected = [
            "a TPM2 token that needs no PIN",
            "a key file",
            "the credential cryptsetup.passphrase",
            "the credential cryptsetup.tpm2-pin",
            "somebody who types the PIN of a TPM2 token",
            "somebody who types a passphrase or a recovery key",
        ];
        assert_eq!(SOURCES.map(|source| source.name()), expected);
    }
}
