//! Erases a volume for good, as a plan of writes.

use std::prelude::v1::*;

use core::fmt::Display;

use super::{
    format::{DATA_OFFSET, HEADER_SIZE},
    header::Header,
};
use crate::{
    units::Bytes,
    writes::{Data, ReadAt, Writes},
};

/// The most that cryptsetup gives to headers and keyslots: two headers of 4 MiB and 128 MiB behind them (lib/luks2/luks2.h).
const MAX_LENGTH: u64 = (2 * 4 + 128) << 20;

/// Plans to overwrite everything in front of the data: the keyslots, barrier, then both copies of the header. An
/// erasure that was cut short can be done again from the start: as long as there are keyslots, the header has their
/// places. Without a header that can be read, and on a partition that never had one, these are the 16 MiB that a header
/// and its keyslots usually have.
///
/// The data stay: without a keyslot they are noise. Data that was never encrypted is not made unreadable by this, only
/// unrecognisable.
pub fn erase<R>(device: &R, size: Bytes) -> Writes
where
    R: ReadAt + ?Sized,
    R::Error: Display,
{
    let header = Header::read(device).ok();
    let copy = header.as_ref().map_or(HEADER_SIZE, |header| header.binary.size);
    let data = header.and_then(|header| header.segment().ok()).map_or(DATA_OFFSET, |segment| segment.offset);
    let length = data.max(DATA_OFFSET).0.min(MAX_LENGTH).min(size.0);
    let copies = copy.saturating_mul(2).min(length);
    let mut plan = Writes::new();
    overwrite(&mut plan, copies, length);
    plan.barrier();
    overwrite(&mut plan, 0, copies);
    plan.barrier();
    plan
}

/// The bytes of one write.
const CHUNK: u64 = 1 << 20;

/// Overwrites the bytes from `start` to `end`: written out, and not as a range of zeroes, which may become a hole; then flash
/// would keep the old content.
fn overwrite(plan: &mut Writes, start: u64, end: u64) {
    let zeroes = Data::from(vec![0; CHUNK as usize]);
    let mut at = start;
    while at < end {
        let length = CHUNK.min(end - at);
        let data = if length == CHUNK { zeroes.clone() } else { vec![0; length as usize].into() };
        plan.data(Bytes(at), data);
        at += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::writes::Write;

    #[test]
    fn what_is_no_volume_loses_its_beginning_and_nothing_else() {
        for (size, length) in [(0, 0), (4096, 4096), (40 << 20, 16 << 20)] {
            let disk = vec![7; size];
            let plan = erase(&disk[..], Bytes(size as u64));
            assert_eq!(plan.volume(), Bytes(length), "{size}");
            assert_eq!(plan.0.last(), Some(&Write::Barrier));
        }
    }
}
