//! LUKS2 against cryptsetup, in both directions: its volumes are opened here, and volumes made here by it.

#[path = "../common/mod.rs"]
mod common;
mod forged;
mod naive;
mod reading;
mod suite;
mod volume;
mod writing;
