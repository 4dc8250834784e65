//! LUKS2 against cryptsetup, in both directions: what it makes we open, what we make it opens.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../common/mod.rs"]
mod common;
mod forged;
mod naive;
mod reading;
mod suite;
mod volume;
mod writing;
