//! See `fuzz::config::os_release`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::config::os_release(data));
