//! See `fuzz::machine::machine_id`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::machine::machine_id(data));
