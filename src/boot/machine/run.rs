//! Our directory below /run (docs/reference/formats.md, "What it leaves in /run").

use std::{fs, io, path::Path};

use crate::boot::story::VERSION;

/// The directory: the stages' mount points while they last, and the files for the real system.
pub const OURS: &str = "/run/hermetic-init";

/// A file that is there once we have handed over. Found at our start, it says that the real root's `init=` named us again.
const GUARD: &str = "/run/hermetic-init/handed-over";

/// Leaves the mark by which a second start of this program in the same boot is recognised.
///
/// # Errors
/// /run cannot be written.
pub fn set_guard() -> io::Result<()> {
    fs::write(GUARD, format!("{VERSION}\n"))
}

/// True when this boot has been handed over before: `init=` of the real root named us again.
pub fn is_second_start() -> bool {
    Path::new(GUARD).exists()
}
