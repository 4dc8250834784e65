//! See `fuzz::machine::modules`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::machine::modules(data));
