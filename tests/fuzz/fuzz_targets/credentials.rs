//! See `fuzz::config::credentials`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::config::credentials(data));
