//! What is printed: Markdown, so that it can be kept as it is.

use std::{fs, time::Duration};

use crate::{
    audit::{Call, by_kind},
    fleet::Fleet,
    usage::Usage,
};

/// Some minutes in which nothing happened.
pub(crate) struct Rest {
    pub(crate) time: Duration,
    pub(crate) calls: Vec<Call>,
    pub(crate) cpu: Duration,
    pub(crate) usage: Usage,
    /// Looks at MailRelays and at MailSenders.
    pub(crate) reconciles: (f64, f64),
    /// Questions to gateways.
    pub(crate) questions: u64,
}

/// The machine, and what is measured.
pub(crate) fn heading(fleet: &Fleet) {
    let cpus = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    println!(
        "{cpus} CPUs, load average before: {} (times and CPU want a machine at rest)\n",
        load()
    );
    println!(
        "{} MailRelays, {} gateways, {} MailSenders\n",
        fleet.relays,
        fleet.gateways(),
        fleet.relays * fleet.senders
    );
}

/// Everything was made and is ready.
pub(crate) fn built(took: Duration, calls: &[Call]) {
    println!(
        "all ready {:.0} s after the operator's first start, {} calls to the API server (pods are made by the \
         control plane beside)",
        took.as_secs_f64(),
        calls.len()
    );
    kinds(calls, None);
}

/// Nothing happens.
pub(crate) fn rest(rest: &Rest) {
    let minutes = rest.time.as_secs_f64() / 60.0;
    println!(
        "\n## At rest, over {minutes:.1} min, load average {}\n",
        load()
    );
    memory("then", &rest.usage);
    println!(
        "calls to the API server, per minute: {:.1} (all of the operator's in the API server's audit log)",
        rest.calls.len() as f64 / minutes
    );
    kinds(&rest.calls, Some(minutes));
    println!(
        "CPU seconds per minute: {:.2}",
        rest.cpu.as_secs_f64() / minutes
    );
    println!(
        "looks per minute: {:.0} at MailRelays, {:.0} at MailSenders; gateways asked per minute: {:.0}",
        rest.reconciles.0 / minutes,
        rest.reconciles.1 / minutes,
        rest.questions as f64 / minutes
    );
}

/// Edits of MailRelays.
pub(crate) fn edits(times: &[Duration]) {
    println!("\n## Edits\n");
    println!(
        "{} edits, from the request to the written document: p50 {}, p99 {} (load average {})\n",
        times.len(),
        span(times, 50),
        span(times, 99),
        load()
    );
}

/// A new leader where everything is in place.
pub(crate) fn started(took: Duration, calls: &[Call], usage: &Usage, looks: (f64, f64)) {
    println!("\n## A new leader\n");
    println!(
        "from the start of the process until every relay and sender was looked at and every Secret written again: \
         {:.1} s, {} calls, {:.1} s of CPU, {:.0} looks at MailRelays, {:.0} at MailSenders",
        took.as_secs_f64(),
        calls.len(),
        usage.cpu.as_secs_f64(),
        looks.0,
        looks.1
    );
    kinds(calls, None);
    memory("then", usage);
}

/// Memory at some time.
pub(crate) fn memory(when: &str, usage: &Usage) {
    let mebibytes = |kib: u64| kib as f64 / 1024.0;
    println!(
        "memory {when}, MiB: PSS {:.1}, RSS {:.1}, highest RSS so far {:.1}",
        mebibytes(usage.proportional),
        mebibytes(usage.resident),
        mebibytes(usage.peak)
    );
}

fn kinds(calls: &[Call], minutes: Option<f64>) {
    for (kind, count) in by_kind(calls) {
        match minutes {
            Some(minutes) => println!("- {kind}: {:.1}", count as f64 / minutes),
            None => println!("- {kind}: {count}"),
        }
    }
}

fn span(times: &[Duration], percent: usize) -> String {
    let last = times.len() - 1;
    let time = times[(times.len() * percent / 100).min(last)];
    format!("{:.0} ms", time.as_secs_f64() * 1e3)
}

fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or_default().to_owned()
}
