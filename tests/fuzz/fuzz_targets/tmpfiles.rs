//! See `fuzz::tmpfiles::tmpfiles`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::tmpfiles::tmpfiles(data));
