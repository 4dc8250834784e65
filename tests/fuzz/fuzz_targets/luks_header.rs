//! See `fuzz::luks::luks_header`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::luks::luks_header(data));
