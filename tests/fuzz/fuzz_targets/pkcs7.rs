//! See `fuzz::verity::pkcs7`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::verity::pkcs7(data));
