//! LUKS2 against cryptsetup, in both directions: what it makes we open, what we make it opens.

#[path = "../common/mod.rs"]
mod common;
mod forged;
mod naive;
mod reading;
mod suite;
mod volume;
mod writing;
