//! Content: one end, however it is cut, here and at the next hop.
#![no_main]

#[allow(dead_code)] // each target uses one
#[path = "../checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::content(data));
