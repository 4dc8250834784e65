//! The time from /init to systemd, on the first and on later boots, plain and encrypted, against an init that does
//! nothing but load modules, mount and execute. Nothing is broken here; a size or a time over its limit fails.

use super::Context;
use crate::numbers::{Way, measure};
use anyhow::Result;

/// Runs of each way; an odd number has a median that was measured.
const ROUNDS: u32 = 5;

pub fn run(context: &Context<'_>) -> Result<()> {
    let numbers = measure(context, &Way::ALL, ROUNDS)?;
    context.say(format!("median of {ROUNDS}\n{numbers}"));
    numbers.check_sizes()?;
    numbers.check_ratios()
}
