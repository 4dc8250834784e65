//! The budget of an unlock on this machine.

use std::fs;

use crate::luks::Budget;

/// The memory and the work that an unlock may cost now.
pub fn budget() -> Budget {
    // Without /proc no memory is granted, and a keyslot that needs memory is named with that reason.
    Budget::from_meminfo(&fs::read_to_string("/proc/meminfo").unwrap_or_default())
}
