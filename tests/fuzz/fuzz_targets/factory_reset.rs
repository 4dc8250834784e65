//! See `fuzz::config::factory_reset`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::config::factory_reset(data));
