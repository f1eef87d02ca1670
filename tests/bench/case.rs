//! One combination of size and sessions, and how it is run: a warm-up, then three runs on the same instance.

use std::time::{Duration, Instant};

use crate::{
    latency, load,
    memory::{self, Sampler},
    side::Side,
};

/// Runs of one case on one side.
const RUNS: usize = 3;

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    /// Octets of one message's body.
    pub(crate) size: usize,
    /// Sessions at once; also the connections to the sink.
    pub(crate) sessions: usize,
    /// Octets of bodies in one run of the slower side; the faster one gets ten times as many.
    volume: usize,
}

/// One run's figures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// Messages.
    pub(crate) messages: usize,
    /// CPU of the measured side alone.
    pub(crate) cpu: Duration,
    /// Until the source had the last `250`.
    pub(crate) accepted: Duration,
    /// Until the sink had the last message.
    pub(crate) relayed: Duration,
}

/// What one side did.
#[derive(Debug)]
pub(crate) struct Measured {
    /// Each run.
    pub(crate) runs: Vec<Run>,
    /// Proportional memory in KiB before the first message.
    pub(crate) idle: u64,
    /// Proportional memory in KiB during the runs: median and peak.
    pub(crate) memory: (u64, u64),
    /// From the final dot to the `250` at half load: median and 99th of a hundred.
    pub(crate) latency: (Duration, Duration),
    /// How it was set up.
    pub(crate) settings: String,
}

impl Case {
    /// 4 KiB, 20 sessions.
    pub(crate) fn usual() -> Self {
        Self {
            size: 4 << 10,
            sessions: 20,
            volume: 20 << 20,
        }
    }

    /// Every size with every number of sessions.
    pub(crate) fn all() -> Vec<Self> {
        let sizes = [
            (4 << 10, 20 << 20),
            (100 << 10, 100 << 20),
            (1 << 20, 200 << 20),
        ];
        let with = |sessions| {
            sizes.map(|(size, volume)| Self {
                size,
                sessions,
                volume,
            })
        };
        [1, 20, 100].map(with).concat()
    }

    /// Messages of one run on the slower side.
    pub(crate) fn messages(&self) -> usize {
        // One session alone is limited by the disk's latency.
        self.volume / self.size / if self.sessions == 1 { 10 } else { 1 }
    }
}

/// Measures one side, which is stopped afterwards.
pub(crate) fn run(case: &Case, side: &Side) -> Measured {
    let messages = case.messages() * side.pace;
    let sink = &side.sink;
    let idle = memory::proportional(&side.group);
    let warm_up = (messages / 10).max(case.sessions);
    load::send(case, side.address, warm_up);
    sink.wait_for(warm_up);
    let sampler = Sampler::start(side.group.clone());
    let mut before = sink.count();
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        let cpu = side.group.cpu();
        let start = Instant::now();
        load::send(case, side.address, messages);
        let accepted = start.elapsed();
        sink.wait_for(before + messages);
        let relayed = start.elapsed();
        before += messages;
        runs.push(Run {
            messages,
            cpu: side.group.cpu().saturating_sub(cpu),
            accepted,
            relayed,
        });
    }
    let memory = sampler.stop();
    let slowest = runs
        .iter()
        .map(|run| run.messages as f64 / run.relayed.as_secs_f64());
    let half = slowest.fold(f64::INFINITY, f64::min) / 2.0;
    let latency = latency::at(case, side.address, half);
    Measured {
        runs,
        idle,
        memory,
        latency,
        settings: side.settings.clone(),
    }
}
