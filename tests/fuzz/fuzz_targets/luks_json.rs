//! See `fuzz::luks::luks_json`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::luks::luks_json(data));
