//! See `fuzz::config::image_policy`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::config::image_policy(data));
