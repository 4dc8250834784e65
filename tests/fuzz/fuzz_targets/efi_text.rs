//! See `fuzz::machine::efi_text`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::machine::efi_text(data));
