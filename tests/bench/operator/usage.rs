//! Memory and CPU of one process, as the kernel counts them.

use std::{fs, time::Duration};

use posthouse_tests::gateway::memory_kib;

/// What a process takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// Proportional set size, KiB.
    pub(crate) proportional: u64,
    /// Resident set size, KiB: what a limit of the container counts, and the pages of its file besides.
    pub(crate) resident: u64,
    /// The most it was resident, KiB.
    pub(crate) peak: u64,
    /// Time on a CPU since its start.
    pub(crate) cpu: Duration,
}

impl Usage {
    /// Of a process, now.
    pub(crate) fn of(pid: u32) -> Self {
        Self {
            proportional: memory_kib(pid, "smaps_rollup", "Pss:"),
            resident: memory_kib(pid, "status", "VmRSS:"),
            peak: memory_kib(pid, "status", "VmHWM:"),
            cpu: cpu(pid),
        }
    }
}

/// `proc_pid_stat(5)`: utime and stime are the fields 14 and 15, in ticks. A tick is 10 ms wherever Linux shows it.
fn cpu(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The second field may have spaces in it, and ends with the last parenthesis.
    let rest = stat.rsplit_once(") ").unwrap().1;
    let ticks: u64 = rest
        .split(' ')
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u64>().unwrap())
        .sum();
    Duration::from_millis(ticks * 10)
}
