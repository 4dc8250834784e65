//! The anti-forensic splitter of LUKS (TKS1, Fruhwirth 2005; LUKS2 specification section 2.4 and LUKS1 section 2.4).
//!
//! A key becomes 4000 stripes of its own length, of which all are needed to get it back: a medium that keeps an old copy
//! of a single sector does not keep the key.

use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use zeroize::Zeroizing;

use super::hash::Hash;

/// The number of stripes. Every header has this one; others were never in use and are refused.
pub(super) const STRIPES: usize = 4000;

/// The longest volume key: two AES-256 keys, for XTS.
pub(super) const KEY_MAX: usize = 64;

/// Splits `key` over `stripes`, which is [`STRIPES`] times as long and was filled with random bytes: the last stripe is
/// computed, the others stay as they are.
pub(super) fn split(stripes: &mut [u8], key: &[u8], hash: Hash) {
    let size = key.len();
    let mut state = Zeroizing::new([0; KEY_MAX]);
    let Some(state) = state.get_mut(..size) else { return };
    let Some((random, last)) = stripes.split_at_mut_checked((STRIPES - 1) * size) else { return };
    absorb(state, random, hash);
    for ((last, state), key) in last.iter_mut().zip(state).zip(key) {
        *last = *state ^ key;
    }
}

/// Merges `stripes` into `key`, whose length says how long a stripe is.
pub(super) fn merge(stripes: &[u8], key: &mut [u8], hash: Hash) {
    let size = key.len();
    let mut state = Zeroizing::new([0; KEY_MAX]);
    let Some(state) = state.get_mut(..size) else { return };
    let Some((random, last)) = stripes.split_at_checked((STRIPES - 1) * size) else { return };
    absorb(state, random, hash);
    for ((key, state), last) in key.iter_mut().zip(state).zip(last) {
        *key = *state ^ last;
    }
}

/// Mixes every stripe into `state`, diffusing after each.
fn absorb(state: &mut [u8], stripes: &[u8], hash: Hash) {
    if state.is_empty() {
        return;
    }
    for stripe in stripes.chunks_exact(state.len()) {
        for (state, stripe) in state.iter_mut().zip(stripe) {
            *state ^= stripe;
        }
        match hash {
            Hash::Sha1 => diffuse::<Sha1>(state),
            Hash::Sha256 => diffuse::<Sha256>(state),
            Hash::Sha512 => diffuse::<Sha512>(state),
        }
    }
}

/// Replaces each hash-sized chunk of `block` by the hash of its big-endian number and itself; the last chunk may be
/// shorter and takes the start of its hash.
fn diffuse<D: Digest>(block: &mut [u8]) {
    for (number, chunk) in block.chunks_mut(<D as Digest>::output_size()).enumerate() {
        let mut hash = D::new();
        hash.update((number as u32).to_be_bytes());
        hash.update(&*chunk);
        for (byte, hashed) in chunk.iter_mut().zip(hash.finalize().iter()) {
            *byte = *hashed;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]
        #[test]
        fn what_was_split_merges_again(key in prop_oneof![proptest::array::uniform32(0u8..).prop_map(Vec::from),
            proptest::collection::vec(0u8.., 64)], seed: u8) {
            for hash in [Hash::Sha1, Hash::Sha256, Hash::Sha512] {
                let mut stripes: Vec<u8> =
                    (0..key.len() * STRIPES).map(|i| (i as u8).wrapping_mul(167) ^ seed).collect();
                split(&mut stripes, &key, hash);
                let mut merged = vec![0; key.len()];
                merge(&stripes, &mut merged, hash);
                prop_assert_eq!(&merged, &key);
            }
        }
    }
}
