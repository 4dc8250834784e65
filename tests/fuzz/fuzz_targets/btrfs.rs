//! See `fuzz::mkfs::btrfs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::mkfs::btrfs(data));
