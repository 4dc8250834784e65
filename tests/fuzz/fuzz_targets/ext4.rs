//! See `fuzz::mkfs::ext4`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::mkfs::ext4(data));
