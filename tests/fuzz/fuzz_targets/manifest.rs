//! See `fuzz::etc::manifest`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::etc::manifest(data));
