//! The gap that each new partition goes into: the smallest that fits, in the order of the definitions. When not all
//! fit, first supplements are no longer merged, then partitions that may be left out are left out.
//!
//! Source: the behaviour of systemd-repart 262, which the tests compare with.

use std::prelude::v1::*;

use super::{
    Verity,
    element::{Element, Elements},
    size::{round_down, round_up},
};
use crate::disk::partition::Layout;
use crate::sort;

/// A gap between partitions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Area {
    /// The element before it; None at the beginning of the disk.
    pub after: Option<usize>,
    /// The start of the gap at the beginning of the disk.
    pub start: u64,
    pub size: u64,
    pub allocated: u64,
}

/// The definition that does not fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Lack {
    /// The element.
    pub element: usize,
    /// The least size that it needs.
    pub needed: u64,
    /// The most that there is for it.
    pub largest: u64,
}

/// All gaps, and the order in which they are tried.
pub(super) struct Areas {
    pub list: Vec<Area>,
    /// Indices of `list`, smallest first; those of equal size stay in the order that they had.
    pub order: Vec<usize>,
}

impl Areas {
    /// The gaps of a disk; each element gets the gap behind it.
    pub fn new(elements: &mut Elements<'_>, layout: &Layout) -> Self {
        let (grain, block) = (elements.grain, u64::from(layout.block_size));
        let mut list = Vec::new();
        // Found in the order of the table, as systemd-repart does: it decides among gaps of equal size.
        let mut existing: Vec<(usize, usize)> = elements
            .list
            .iter()
            .enumerate()
            .filter_map(|(index, element)| Some((element.existing?.index, index)))
            .collect();
        sort::slice(&mut existing);
        for (_, index) in existing {
            let Some(element) = elements.list.get_mut(index) else { continue };
            let size = element.existing.map_or(0, |existing| existing.padding);
            if size > 0 {
                element.gap = Some(list.len());
                list.push(Area { after: Some(index), start: 0, size, allocated: 0 });
            }
        }
        let start = round_up(layout.first_usable.0.saturating_mul(block), grain);
        let first = layout.partitions.iter().map(|partition| partition.first.0).min();
        let end = first.unwrap_or(layout.last_usable.0.saturating_add(1));
        let end = round_down(end.saturating_mul(block), grain);
        if end > start {
            list.push(Area { after: None, start, size: end - start, allocated: 0 });
        }
        let order = (0..list.len()).collect();
        Self { list, order }
    }

    /// The part of a gap for new partitions when the one before it gets its least size: the end of the gap less the
    /// least end of that partition.
    fn available(&self, elements: &Elements<'_>, area: &Area) -> Result<u64, Lack> {
        let left = area.size.saturating_sub(area.allocated);
        let Some((index, element)) = area.after.and_then(|index| Some((index, elements.list.get(index)?)))
        else {
            return Ok(left);
        };
        let Some(existing) = element.existing else { return Ok(left) };
        let end =
            round_up(existing.offset.saturating_add(existing.size), elements.grain).saturating_add(left);
        let needed = elements.min_with_padding(element);
        let least = round_up(existing.offset.saturating_add(needed), elements.grain);
        end.checked_sub(least).ok_or(Lack {
            element: index,
            needed,
            largest: existing.size.saturating_add(existing.padding),
        })
    }

    /// Allots a gap to every new partition, or returns the one that does not fit.
    fn allocate(&mut self, elements: &mut Elements<'_>) -> Result<(), Lack> {
        for area in &mut self.list {
            area.allocated = 0;
        }
        for element in &mut elements.list {
            element.area = None;
        }
        let sizes: Vec<u64> =
            self.list.iter().map(|area| self.available(elements, area).unwrap_or(0)).collect();
        sort::by_key(&mut self.order, |index| sizes.get(*index));
        for area in &self.list {
            self.available(elements, area)?;
        }
        for index in 0..elements.list.len() {
            let Some(element) = elements.list.get(index) else { continue };
            if element.dropped || element.definition.is_none() || elements.is_merged(index) {
                continue;
            }
            let needed = elements.min_with_padding(element);
            if let Some(existing) = element.existing {
                let largest = existing.size.saturating_add(existing.padding);
                if largest < needed {
                    return Err(Lack { element: index, needed, largest });
                }
                continue;
            }
            let mut largest = 0;
            let mut fits = None;
            for candidate in &self.order {
                let Some(area) = self.list.get(*candidate) else { continue };
                let available = self.available(elements, area).unwrap_or(0);
                largest = largest.max(available);
                if available >= needed {
                    fits = Some(*candidate);
                    break;
                }
            }
            let Some(fits) = fits else { return Err(Lack { element: index, needed, largest }) };
            if let (Some(area), Some(element)) = (self.list.get_mut(fits), elements.list.get_mut(index)) {
                area.allocated = area.allocated.saturating_add(needed);
                element.area = Some(fits);
            }
        }
        Ok(())
    }

