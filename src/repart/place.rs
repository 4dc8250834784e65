//! Sizes and places of new partitions in the gaps of a disk, by systemd-repart's algorithm: smallest gap that fits,
//! then the gap's space is shared by weight within the bounds that each partition has.

use std::prelude::v1::*;

use super::size::{round_down, round_up};
use crate::{disk::partition::Layout, units::Bytes};

/// What a new partition wants, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Wish {
    /// The smallest size, a multiple of the grain.
    pub min: u64,
    /// The largest size, not below `min`; None for as much as there is.
    pub max: Option<u64>,
    /// Its share.
    pub weight: u64,
}

/// Where a partition goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub offset: Bytes,
    pub length: Bytes,
}

/// No gap fits the wish with this index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NoSpace {
    pub wish: usize,
    /// What is left in the largest gap.
    pub largest: u64,
}

/// A gap between partitions.
struct Gap {
    /// Offset and length of the partition before it.
    after: Option<(u64, u64)>,
    offset: u64,
    size: u64,
    allocated: u64,
    /// Indices of the wishes that go here, ascending.
    wishes: Vec<usize>,
}

/// Partitions that nobody defined count with the default weight until their size is fixed, which comes first.
const FOREIGN_WEIGHT: u64 = 1000;

/// Places all wishes, or none. The result names each wish by its index; it is in the order of the gaps, smallest first,
/// in which systemd-repart numbers new partitions.
pub(super) fn place(layout: &Layout, grain: u64, wishes: &[Wish]) -> Result<Vec<(usize, Place)>, NoSpace> {
    let mut gaps = gaps(layout, grain);
    for (index, wish) in wishes.iter().enumerate() {
        let needed = round_up(wish.min, grain);
        let gap = gaps.iter_mut().find(|gap| gap.size - gap.allocated >= needed);
        let Some(gap) = gap else {
            let largest = gaps.iter().map(|gap| gap.size - gap.allocated).max().unwrap_or(0);
            return Err(NoSpace { wish: index, largest });
        };
        gap.allocated += needed;
        gap.wishes.push(index);
    }
    Ok(gaps.iter().flat_map(|gap| fill(gap, grain, wishes)).collect())
}

/// The gaps, smallest first. Of equal ones the one behind the partition with the lower number comes first, and the gap
/// at the beginning of the disk last.
fn gaps(layout: &Layout, grain: u64) -> Vec<Gap> {
    let mut areas = layout.free_areas(grain);
    areas.sort_by_key(|area| (area.length, area.after.is_none(), area.after));
    areas
        .into_iter()
        .map(|area| Gap {
            after: layout
                .partitions
                .iter()
                .find(|partition| Some(partition.number) == area.after)
                .map(|p| (p.offset(layout.block_size).0, p.length(layout.block_size).0)),
            offset: area.offset.0,
            size: area.length.0,
            allocated: 0,
            wishes: Vec::new(),
        })
        .collect()
}

/// Decides the sizes of the partitions in a gap and lines them up.
fn fill(gap: &Gap, grain: u64, wishes: &[Wish]) -> Vec<(usize, Place)> {
    let mine: Vec<(usize, Wish)> =
        gap.wishes.iter().filter_map(|index| Some((*index, *wishes.get(*index)?))).collect();
    if mine.is_empty() {
        return Vec::new();
    }
    let mut share = Share { span: gap.size, weights: mine.iter().map(|(_, wish)| wish.weight).sum(), grain };
    // The partition before the gap takes part and is charged its own size first. When it does not begin on the grain,
    // the rounding of its size costs up to one grain of the gap: that is how systemd-repart computes it.
    if let Some((offset, length)) = gap.after {
        share.span = share.span.saturating_add(round_up(offset.saturating_add(length), grain) - offset);
        share.weights = share.weights.saturating_add(FOREIGN_WEIGHT);
        share.charge(length, FOREIGN_WEIGHT);
    }
    let mut sizes: Vec<Option<u64>> = vec![None; mine.len()];
    share.pin(&mine, &mut sizes, |wish, share| (wish.min > share).then_some(wish.min));
    share.pin(&mine, &mut sizes, |wish, share| wish.max.filter(|max| *max < share));
    for ((_, wish), size) in mine.iter().zip(&mut sizes) {
        if size.is_none() {
            let wanted = round_down(share.of(wish.weight), grain).max(wish.min);
            let decided = wanted.min(wish.max.unwrap_or(u64::MAX));
            share.charge(decided, wish.weight);
            *size = Some(decided);
        }
    }
    // What rounding and bounds left over goes to whoever may have it, in order; what nobody may have stays free, and
    // where a partition precedes the gap it stays free behind that one, so that it could grow.
    let mut sizes: Vec<u64> = sizes.into_iter().map(Option::unwrap_or_default).collect();
    for ((_, wish), size) in mine.iter().zip(&mut sizes) {
        let grown = round_down(size.saturating_add(share.span), grain).max(*size);
        let grown = grown.min(wish.max.unwrap_or(u64::MAX)).max(*size);
        share.span = share.span.saturating_sub(round_up(grown - *size, grain));
        *size = grown;
    }
    let mut at = match gap.after {
        Some((offset, length)) => round_up(offset.saturating_add(length).saturating_add(share.span), grain),
        None => gap.offset,
    };
    let mut places = Vec::with_capacity(mine.len());
    for ((index, _), size) in mine.iter().zip(sizes) {
        places.push((*index, Place { offset: Bytes(at), length: Bytes(size) }));
        at = at.saturating_add(size);
    }
    places
}

