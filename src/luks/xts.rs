//! AES-XTS over a keyslot area: sectors of 512 bytes, numbered from 0 at the area's start (plain64).

use aes::{
    Aes128, Aes256,
    cipher::{BlockCipherDecrypt, BlockCipherEncrypt, BlockSizeUser, KeyInit, consts::U16},
};
use xts_mode::{Xts128, get_tweak_default};

/// The sector of a keyslot area, with any sector of the data.
const SECTOR: usize = 512;

/// The direction.
#[derive(Clone, Copy)]
pub(super) enum Direction {
    Encrypt,
    Decrypt,
}

/// Encrypts or decrypts `area` in place. None when the key is neither 32 nor 64 bytes long or the area is not a
/// multiple of 512 bytes.
pub(super) fn crypt(direction: Direction, area: &mut [u8], key: &[u8]) -> Option<()> {
    match key.len() {
        32 => run::<Aes128>(direction, area, key),
        64 => run::<Aes256>(direction, area, key),
        _ => None,
    }
}

fn run<C>(direction: Direction, area: &mut [u8], key: &[u8]) -> Option<()>
where
    C: KeyInit + BlockSizeUser<BlockSize = U16> + BlockCipherEncrypt + BlockCipherDecrypt,
{
    if !area.len().is_multiple_of(SECTOR) {
        return None;
    }
    let (data, tweak) = key.split_at_checked(key.len() / 2)?;
    let xts = Xts128::new(C::new_from_slice(data).ok()?, C::new_from_slice(tweak).ok()?);
    match direction {
        Direction::Encrypt => xts.encrypt_area(area, SECTOR, 0, get_tweak_default),
        Direction::Decrypt => xts.decrypt_area(area, SECTOR, 0, get_tweak_default),
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ieee_1619_vector_1() {
        // IEEE 1619-2007 annex B, vector 1: zero keys, sector 0. The blocks of a sector do not depend on its length.
        let mut area = [0; 512];
        crypt(Direction::Encrypt, &mut area, &[0; 32]).unwrap();
        assert_eq!(area[..8], [0x91, 0x7c, 0xf6, 0x9e, 0xbd, 0x68, 0xb2, 0xec]);
        crypt(Direction::Decrypt, &mut area, &[0; 32]).unwrap();
        assert_eq!(area, [0; 512]);
    }

    #[test]
    fn odd_sizes_are_refused() {
        assert_eq!(crypt(Direction::Decrypt, &mut [0; 511], &[0; 64]), None);
        assert_eq!(crypt(Direction::Decrypt, &mut [0; 512], &[0; 48]), None);
    }
}
