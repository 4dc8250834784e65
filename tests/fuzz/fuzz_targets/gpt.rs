//! See `fuzz::disk::gpt`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::disk::gpt(data));
