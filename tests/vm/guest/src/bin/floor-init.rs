//! (to be furnished)

fn main() {}
