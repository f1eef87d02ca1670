//! Measures this gateway and Postfix, in one run on one machine, both durable, both between `smtp-source` and
//! `smtp-sink`.
//!
//! `posthouse-bench` measures 4 KiB at 20 sessions, three runs; `posthouse-bench all` the other sizes and numbers of
//! sessions as well. The second argument is the folder on whose file system both sides keep their queues.
//!
//! In reading order: [`case`] what is measured · [`load`] source and sink · [`side`] the two measured systems ·
//! [`group`] CPU and processes · [`memory`] its samples · [`latency`] of accepting · [`disk`] what a sync costs ·
//! [`report`] what is printed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a measurement that goes wrong ends at once; its result goes to standard output"
)]

mod case;
mod disk;
mod group;
mod latency;
mod load;
mod memory;
mod report;
mod side;

use std::{env, path::PathBuf};

use posthouse_tests::{Postfix, peer};

use crate::{case::Case, side::Side};

fn main() {
    let mut arguments = env::args().skip(1).peekable();
    let all = arguments.next_if_eq("all").is_some();
    let folder = arguments.next().map_or_else(env::temp_dir, PathBuf::from);
    if !Postfix::is_there()
        || peer::program("smtp-source").is_none()
        || peer::program("smtp-sink").is_none()
    {
        println!("nothing measured: Postfix is needed, as root");
        return;
    }
    let disk = disk::probe(&folder);
    report::machine(&disk);
    for case in if all {
        Case::all()
    } else {
        vec![Case::usual()]
    } {
        measure(&folder, &case, &disk);
    }
}

fn measure(folder: &std::path::Path, case: &Case, disk: &disk::Disk) {
    report::case(case, load::ceiling(case));
    let postfix = case::run(case, &Side::postfix(folder, case));
    let gateway = case::run(case, &Side::gateway(folder, case));
    report::table(case, disk, &gateway, &postfix);
}
