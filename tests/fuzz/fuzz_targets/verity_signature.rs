//! See `fuzz::verity::verity_signature`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::verity::verity_signature(data));
