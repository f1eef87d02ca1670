//! SASL responses: what is read holds no separator.
#![no_main]

#[allow(dead_code)] // each target uses one
#[path = "../checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::sasl(data));
