//! See `fuzz::config::command_line`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::config::command_line(data));
