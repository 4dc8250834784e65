//! See `fuzz::mkfs::vfat`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::mkfs::vfat(data));
