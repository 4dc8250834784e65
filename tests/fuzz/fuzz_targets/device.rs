//! See `fuzz::config::device`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::config::device(data));
