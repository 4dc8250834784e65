//! See `fuzz::mkfs::swap`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::mkfs::swap(data));
