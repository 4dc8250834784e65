//! `cargo demo`, `cargo prove`, `cargo vm`.

fn main() {}
