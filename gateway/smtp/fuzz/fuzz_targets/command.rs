//! Commands and the lines they come in.
#![no_main]

#[allow(dead_code)] // each target uses one
#[path = "../checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::command(data));
