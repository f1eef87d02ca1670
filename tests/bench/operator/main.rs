//! Measures what the operator costs: 200 MailRelays and 2,000 MailSenders on a real API server.
//!
//! The control plane, the chart's rights and the operator are the real ones. Of gateways only what the operator sees is
//! there: pods that are said to run ([`posthouse_tests::kubelet`]) and, at their addresses, an answer to `/status` over the
//! link that says the truth about the files the pod would have read ([`stand_in`]).
//!
//! `posthouse-bench-operator [RELAYS [SENDERS PER RELAY]]`. In reading order: [`fleet`] what is made · [`stand_in`] who
//! answers · [`audit`] what the operator asks of the API server · [`usage`] memory and CPU · [`edits`] how fast it follows ·
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

mod audit;
mod edits;
mod fleet;
mod report;
mod stand_in;
mod usage;

use std::{
    env,
    sync::Arc,
    time::{Duration, Instant},
};

use posthouse_tests::{Cluster, Installation, Operator, wait};

use crate::{audit::Log, fleet::Fleet, report::Rest, stand_in::Gateways, usage::Usage};

/// For how long the operator is watched while nothing happens.
const REST: Duration = Duration::from_mins(2);

/// For how long nothing must have been written before that counts as rest.
const QUIET: Duration = Duration::from_secs(15);

/// How long anything may take on a machine that builds something else at the same time.
const DEADLINE: Duration = Duration::from_mins(15);

fn main() {
    let mut numbers = env::args().skip(1).map(|word| word.parse().unwrap());
    let fleet = Fleet {
        relays: numbers.next().unwrap_or(200),
        senders: numbers.next().unwrap_or(10),
    };
    let Some(cluster) = Cluster::start_audited() else {
        return;
    };
    // An image that the kubelet does not know: such a pod is only said to run.
    let values = [
        "relayNamespaces={*}",
        "gatewayImage.repository=registry.example/stand-in",
    ];
    let Some(installation) = Installation::install(&cluster, &values) else {
        return;
    };
    report::heading(&fleet);
    let gateways = stand_in::start(&cluster);
    measure(&cluster, &installation, &fleet, &gateways);
}

fn measure(
    cluster: &Arc<Cluster>,
    installation: &Installation,
    fleet: &Fleet,
    gateways: &Arc<Gateways>,
) {
    let log = Log::new(cluster.audit_log());
    fleet.create(cluster);
    let begun = Instant::now();
    let operator = installation.start();
    cluster.run(fleet.ready(cluster, DEADLINE));
    report::built(begun.elapsed(), &log.all());
    quiet(&log);

    report::rest(&rest(&operator, &log, gateways));
    report::edits(&cluster.run(edits::follow(cluster, fleet)));
    quiet(&log);
    report::memory("after all of this", &Usage::of(operator.pid()));
    operator.stop();

    let before = log.all().len();
    let begun = Instant::now();
    let operator = installation.start();
    // Each relay's keys and each sender's binding are written again by a new leader, after everything else of it.
    wait::until("every Secret was looked after", DEADLINE, || {
        let calls = log.all();
        let writes = calls[before..].iter().filter(|call| call.is_secret());
        (writes.count() >= fleet.secrets()).then_some(())
    });
    let took = begun.elapsed();
    quiet(&log);
    report::started(
        took,
        &log.all()[before..],
        &Usage::of(operator.pid()),
        reconciles(&operator),
    );
    operator.stop();
}

/// Waits until nothing is written for a while.
fn quiet(log: &Log) {
    let (mut writes, mut since) = (usize::MAX, Instant::now());
    wait::until("nothing is written any more", DEADLINE, || {
        let calls = log.all();
        let now = calls.iter().filter(|call| call.is_work()).count();
        if now != writes {
            (writes, since) = (now, Instant::now());
        }
        (since.elapsed() >= QUIET).then_some(())
    });
}

fn rest(operator: &Operator, log: &Log, gateways: &Gateways) -> Rest {
    let (begun, before) = (Instant::now(), log.all().len());
    let (usage, looks) = (Usage::of(operator.pid()), reconciles(operator));
    let questions = gateways.questions();
    wait::until("some minutes of rest are over", REST * 2, || {
        (begun.elapsed() >= REST).then_some(())
    });
    let after = Usage::of(operator.pid());
    let now = reconciles(operator);
    Rest {
        time: begun.elapsed(),
        calls: log.all().split_off(before),
        cpu: after.cpu.saturating_sub(usage.cpu),
        usage: after,
        reconciles: (now.0 - looks.0, now.1 - looks.1),
        questions: gateways.questions() - questions,
    }
}

/// Looks at MailRelays and at MailSenders so far.
fn reconciles(operator: &Operator) -> (f64, f64) {
    let of = |kind: &str| {
        operator.metric(
            "posthouse_operator_reconciles_total",
            &[&format!("kind=\"{kind}\"")],
        )
    };
    (of("MailRelay"), of("MailSender"))
}
