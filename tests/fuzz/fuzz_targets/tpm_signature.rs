//! See `fuzz::tpm::tpm_signature`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::tpm::tpm_signature(data));
