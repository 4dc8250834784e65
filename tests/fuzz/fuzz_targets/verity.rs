//! See `fuzz::verity::verity`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::verity::verity(data));
