//! The root hash: the one value that vouches for a whole /usr.

use core::{fmt, str::FromStr};
use std::prelude::v1::*;

use uuid::Uuid;

/// A root hash of 32 to 64 bytes, in lowercase hexadecimal when it is printed. It is not a secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RootHash(Vec<u8>);

impl RootHash {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The GUID of the data partition: the first 16 bytes, in the order of the text.
    ///
    /// Source: Discoverable Partitions Specification, "usrhash=".
    pub fn data_guid(&self) -> Uuid {
        Uuid::from_bytes(self.0.first_chunk().copied().unwrap_or_default())
    }

    /// The GUID of the hash partition: the last 16 bytes, in the order of the text.
    pub fn verity_guid(&self) -> Uuid {
        Uuid::from_bytes(self.0.last_chunk().copied().unwrap_or_default())
    }
}

/// The text is not a root hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RootHashError;

impl fmt::Display for RootHashError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a root hash has 64 to 128 hexadecimal digits; copy it from the line \"Root hash\" of veritysetup",
        )
    }
}

impl core::error::Error for RootHashError {}

impl FromStr for RootHash {
    type Err = RootHashError;

    /// Parses an even number of hexadecimal digits in either case, 64 to 128 of them.
    fn from_str(text: &str) -> Result<Self, RootHashError> {
        if !(64..=128).contains(&text.len()) || !text.len().is_multiple_of(2) {
            return Err(RootHashError);
        }
        let digit = |byte: &u8| char::from(*byte).to_digit(16).map(|digit| digit as u8);
        text.as_bytes()
            .chunks_exact(2)
            .map(|pair| match pair {
                [high, low] => Some(digit(high)? << 4 | digit(low)?),
                _ => None,
            })
            .collect::<Option<Vec<u8>>>()
            .map(Self)
            .ok_or(RootHashError)
    }
}

impl fmt::Display for RootHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

/// Bytes as lowercase hexadecimal.
pub(super) struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn halves_are_guids_in_the_order_of_the_text() {
        // systemd's documentation of usrhash= in kernel-command-line(7): first and final 128 bits.
        let text = "00112233445566778899AABBCCDDEEFF0123456789abcdef0123456789abcdef";
        let hash: RootHash = text.parse().unwrap();
        assert_eq!(hash.to_string(), text.to_lowercase());
        assert_eq!(hash.data_guid().to_string(), "00112233-4455-6677-8899-aabbccddeeff");
        assert_eq!(hash.verity_guid().to_string(), "01234567-89ab-cdef-0123-456789abcdef");
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "00", &"0".repeat(62), &"0".repeat(65), &"0".repeat(130), &"g".repeat(64)] {
            assert_eq!(text.parse::<RootHash>(), Err(RootHashError), "{text}");
        }
        assert_eq!("ä".repeat(32).parse::<RootHash>(), Err(RootHashError));
    }

    proptest! {
        #[test]
        fn parsing_is_total(text in "\\PC{0,140}") {
            let _total = text.parse::<RootHash>();
        }

        #[test]
        fn what_prints_parses(bytes in proptest::collection::vec(any::<u8>(), 32..=64)) {
            prop_assert_eq!(Hex(&bytes).to_string().parse::<RootHash>(), Ok(RootHash(bytes)));
        }
    }
}
