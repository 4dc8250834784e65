//! ext4 of any size.

use hermetic_init::{
    disk::probe::{self, Format, probe},
    mkfs::ext4::{BlockSize, Params, plan},
    units::Bytes,
    writes::Write,
};
use uuid::Uuid;

use crate::input::Input;

/// Size, block size, time, UUIDs, label.
pub fn ext4(data: &[u8]) {
    let mut input = Input::new(data);
    let options = input.byte();
    let block_size = if options & 1 == 0 { BlockSize::B4096 } else { BlockSize::B1024 };
    // Small ones often, large ones sometimes: up to 2^45 bytes, beyond what is possible.
    let size = input.long() >> (19 + options / 2 % 32);
    let (now, uuid) = (input.long(), Uuid::from_u128(u128::from(input.long())));
    let label = input.text();
    let params =
        Params { size: Bytes(size), uuid, label: &label, hash_seed: Uuid::from_u128(5), now, block_size };
    let plan = match plan(&params) {
        Ok(plan) => plan,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let mut start = vec![0; probe::LENGTH];
    let mut written: Vec<(u64, u64)> = Vec::new();
    // The first write wipes what others keep at the end; all that follow are apart from each other.
    for (index, write) in plan.0.iter().enumerate() {
        let (offset, length) = match write {
            Write::Data { offset, data } => {
                if let Some(place) = start.get_mut(offset.0 as usize..) {
                    place.iter_mut().zip(data).for_each(|(to, from)| *to = *from);
                }
                (offset.0, data.len() as u64)
            }
            Write::Zero { offset, length } => (offset.0, length.0),
            Write::Barrier => continue,
        };
        assert!(
            length > 0 && offset.checked_add(length).is_some_and(|end| end <= size),
            "write {index} leaves the device"
        );
        if index > 0 {
            written.push((offset, offset + length));
        }
    }
    assert!(written.windows(2).all(|pair| pair[0].1 <= pair[1].0), "writes overlap or go back");
    let found = probe(&start).expect("no superblock");
    assert_eq!(found.format, Format::Ext4);
    assert!(label.starts_with(&found.label) || label.contains('\0'));
}

pub(crate) fn ext4_seeds() -> Vec<Vec<u8>> {
    let seed = |options: u8, size: u64| {
        let shift = 19 + u32::from(options) / 2 % 32;
        let now = 1_700_000_000u64.to_le_bytes();
        [&[options][..], &(size << shift).to_le_bytes(), &now, &[7; 8], "a label with ä too long".as_bytes()]
            .concat()
    };
    vec![
        seed(0, 1 << 40),
        seed(60, 8 << 20),
        seed(61, 2 << 20),
        seed(40, (1 << 30) + 4096 * 33),
        seed(41, 300 << 20),
        seed(30, 129 << 30),
        seed(21, 9 << 30),
    ]
}
