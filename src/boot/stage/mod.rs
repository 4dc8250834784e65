//! The stages of the boot, in the order in which they are passed.

pub mod early;

pub mod devices;

pub mod usr;

pub mod provision;

pub mod root;

pub mod etc;

pub mod handover;
