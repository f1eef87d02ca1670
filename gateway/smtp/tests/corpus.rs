//! Replays the fuzz targets' corpus: what once broke something, and what is near the edge.

// A test may panic; what is checked may not.
#![allow(clippy::indexing_slicing, clippy::unwrap_used)]

#[path = "../fuzz/checks.rs"]
mod checks;

use std::{fs, path::Path};

fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut replayed = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        check(&fs::read(entry.unwrap().path()).unwrap());
        replayed += 1;
    }
    assert!(replayed > 0, "{} is empty", folder.display());
}

#[test]
fn commands() {
    replay("command", checks::command);
}

#[test]
fn content() {
    replay("content", checks::content);
}

#[test]
fn address_lists() {
    replay("address_list", checks::address_list);
}

#[test]
fn headers() {
    replay("header", checks::header);
}

#[test]
fn sasl() {
    replay("sasl", checks::sasl);
}
