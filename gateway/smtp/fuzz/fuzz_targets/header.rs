//! Header sections: fields without gaps.
#![no_main]

#[allow(dead_code)] // each target uses one
#[path = "../checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::header(data));