/// Space that is still to be shared, and the weights of those who still want of it.
struct Share {
    span: u64,
    weights: u64,
    grain: u64,
}

impl Share {
    /// What falls to `weight`, rounded down.
    fn of(&self, weight: u64) -> u64 {
        let (mut weight, mut sum) = (weight, self.weights);
        loop {
            if weight == 0 {
                return 0;
            }
            if weight >= sum {
                return self.span;
            }
            if let Some(product) = self.span.checked_mul(weight) {
                return product / sum;
            }
            // Both are halved until it fits, so that no share gets larger than it would exactly be.
            (weight, sum) = (weight / 2, sum.div_ceil(2));
        }
    }

    /// Takes a decided size out of what is shared.
    fn charge(&mut self, size: u64, weight: u64) {
        self.span = self.span.saturating_sub(round_up(size, self.grain));
        self.weights = self.weights.saturating_sub(weight);
    }

    /// Fixes every size for which `bound` says so, from the beginning again and again until none is fixed any more:
    /// each one changes the shares of the others.
    fn pin(
        &mut self,
        wishes: &[(usize, Wish)],
        sizes: &mut [Option<u64>],
        bound: impl Fn(&Wish, u64) -> Option<u64>,
    ) {
        loop {
            let mut quiet = true;
            for ((_, wish), size) in wishes.iter().zip(sizes.iter_mut()) {
                if size.is_none()
                    && let Some(pinned) = bound(wish, self.of(wish.weight))
                {
                    *size = Some(pinned);
                    self.charge(pinned, wish.weight);
                    quiet = false;
                }
            }
            if quiet {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        disk::{partition::Partition, types},
        units::{Lba, PartitionNumber},
    };
    use proptest::prelude::*;

    proptest! {
        /// Whatever the disk and the wishes: places are aligned, within bounds, in gaps, and apart from each other.
        #[test]
        fn places_are_free_and_as_wished(
            rows in proptest::collection::vec((0_u64..5000, 1_u64..5000), 0..6),
            wishes in proptest::collection::vec((1_u64..2000, proptest::option::of(0_u64..4000), 0_u64..1_000_001), 1..5),
            wide in any::<bool>(),
        ) {
            let block_size = if wide { 4096 } else { 512 };
            let mut at = 34;
            let mut partitions = Vec::new();
            for (index, (gap, length)) in rows.into_iter().enumerate() {
                partitions.push(Partition {
                    number: PartitionNumber(index as u32 + 1),
                    type_guid: types::ESP,
                    guid: uuid::Uuid::from_u128(index as u128),
                    first: Lba(at + gap),
                    last: Lba(at + gap + length - 1),
                    attributes: 0,
                    label: String::new(),
                });
                at += gap + length;
            }
            let layout = Layout {
                block_size,
                first_usable: Lba(34),
                last_usable: Lba(at + 3000),
                entries: 128,
                partitions,
            };
            let wishes: Vec<Wish> = wishes
                .into_iter()
                .map(|(min, more, weight)| {
                    let min = min * 4096;
                    Wish { min, max: more.map(|more| min + more * 4096), weight }
                })
                .collect();
            let Ok(places) = place(&layout, 4096, &wishes) else { return Ok(()) };
            prop_assert_eq!(places.len(), wishes.len());
            let block = u64::from(block_size);
            let mut taken: Vec<(u64, u64)> = layout
                .partitions
                .iter()
                .map(|p| (p.first.0 * block, (p.last.0 + 1) * block))
                .collect();
            for (index, Place { offset, length }) in places {
                let wish = wishes[index];
                prop_assert!(length.0 >= wish.min && length.0 <= wish.max.unwrap_or(u64::MAX));
                prop_assert!(offset.0 % 4096 == 0 && length.0 % 4096 == 0);
                taken.push((offset.0, offset.0 + length.0));
            }
            taken.sort();
            prop_assert!(taken.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{taken:?}");
            prop_assert!(taken[0].0 >= 34 * block && taken[taken.len() - 1].1 <= (at + 3001) * block);
        }
    }
}
