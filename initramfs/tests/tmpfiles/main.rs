//! `hermetic tmpfiles` against systemd-tmpfiles 257: the same root twice, once for the tool and once for us, then both trees must be
//! equal (types, modes, owners, link targets, contents, devices, extended attributes, lists, file attributes), and so
//! must be how both ended and which lines they complained about.
//!
//! | file | what belongs there |
//! |---|---|
//! | [`suite`] | systemd's own test suites |
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod suite;

#[path = "../common/mod.rs"]
mod common;
