//! The size of every partition, and the start of new ones: the space of a gap and of the partition before it is shared
//! by weight, within the bounds that each has.
//!
//! Source: the behaviour of systemd-repart 262, which the tests compare with.

use std::prelude::v1::*;

use uuid::Uuid;

use super::{
    allocate::{Area, Areas},
    element::Elements,
    size::{round_down, round_up},
};
use crate::disk::partition::Layout;

/// The order in which sizes are decided.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A partition without a definition keeps its size.
    Foreign,
    /// A partition that needs more than its share gets its least size.
    Overcharge,
    /// A partition that may not have its share gets its largest size.
    Undercharge,
    /// The others get their share.
    Distribute,
}

/// Space that is still to be shared, and the weights of those who still get a part of it.
struct Share {
    span: u64,
    weights: u64,
    grain: u64,
}

impl Share {
    /// The share of `weight`, rounded down.
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

    /// Takes a decided size out of the shared space.
    fn charge(&mut self, size: u64, weight: u64) {
        self.span = self.span.saturating_sub(round_up(size, self.grain));
        self.weights = self.weights.saturating_sub(weight);
    }

    /// The size that a phase decides for a partition with these bounds, if any.
    fn decide(&mut self, phase: Phase, weight: u64, min: u64, max: u64) -> Option<u64> {
        let share = self.of(weight);
        let size = match phase {
            Phase::Overcharge if min > share => min,
            Phase::Undercharge if max < share => max,
            Phase::Distribute => round_down(share, self.grain).max(min).min(max),
            _ => return None,
        };
        self.charge(size, weight);
        Some(size)
    }
}

/// Decides the size of every element that is not left out, and the place and number of new ones.
pub(super) fn grow(elements: &mut Elements<'_>, areas: &Areas) {
    for index in &areas.order {
        if let Some(area) = areas.list.get(*index) {
            share(elements, *index, area);
        }
    }
    for element in &mut elements.list {
        if let Some(existing) = element.existing.filter(|_| element.gap.is_none()) {
            element.size = Some(existing.size);
            element.padding = Some(existing.padding);
        }
    }
}

/// Shares a gap, and the space of the partition before it, among that one and the new ones.
fn share(elements: &mut Elements<'_>, index: usize, area: &Area) {
    // The partition before comes first, then the new ones in the order of their definitions.
    let is_new =
        |member: &usize| elements.list.get(*member).is_some_and(|element| element.area == Some(index));
    let members: Vec<usize> = area.after.into_iter().chain((0..elements.list.len()).filter(is_new)).collect();
    let before = area.after.and_then(|after| elements.list.get(after)).and_then(|element| element.existing);
    // When the partition before does not begin on the grain, the rounding of its size costs up to a grain of the gap.
    let own = before.map_or(0, |existing| {
        round_up(existing.offset.saturating_add(existing.size), elements.grain)
            .saturating_sub(existing.offset)
    });
    let weights =
        members.iter().filter_map(|member| elements.list.get(*member)).fold(0_u64, |sum, element| {
            let (weight, padding) = elements.weights(element);
            sum.saturating_add(weight).saturating_add(padding)
        });
    let mut share = Share { span: area.size.saturating_add(own), weights, grain: elements.grain };
    for phase in [Phase::Foreign, Phase::Overcharge, Phase::Undercharge, Phase::Distribute] {
        // Every decision changes the shares of the others: the list is gone through again until there is none.
        while decide(elements, &members, phase, &mut share) {}
    }
    // The rest that rounding and bounds left over goes to the partitions that may have it, in the same order.
    // A rest that none may have stays free behind the last new one.
    let last = members.iter().copied().rfind(|member| area.after != Some(*member));
    for member in members {
        let Some(element) = elements.list.get(member).filter(|element| element.definition.is_some()) else {
            continue;
        };
        let Some(size) = element.size else { continue };
        let max = elements.max_size(element).unwrap_or(u64::MAX);
        let more = round_down(size.saturating_add(share.span), elements.grain).max(size).min(max.max(size));
        share.span = share.span.saturating_sub(round_up(more - size, elements.grain));
        if let Some(element) = elements.list.get_mut(member) {
            element.size = Some(more);
        }
    }
    // A new one ends on the grain, so that less than a grain may be left over behind it.
    let rest = last.map_or(share.span, |_| round_down(share.span, elements.grain));
    if let Some(element) = last.or(area.after).and_then(|last| elements.list.get_mut(last)) {
        element.padding = element.padding.map(|padding| padding.saturating_add(rest));
    }
}

