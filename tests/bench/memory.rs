//! Memory of one side while it works, as proportional set size: summing resident sizes would count the pages that
//! Postfix's processes share once for each of them.

use std::{
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::Duration,
};

use posthouse_tests::gateway::memory_kib;

use crate::group::Group;

/// Often enough to see a peak, seldom enough not to be one.
const EVERY: Duration = Duration::from_millis(250);

/// Takes samples until it is stopped.
pub(crate) struct Sampler {
    stop: Sender<()>,
    samples: JoinHandle<Vec<u64>>,
}

impl Sampler {
    /// Begins.
    pub(crate) fn start(group: Group) -> Self {
        let (stop, stopped) = mpsc::channel();
        let samples = thread::spawn(move || {
            let mut samples = Vec::new();
            while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                samples.push(proportional(&group));
            }
            samples
        });
        Self { stop, samples }
    }

    /// Ends; median and peak in KiB.
    pub(crate) fn stop(self) -> (u64, u64) {
        drop(self.stop);
        let mut samples = self.samples.join().unwrap();
        samples.sort_unstable();
        let median = samples.get(samples.len() / 2).copied().unwrap_or(0);
        (median, samples.last().copied().unwrap_or(0))
    }
}

/// The memory of all its processes now, in KiB.
pub(crate) fn proportional(group: &Group) -> u64 {
    let processes = group.processes().into_iter();
    processes
        .map(|pid| memory_kib(pid, "smaps_rollup", "Pss:"))
        .sum()
}
