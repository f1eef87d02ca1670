//! What is printed: Markdown, so that it can be kept as it is.

use std::{fs, time::Duration};

use crate::{
    case::{Case, Measured, Run},
    disk::Disk,
};

/// The machine and its disk.
pub(crate) fn machine(disk: &Disk) {
    let cpus = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    println!(
        "{cpus} CPUs, Linux {}, load average before: {load} (figures but CPU want a machine at rest)",
        kernel.trim()
    );
    println!(
        "bare 4 KiB write + fdatasync: p50 {}, p99 {}{}",
        time(disk.p50),
        time(disk.p99),
        disk.doubt
            .map_or(String::new(), |doubt| format!(" ({doubt}: no ratios)"))
    );
}

/// A case's heading.
pub(crate) fn case(case: &Case, ceiling: f64) {
    println!("\n## {} KiB, {} sessions\n", case.size >> 10, case.sessions);
    println!("source to sink with nothing between: {ceiling:.0} msg/s\n");
}

/// Both sides beside each other; the median of the runs, with the least and the most.
pub(crate) fn table(case: &Case, disk: &Disk, gateway: &Measured, postfix: &Measured) {
    println!("| | posthouse-gateway | Postfix | ratio |\n|---|---|---|---|");
    let row = |name: &str, figure: &dyn Fn(&Measured) -> (String, f64), upside_down: bool| {
        let (ours, theirs) = (figure(gateway), figure(postfix));
        let ratio = if upside_down {
            theirs.1 / ours.1
        } else {
            ours.1 / theirs.1
        };
        let ratio = if disk.doubt.is_some() {
            "–".to_owned()
        } else {
            format!("{ratio:.2}")
        };
        println!("| {name} | {} | {} | {ratio} |", ours.0, theirs.0);
    };
    row(
        "CPU per relayed message, µs",
        &|side| spread(side, &cpu),
        true,
    );
    row(
        "accepted, msg/s",
        &|side| spread(side, &|run| rate(run, run.accepted)),
        false,
    );
    row(
        "end to end, msg/s",
        &|side| spread(side, &|run| rate(run, run.relayed)),
        false,
    );
    row("memory (PSS) idle, MiB", &|side| mebibytes(side.idle), true);
    row(
        "memory (PSS) median, MiB",
        &|side| mebibytes(side.memory.0),
        true,
    );
    row(
        "memory (PSS) peak, MiB",
        &|side| mebibytes(side.memory.1),
        true,
    );
    row(
        "accept latency p50 at half load",
        &|side| span(side.latency.0),
        true,
    );
    row(
        "accept latency p99 at half load",
        &|side| span(side.latency.1),
        true,
    );
    println!(
        "\nratio: how many times better. Messages in one run: {} and {}.\n",
        gateway.runs[0].messages, postfix.runs[0].messages
    );
    if case.size == Case::usual().size && case.sessions == Case::usual().sessions {
        println!("main.cf of Postfix:\n\n```\n{}```\n", postfix.settings);
        println!("gateway.yaml:\n\n```\n{}```\n", gateway.settings);
    }
}

fn cpu(run: &Run) -> f64 {
    run.cpu.as_secs_f64() * 1e6 / run.messages as f64
}

fn rate(run: &Run, time: Duration) -> f64 {
    run.messages as f64 / time.as_secs_f64()
}

fn spread(side: &Measured, figure: &dyn Fn(&Run) -> f64) -> (String, f64) {
    let mut figures: Vec<f64> = side.runs.iter().map(figure).collect();
    figures.sort_unstable_by(f64::total_cmp);
    let median = figures[figures.len() / 2];
    (
        format!(
            "{median:.0} ({:.0}–{:.0})",
            figures[0],
            figures[figures.len() - 1]
        ),
        median,
    )
}

fn mebibytes(kib: u64) -> (String, f64) {
    let mebibytes = kib as f64 / 1024.0;
    (format!("{mebibytes:.1}"), mebibytes)
}

fn span(duration: Duration) -> (String, f64) {
    (time(duration), duration.as_secs_f64())
}

fn time(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1e3)
}
