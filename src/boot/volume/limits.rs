//! The limits of an unlock.

use std::fs;

use crate::luks::Limits;

/// The memory that an unlock may cost on this machine.
pub fn limits() -> Limits {
    // Without /proc no memory is granted, and a keyslot that needs memory is named with that reason.
    Limits::from_meminfo(&fs::read_to_string("/proc/meminfo").unwrap_or_default())
}
