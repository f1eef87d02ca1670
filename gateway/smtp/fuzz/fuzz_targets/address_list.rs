//! Address lists: what is found are addresses, whatever stands around them.
#![no_main]

#[allow(dead_code)] // each target uses one
#[path = "../checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::address_list(data));
