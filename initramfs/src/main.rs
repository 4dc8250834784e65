//! The host tool `hermetic`.

fn main() {}
