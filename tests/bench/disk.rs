//! What the disk itself costs: a bare 4 KiB write and `fdatasync` on the file system of the queues.

use std::{
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

use rustix::fs::statfs;
use tempfile::tempfile_in;

/// Enough for a 99th of a hundred that does not jump.
const WRITES: usize = 2000;

/// `statfs` types on which a sync costs nothing or says nothing about the disk.
const NOT_A_DISK: [(u64, &str); 2] = [(0x0102_1994, "tmpfs"), (0x794c_7630, "overlay")];

/// Below this a sync does not reach a disk.
const TOO_FAST: Duration = Duration::from_micros(10);

/// The disk's own figures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Disk {
    /// Median.
    pub(crate) p50: Duration,
    /// The 99th of a hundred.
    pub(crate) p99: Duration,
    /// Why a ratio measured here means nothing.
    pub(crate) doubt: Option<&'static str>,
}

/// Measures the file system of a folder.
#[expect(
    clippy::disallowed_methods,
    reason = "the sync itself is what is measured"
)]
pub(crate) fn probe(folder: &Path) -> Disk {
    let mut file = tempfile_in(folder).unwrap();
    let block = [b'x'; 4096];
    let mut times: Vec<Duration> = (0..WRITES)
        .map(|_| {
            let start = Instant::now();
            file.write_all(&block).unwrap();
            file.sync_data().unwrap();
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    let kind = u64::try_from(statfs(folder).unwrap().f_type).unwrap_or(0);
    let named = NOT_A_DISK
        .iter()
        .find(|(magic, _)| *magic == kind)
        .map(|(_, name)| *name);
    let p50 = times[WRITES / 2];
    Disk {
        p50,
        p99: times[WRITES * 99 / 100],
        doubt: named.or((p50 < TOO_FAST).then_some("a file system that does not sync")),
    }
}