    /// Allots gaps, leaving out and un-merging as little as it takes.
    pub fn fit(&mut self, elements: &mut Elements<'_>) -> Result<(), Lack> {
        loop {
            let lack = match self.allocate(elements) {
                Ok(()) => return Ok(()),
                Err(lack) => lack,
            };
            let merged: Vec<usize> =
                (0..elements.list.len()).filter(|index| is_target(elements, *index)).collect();
            if self.unmerge(elements, &merged) {
                return Ok(());
            }
            if !drop_one_priority(elements) {
                return Err(lack);
            }
        }
    }

    /// Tries to fit with one supplement less merged, each in turn, then with two, and so on.
    fn unmerge(&mut self, elements: &mut Elements<'_>, targets: &[usize]) -> bool {
        for count in 1..=targets.len() {
            for chosen in combinations(targets, count) {
                let before: Vec<Option<usize>> =
                    chosen.iter().map(|target| elements.list.get_mut(*target)?.merged.take()).collect();
                if self.allocate(elements).is_ok() {
                    return true;
                }
                for (target, supplement) in chosen.iter().zip(before) {
                    if let Some(element) = elements.list.get_mut(*target) {
                        element.merged = supplement;
                    }
                }
            }
        }
        false
    }
}

fn is_target(elements: &Elements<'_>, index: usize) -> bool {
    elements.list.get(index).is_some_and(|element| element.merged.is_some())
}

/// More combinations than this are not tried: definitions come from people.
const MOST_COMBINATIONS: usize = 4096;

/// All choices of `count` among `from`, in order.
fn combinations(from: &[usize], count: usize) -> Vec<Vec<usize>> {
    let mut all: Vec<Vec<usize>> = Vec::new();
    let mut open: Vec<(Vec<usize>, usize)> = vec![(Vec::new(), 0)];
    while let Some((chosen, next)) = open.pop() {
        if chosen.len() == count {
            all.push(chosen);
            if all.len() >= MOST_COMBINATIONS {
                break;
            }
            continue;
        }
        // Pushed from the last to the first, so that the first one is looked at first.
        for (at, target) in from.iter().enumerate().skip(next).rev() {
            let mut more = chosen.clone();
            more.push(*target);
            open.push((more, at + 1));
        }
    }
    all
}

/// Leaves out the definitions with the highest priority number, and their dm-verity siblings; existing partitions stay.
/// Returns false when none may be left out.
fn drop_one_priority(elements: &mut Elements<'_>) -> bool {
    let highest =
        elements.list.iter().filter(|element| !element.dropped).map(Element::priority).max().unwrap_or(0);
    if highest <= 0 {
        return false;
    }
    let mut going: Vec<usize> = (0..elements.list.len())
        .filter(|index| elements.list.get(*index).is_some_and(|element| element.priority() >= highest))
        .collect();
    let siblings: Vec<usize> = going.iter().flat_map(|index| siblings(elements, *index)).collect();
    going.extend(siblings);
    for index in going {
        leave_out(elements, index);
    }
    true
}

/// The other partitions of the same dm-verity image.
fn siblings(elements: &Elements<'_>, index: usize) -> Vec<usize> {
    let definition = |index: usize| elements.list.get(index).and_then(|element| element.definition);
    let Some(mine) = definition(index).filter(|mine| mine.verity != Verity::Off) else { return Vec::new() };
    (0..elements.list.len())
        .filter(|other| {
            *other != index
                && definition(*other).is_some_and(|other| {
                    other.verity != Verity::Off && other.verity_match_key == mine.verity_match_key
                })
        })
        .collect()
}

fn leave_out(elements: &mut Elements<'_>, index: usize) {
    let merged = elements.is_merged(index);
    let Some(element) = elements.list.get_mut(index) else { return };
    if element.dropped || element.definition.is_none() {
        return;
    }
    let target = element.supplement_for;
    if element.existing.is_some() {
        element.given_up = element.definition.take();
        element.supplement_for = None;
        let supplement = element.merged.take();
        if let Some(supplement) = supplement.and_then(|supplement| elements.list.get_mut(supplement)) {
            supplement.supplement_for = None;
        }
    } else {
        element.dropped = true;
    }
    if let Some(target) = target.and_then(|target| elements.list.get_mut(target)).filter(|_| merged) {
        target.merged = None;
    }
}
