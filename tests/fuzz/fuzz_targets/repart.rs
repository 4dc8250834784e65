//! See `fuzz::repart::repart`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::repart::repart(data));
