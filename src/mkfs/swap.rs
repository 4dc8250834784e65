//! Swap space: what util-linux' `mkswap -L LABEL -U UUID` makes, one page that says how many there are.
//!
//! Format: `union swap_header` of the kernel's include/linux/swap.h, version 1.

use std::prelude::v1::*;

use uuid::Uuid;

use super::{MkfsError, label, record::Record};
use crate::{disk::probe, units::Bytes, writes::Writes};

/// The offset of the fields: behind the room for a boot loader.
const FIELDS: usize = 1024;
/// The version that the kernel knows.
const VERSION: u64 = 1;
/// The magic at the end of the first page.
const MAGIC: &[u8; 10] = b"SWAPSPACE2";
/// Bytes of a label: the field has one more, which ends it.
const LABEL: usize = 15;
/// Fewer pages are not worth having for the kernel (`MIN_GOODPAGES` of mkswap).
const LEAST_PAGES: u64 = 10;
/// Bytes at the end where software RAID and partition tables keep their signatures.
const END: u64 = 128 << 10;

/// The parameters of new swap space.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Params<'a> {
    /// The size of the partition or mapping. A remainder that does not fill a page stays unused, and so do pages beyond
    /// a 32-bit page number.
    pub size: Bytes,
    /// Bytes in a page of the machine that will use it: 4096, or 16384 or 65536 on some.
    pub page_size: u32,
    /// Its UUID.
    pub uuid: Uuid,
    /// Its label; at most 15 bytes are kept, cut between two characters.
    pub label: &'a str,
}

/// Plans swap space: the first page, zeroes over the superblocks of other formats behind it and at the end, a barrier.
///
/// # Errors
/// [`MkfsError::TooSmall`] below ten pages.
pub fn plan(params: &Params) -> Result<Writes, MkfsError> {
    let page = u64::from(params.page_size.clamp(4096, 65536));
    let pages = (params.size.0 / page).min(u64::from(u32::MAX));
    if pages < LEAST_PAGES {
        return Err(MkfsError::TooSmall {
            format: "swap",
            size: params.size,
            minimum: Bytes(LEAST_PAGES * page),
        });
    }
    let mut header = Record::zeroed(page);
    header.le32(FIELDS, VERSION).le32(FIELDS + 4, pages - 1);
    header.bytes(FIELDS + 12, params.uuid.as_bytes());
    header.bytes(FIELDS + 28, label::cut(params.label, LABEL).as_bytes());
    header.bytes(page as usize - MAGIC.len(), MAGIC);

    // Pages are only read back after they were written, so nothing else needs to be written; but a program that looks
    // for a file system must not find an earlier one.
    let mut writes = Writes::new();
    let end = params.size.0.saturating_sub(END).max(page);
    let signatures = (probe::LENGTH as u64).max(page).min(end);
    writes.zero(Bytes(end), Bytes(params.size.0 - end));
    writes.zero(Bytes(page), Bytes(signatures - page));
    writes.data(Bytes(0), header.into_bytes());
    writes.barrier();
    Ok(writes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        disk::probe::{self, probe},
        file_system::FileSystem,
        writes::Write,
    };

    fn params(size: u64) -> Params<'static> {
        Params { size: Bytes(size), page_size: 4096, uuid: Uuid::from_u128(7), label: "swap" }
    }

    #[test]
    fn less_than_ten_pages_are_refused() {
        assert!(plan(&params(40960)).is_ok());
        let error = plan(&params(40959)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "swap: 39.9 KiB is too small, at least 40 KiB are needed; make the partition larger"
        );
    }

    proptest! {
        /// For any size, no write leaves the device, and the result is recognised as swap.
        #[test]
        fn writes_stay_in_bounds(size in 0..u64::MAX, shift in 0u32..50, page in prop::sample::select(vec![4096, 16384, 65536])) {
            let params = Params { page_size: page, ..params(size >> shift) };
            let Ok(writes) = plan(&params) else {
                prop_assert!(params.size.0 < 10 * u64::from(page));
                return Ok(());
            };
            let mut start = vec![0; 65536];
            for write in &writes.0 {
                match write {
                    Write::Data { offset, data } => {
                        prop_assert_eq!(offset.0, 0);
                        start[..data.len()].copy_from_slice(data);
                    }
                    Write::Zero { offset, length } => prop_assert!(offset.0 + length.0 <= params.size.0),
                    Write::Barrier => {}
                }
            }
            let found = probe(&start).unwrap();
            prop_assert_eq!((found.format, found.label.as_str()), (probe::Format::FileSystem(FileSystem::Swap), "swap"));
        }
    }
}
