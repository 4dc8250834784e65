//! The machine tests: one behaviour or one attack per file, named after it. The head of a file says what is broken on
//! purpose and what must come of it.

mod context;
mod driver_names_a_panic;
mod first_boots;
mod image_is_sound;
mod init_to_systemd;
mod systemd_comes_up_twice;

use crate::prove::Level;
use crate::series::Series;
use anyhow::Result;
pub use context::{Context, TEST_INIT};

/// A machine test.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The behaviour in a few words, as the report prints it.
    pub name: &'static str,
    /// From which level on it runs.
    pub level: Level,
    /// The test; an error is its failure.
    pub run: fn(&Context<'_>) -> Result<()>,
}

const fn normal(name: &'static str, run: fn(&Context<'_>) -> Result<()>) -> Case {
    Case { name, level: Level::Normal, run }
}

/// All of them, in the order in which they start.
pub const ALL: &[Case] = &[
    normal("the driver names a kernel panic", driver_names_a_panic::run),
    normal("an image is sound for sfdisk and veritysetup", image_is_sound::run),
    normal("systemd comes up twice on an encrypted root", systemd_comes_up_twice::run),
    normal("the time from /init to systemd", init_to_systemd::run),
];

/// What is repeated by `cargo prove --long`.
pub const SERIES: &[Series] = &[
    Series { name: "first boots into the test init", times: 300, boot: first_boots::into_test_init },
    Series { name: "first boots into systemd", times: 20, boot: first_boots::into_systemd },
];
