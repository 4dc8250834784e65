//! See `fuzz::tpm::tpm_token`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::tpm::tpm_token(data));
