//! See `fuzz::machine::uevent`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::machine::uevent(data));