/// One pass of a phase over the members. True when it has to be repeated.
fn decide(elements: &mut Elements<'_>, members: &[usize], phase: Phase, share: &mut Share) -> bool {
    let mut again = false;
    for member in members {
        let Some(element) = elements.list.get(*member) else { continue };
        let (weight, padding_weight) = elements.weights(element);
        let (mut size, mut padding) = (element.size, element.padding);
        if size.is_none() {
            size = match (phase, element.definition, element.existing) {
                (Phase::Foreign, None, Some(existing)) => {
                    share.charge(existing.size, weight);
                    Some(existing.size)
                }
                _ => {
                    let max = elements.max_size(element).unwrap_or(u64::MAX);
                    share.decide(phase, weight, elements.min_size(element), max)
                }
            };
            again |= size.is_some() && matches!(phase, Phase::Overcharge | Phase::Undercharge);
        }
        if padding.is_none() {
            let (min, max) = (elements.min_padding(element), elements.max_padding(element));
            padding = share.decide(phase, padding_weight, min, max);
            again |= padding.is_some() && matches!(phase, Phase::Overcharge | Phase::Undercharge);
        }
        if let Some(element) = elements.list.get_mut(*member) {
            (element.size, element.padding) = (size, padding);
        }
    }
    again
}

/// The entries of a table, with the types of those that are used.
pub(super) struct Numbers {
    entries: u32,
    used: Vec<(u32, Uuid)>,
}

impl Numbers {
    /// Those of a disk.
    pub fn of(layout: &Layout) -> Self {
        let used = layout.partitions.iter().map(|partition| (partition.number.0, partition.type_guid));
        Self { entries: layout.entries, used: used.collect() }
    }

    /// Takes the lowest free entry behind all partitions of this type, so that definitions and partitions stay in the same
    /// order; when there is none behind, the lowest. None when all are used.
    fn take(&mut self, type_guid: Uuid) -> Option<u32> {
        let same = self.used.iter().filter(|(_, used)| *used == type_guid).map(|(number, _)| *number);
        let behind = same.max().unwrap_or(0);
        let is_free = |number: &u32| self.used.iter().all(|(used, _)| used != number);
        let number =
            (behind + 1..=self.entries).find(is_free).or_else(|| (1..=self.entries).find(is_free))?;
        self.used.push((number, type_guid));
        Some(number)
    }
}

/// Lines new partitions up in their gaps and gives each its entry, gap by gap, smallest first.
pub(super) fn place(elements: &mut Elements<'_>, areas: &Areas, numbers: &mut Numbers) {
    for index in &areas.order {
        let Some(area) = areas.list.get(*index) else { continue };
        let before = area.after.and_then(|after| elements.list.get(after));
        let mut at = match before
            .and_then(|element| Some((element.existing?, element.size?, element.padding?)))
        {
            Some((existing, size, padding)) => existing.offset.saturating_add(size).saturating_add(padding),
            None => area.start,
        };
        at = round_up(at, elements.grain);
        for element in elements.list.iter_mut().filter(|element| element.area == Some(*index)) {
            element.offset = Some(at);
            element.number = element.definition.and_then(|definition| numbers.take(definition.type_guid));
            let taken = element.size.unwrap_or(0).saturating_add(element.padding.unwrap_or(0));
            at = round_up(at.saturating_add(taken), elements.grain);
        }
    }
}
