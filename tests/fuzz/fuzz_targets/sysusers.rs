//! See `fuzz::sysusers::sysusers`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::sysusers::sysusers(data));
