//! The time from /init to systemd, plain and encrypted, against an init that does the same job and knows everything before it
//! begins. Nothing is broken here; a size or a time over its limit fails, and in the long form also a multi-user.target that
//! comes later than the floor's.

use super::Context;
use crate::numbers::{Until, Way, measure};
use anyhow::Result;

/// Later boots, twice, as far as systemd's banner.
pub fn later(context: &Context<'_>) -> Result<()> {
    let numbers = measure(context, &Way::LATER, 2, Until::Banner)?;
    context.say(format!("median of 2\n{numbers}"));
    numbers.check_sizes()?;
    numbers.check_ratios()
}

/// Every way five times, or as often as `--times` says, as far as multi-user.target; an odd number has a median that was
/// measured.
pub fn all(context: &Context<'_>) -> Result<()> {
    let rounds = context.times.unwrap_or(5);
    let numbers = measure(context, &Way::ALL, rounds, Until::MultiUser)?;
    context.say(format!("median of {rounds}\n{numbers}"));
    numbers.check_sizes()?;
    numbers.check_ratios()?;
    numbers.check_multi_user()
}
