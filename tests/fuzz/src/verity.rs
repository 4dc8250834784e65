//! dm-verity: superblock, root hash, options, and the table that they become.

use hermetic_init::{
    units::{Bytes, DeviceNumber},
    verity::{LENGTH, Options, RootHash, Superblock, Table, dm_uuid},
};

use crate::input::{Input, join, text};

/// A superblock, then root hash, options and a name.
pub fn verity(data: &[u8]) {
    let mut input = Input::new(data);
    let block: [u8; LENGTH] = input.array();
    let [hash, options, name] = input.parts().map(text);
    let (options, _) = Options::parse(&options);
    let hash = hash.parse::<RootHash>();
    if let Ok(hash) = &hash {
        assert_eq!(hash.to_string().parse().as_ref(), Ok(hash));
    }
    match Superblock::parse(&block) {
        Err(error) => crate::one_line(&error),
        Ok(superblock) => {
            let (data, tree) = (superblock.data_length(), superblock.hash_length());
            assert!(data.0 > 0 && data.0 < 1 << 63 && tree.0 >= LENGTH as u64);
            let name = dm_uuid(superblock.uuid, &name);
            assert!(name.len() <= 128);
            if let Ok(hash) = &hash {
                let fits = hash.bytes().len() == superblock.algorithm.digest_length();
                assert_eq!(superblock.check(hash, data, tree).is_ok(), fits);
                assert!(superblock.check(hash, Bytes(data.0 - 1), tree).is_err());
                let number = DeviceNumber { major: 253, minor: 0 };
                let table = Table::new(&superblock, hash, number, number, &options);
                assert_eq!(table.sectors.bytes(), Some(data));
                assert!(table.params.split(' ').count() >= 9 && !table.params.contains('\n'));
            }
        }
    }
}

pub(crate) fn verity_seeds() -> Vec<Vec<u8>> {
    let superblock = |algorithm: &str, size: u32, blocks: u64, salt: u16| {
        let mut block = vec![0; LENGTH];
        block[..8].copy_from_slice(b"verity\0\0");
        block[8..12].copy_from_slice(&1u32.to_le_bytes());
        block[12..16].copy_from_slice(&1u32.to_le_bytes());
        block[16..32].fill(0x5a);
        block[32..32 + algorithm.len()].copy_from_slice(algorithm.as_bytes());
        block[64..68].copy_from_slice(&size.to_le_bytes());
        block[68..72].copy_from_slice(&size.to_le_bytes());
        block[72..80].copy_from_slice(&blocks.to_le_bytes());
        block[80..82].copy_from_slice(&salt.to_le_bytes());
        block[88..344].fill(7);
        block
    };
    let rest = |digits: usize| {
        join(&["a5".repeat(digits).as_bytes(), b"panic-on-corruption, restart-on-error,what", b"usr"])
    };
    vec![
        [superblock("sha256", 4096, 25600, 32), rest(32)].concat(),
        [superblock("sha512", 512, 1, 0), rest(64)].concat(),
        [superblock("sha384", 1024, 1 << 50, 256), rest(48)].concat(),
    ]
}
