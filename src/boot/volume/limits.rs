//! The limits of an unlock.

use std::fs;

use crate::luks::Limits;

/// The memory that an unlock may cost on this machine.
pub fn limits() -> Limits {
    // Without /proc there is nothing to spare, and a keyslot that needs memory is named for it.
    Limits::from_meminfo(&fs::read_to_string("/proc/meminfo").unwrap_or_default())
}
