//! crc32c (Castagnoli), the checksum of ext4 and btrfs: chained over several pieces from any initial value, and not
//! inverted at the end unless the caller does it.

use crc::{Algorithm, CRC_32_ISCSI, Crc, Digest, Table};

/// The standard algorithm without its inversion at the end.
const RAW: Algorithm<u32> = Algorithm { xorout: 0, ..CRC_32_ISCSI };
static CRC32C: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&RAW);

/// A checksum under way.
pub(super) struct Crc32c(Digest<'static, u32, Table<1>>);

impl Crc32c {
    /// Begins with a value: all ones by the standard, or the result of an earlier checksum.
    pub fn from(initial: u32) -> Self {
        // The crate takes the initial value in unreflected bit order.
        Self(CRC32C.digest_with_initial(initial.reverse_bits()))
    }

    /// Goes on over `bytes`.
    pub fn with(mut self, bytes: &[u8]) -> Self {
        self.0.update(bytes);
        self
    }

    /// The result, not inverted.
    pub fn end(self) -> u32 {
        self.0.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value of crc32c ("123456789", RFC 3720 appendix B.4 algorithm) is 0xe3069283; ours lacks the inversion.
    #[test]
    fn matches_the_check_value_in_one_piece_and_in_many() {
        assert_eq!(Crc32c::from(u32::MAX).with(b"123456789").end(), !0xe306_9283);
        let begun = Crc32c::from(u32::MAX).with(b"1234").end();
        assert_eq!(Crc32c::from(begun).with(b"567").with(b"89").end(), !0xe306_9283);
    }
}
