//! crc32c (Castagnoli), the checksum of ext4 and btrfs: chained over several pieces from any initial value, and not
//! inverted at the end unless the caller does it.

use crc::{Algorithm, CRC_32_ISCSI, Crc, Digest, Table};

/// The standard algorithm without its inversion at the end.
const RAW: Algorithm<u32> = Algorithm { xorout: 0, ..CRC_32_ISCSI };
static CRC32C: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&RAW);

/// The polynomial, as the coefficients of a remainder stand: the highest bit is x^0.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// A run of fewer zero bytes is faster taken one by one.
const FEW: usize = 128;

/// A checksum under way.
pub(super) struct Crc32c(Digest<'static, u32, Table<1>>);

impl Crc32c {
    /// Begins with a value: all ones by the standard, or the result of an earlier checksum.
    pub fn from(initial: u32) -> Self {
        // The crate takes the initial value in unreflected bit order.
        Self(CRC32C.digest_with_initial(initial.reverse_bits()))
    }

    /// Goes on over `bytes`. Most blocks of an empty file system end in thousands of zeroes, which take a few dozen steps
    /// here.
    pub fn with(mut self, bytes: &[u8]) -> Self {
        let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        let (head, zeroes) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
        if zeroes.len() < FEW {
            self.0.update(bytes);
            return self;
        }
        self.0.update(head);
        Self::from(times(self.end(), power(8 * zeroes.len())))
    }

    /// The result, not inverted.
    pub fn end(self) -> u32 {
        self.0.finalize()
    }
}

/// The product of two polynomials, modulo ours.
fn times(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    for power in (0..u32::BITS).rev() {
        if a >> power & 1 != 0 {
            product ^= b;
        }
        b = b >> 1 ^ if b & 1 != 0 { POLYNOMIAL } else { 0 };
    }
    product
}

/// x to the power of `exponent`, modulo ours: what so many zero bits do to a checksum.
fn power(mut exponent: usize) -> u32 {
    const ONE: u32 = 1 << 31;
    let (mut result, mut square) = (ONE, ONE >> 1);
    while exponent > 0 {
        if exponent & 1 != 0 {
            result = times(result, square);
        }
        square = times(square, square);
        exponent >>= 1;
    }
    result
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The check value of crc32c ("123456789", RFC 3720 appendix B.4 algorithm) is 0xe3069283; ours lacks the inversion.
    #[test]
    fn matches_the_check_value_in_one_piece_and_in_many() {
        assert_eq!(Crc32c::from(u32::MAX).with(b"123456789").end(), !0xe306_9283);
        let begun = Crc32c::from(u32::MAX).with(b"1234").end();
        assert_eq!(Crc32c::from(begun).with(b"567").with(b"89").end(), !0xe306_9283);
    }

    proptest! {
        /// The short way over zeroes leads where the long one does.
        #[test]
        fn zeroes_are_skipped_and_counted(initial: u32, head in prop::collection::vec(any::<u8>(), 0..50), zeroes in 0usize..9000) {
            let mut bytes = head;
            bytes.resize(bytes.len() + zeroes, 0);
            let one_by_one = bytes.iter().fold(Crc32c::from(initial), |sum, &byte| sum.with(&[byte]));
            prop_assert_eq!(Crc32c::from(initial).with(&bytes).end(), one_by_one.end());
        }
    }
}
