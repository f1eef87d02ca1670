//! `QueueHealthy`: whether mail that was taken moves on.
//!
//! A fault that a gateway reports is told even while another is silent; that one is named beside it. Mail that is held
//! since its upstream takes none is the business of `UpstreamsHealthy`.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use posthouse_config::{
    reason::{self, UpstreamState},
    status::{SpoolState, Status},
};

use super::{
    Observed,
    figures::time,
    gateways::Gateway,
    reason::{Reason, Verdict},
};

/// For how long mail that is not held may wait.
const BACKLOG: SignedDuration = SignedDuration::from_mins(30);

pub(super) fn verdict(observed: &Observed, gateways: &[Gateway]) -> Verdict {
    let silent: Vec<_> = gateways
        .iter()
        .filter(|gateway| gateway.is_silent)
        .map(Gateway::silence)
        .collect();
    let reports: Vec<_> = gateways
        .iter()
        .filter_map(|gateway| Some((gateway.name.as_str(), &gateway.report()?.status)))
        .collect();
    if let Some((reason, mut texts)) = fault(observed, &reports) {
        texts.extend(silent);
        return Verdict::fails(reason, texts.join("; "));
    }
    if !silent.is_empty() {
        return Verdict::unknown(Reason::NoReport, silent.join("; "));
    }
    if reports
        .iter()
        .all(|(_, status)| status.spool.state == SpoolState::Starting)
    {
        return Verdict::unknown(Reason::NoReport, "no gateway has reported its queue yet");
    }
    Verdict::holds(Reason::Flowing, "mail moves on")
}

/// The first fault of the API's table, with every gateway that has it.
fn fault(observed: &Observed, reports: &[(&str, &Status)]) -> Option<(Reason, Vec<String>)> {
    type Check = fn(&Observed, &Status) -> Option<String>;
    let checks: [(Reason, Check); 6] = [
        (Reason::SpoolFailed, |_, status| failed(status)),
        (Reason::SpoolDamaged, |_, status| damaged(status)),
        (Reason::SpoolFull, |_, status| full(status)),
        (Reason::ClockStepped, |_, status| stepped(status)),
        (Reason::Held, |_, status| held(status)),
        (Reason::Backlogged, backlogged),
    ];
    checks.into_iter().find_map(|(reason, check)| {
        let texts: Vec<_> = reports
            .iter()
            .filter_map(|(name, status)| {
                Some(format!("gateway {name}: {}", check(observed, status)?))
            })
            .collect();
        (!texts.is_empty()).then_some((reason, texts))
    })
}

fn failed(status: &Status) -> Option<String> {
    let error = status.spool.error.as_deref();
    (status.spool.state == SpoolState::Failed).then(|| {
        format!(
            "its spool cannot be used: {}",
            error.unwrap_or("no cause was given")
        )
    })
}

fn damaged(status: &Status) -> Option<String> {
    let records = status.spool.damaged_records;
    (records > 0).then(|| {
        format!("{records} records of its spool cannot be read; they are kept in its quarantine")
    })
}

fn full(status: &Status) -> Option<String> {
    (status.spool.state == SpoolState::Full).then(|| {
        format!(
            "its spool is full, new mail is put off with 452; {} octets are free",
            status.spool.free_bytes
        )
    })
}

fn stepped(status: &Status) -> Option<String> {
    status.queue.clock_stepped.then(|| {
        "its machine's clock was set by more than an hour; no mail expires until an attempt was made".to_owned()
    })
}

/// Messages held for another reason than their upstream's state, per reason.
fn held(status: &Status) -> Option<String> {
    let mut counts = BTreeMap::<reason::Reason, u64>::new();
    for held in &status.queue.held_reasons {
        if !is_of_upstream(held.reason) {
            let count = counts.entry(held.reason).or_default();
            *count = count.saturating_add(held.messages);
        }
    }
    let texts: Vec<_> = counts
        .into_iter()
        .map(|(reason, count)| format!("{reason} {count}"))
        .collect();
    (!texts.is_empty()).then(|| format!("messages are held: {}", texts.join(", ")))
}

fn is_of_upstream(reason: reason::Reason) -> bool {
    UpstreamState::ALL
        .iter()
        .any(|&state| Option::<reason::Reason>::from(state) == Some(reason))
}

/// Whether mail that is not held is too old. A gateway tells the age of its oldest message, held or not; with held mail
/// in its queue that says nothing about the rest, and what holds it is told already.
fn backlogged(observed: &Observed, status: &Status) -> Option<String> {
    let queue = &status.queue;
    if queue.held > 0 || queue.messages == 0 {
        return None;
    }
    let oldest = time(queue.oldest_message_time.as_deref()?)?;
    let waited = observed.facts.now.duration_since(oldest);
    (waited > BACKLOG).then(|| {
        format!(
            "{} messages wait, the oldest for more than half an hour",
            queue.messages
        )
    })
}
