//! Scaling down without losing mail, one gateway at a time, the highest ordinal first.
//!
//! ```text
//! replicas lowered ─▶ document lowered by one ─▶ that pod reports it ─▶ drained ─▶ StatefulSet lowered by one ─▶ pod gone
//!        ▲                (Telling)                 (Draining, Stuck)                                              │
//!        └──────────────────────────────── while there are more than wanted ──────────────────────────────────────┘
//! ```
//!
//! Each step is read from the objects, so an operator that starts anew goes on where the last one was. Only since when
//! a gateway drains is remembered, in the MailRelay's status; when that is lost the time-out starts again. The
//! time-out removes nothing: a gateway with mail stays until it is empty or a person says `posthouse.dev/skip-drain`.
//!
//! Up goes at once, document and StatefulSet together and the document applied first: a gateway that starts under the
//! older document would drain until the kubelet brings it the newer one. The document is applied with the
//! resourceVersion it was read with, so a decision about an older one fails there, before the StatefulSet is lowered.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use posthouse_api::mail_relay::status::{DrainState, DrainStatus};

use super::{
    Notice,
    gateway::{self, Gateway},
};
use crate::{labels, mail_relay::facts::Facts};

/// How long a gateway may relay what it has where the MailRelay says nothing (`drain.timeoutSeconds`).
const TIMEOUT_SECONDS: i32 = 600;

/// Where the number of gateways goes.
#[derive(Debug, PartialEq)]
pub(super) struct Course {
    pub(super) document_replicas: u32,
    pub(super) replicas: u32,
    pub(super) drain: Option<DrainStatus>,
    pub(super) notices: Vec<Notice>,
}

impl Course {
    fn at(replicas: u32) -> Self {
        Self {
            document_replicas: replicas,
            replicas,
            drain: None,
            notices: Vec::new(),
        }
    }
}

/// What is next on the way to the number of gateways that is wanted.
pub(super) fn course(facts: &Facts, wanted: u32) -> Course {
    let live = gateway::live_replicas(facts);
    let Some(last) = live.checked_sub(1).filter(|_| wanted < live) else {
        return Course::at(wanted);
    };
    if let Some(drain) = leaving(facts, live).filter(|_| !is_skipped(facts)) {
        return Course {
            drain: Some(drain),
            ..Course::at(live)
        };
    }
    empty(facts, &Gateway::of(facts, last))
}

/// The steps of the gateway with the highest ordinal.
fn empty(facts: &Facts, gateway: &Gateway) -> Course {
    let last = gateway.ordinal;
    let lowered = |notices| Course {
        notices,
        ..Course::at(last)
    };
    if gateway.never_ran() {
        return lowered(Vec::new());
    }
    let number = gateway::document(facts)
        .filter(|document| document.replicas <= last)
        .map(|document| document.number);
    if number.is_some_and(|number| gateway.is_drained(number)) {
        return lowered(vec![drained(gateway)]);
    }
    if is_skipped(facts) {
        return lowered(vec![skipped(&gateway.left(facts))]);
    }
    let told = number.is_some_and(|number| gateway.is_told(number));
    let drain = progress(facts, gateway, told);
    Course {
        document_replicas: last,
        replicas: last.saturating_add(1),
        notices: stuck(facts, gateway, &drain).into_iter().collect(),
        drain: Some(drain),
    }
}

/// How far a gateway is that is not empty yet. The time-out counts from when it was first told, also where a pod of
/// the same name took its place since.
fn progress(facts: &Facts, gateway: &Gateway, told: bool) -> DrainStatus {
    let draining_since = remembered(facts)
        .filter(|memory| memory.gateway == gateway.name && memory.state != DrainState::Telling)
        .and_then(|memory| memory.since.as_ref())
        .map(|since| since.0);
    let heard = gateway.report.filter(|_| told).map(|it| it.received);
    let (state, since) = match draining_since.or(heard) {
        Some(since) if is_over(facts, since) => (DrainState::Stuck, since),
        Some(since) => (DrainState::Draining, since),
        None => (DrainState::Telling, telling_since(facts, &gateway.name)),
    };
    status(gateway, state, Some(since))
}

/// Since when a gateway is being told.
pub(super) fn telling_since(facts: &Facts, gateway: &str) -> Timestamp {
    remembered(facts)
        .filter(|memory| memory.gateway == gateway && memory.state == DrainState::Telling)
        .and_then(|memory| memory.since.as_ref())
        .map_or(facts.now, |since| since.0)
}

/// The drain as it was last written: the only memory there is.
pub(super) fn remembered(facts: &Facts) -> Option<&DrainStatus> {
    facts.relay.status.as_ref()?.drain.as_ref()
}

/// Whether the time-out of a drain is over.
pub(super) fn is_over(facts: &Facts, since: Timestamp) -> bool {
    let given = facts.relay.spec.drain.as_ref();
    let seconds = given
        .and_then(|drain| drain.timeout_seconds)
        .unwrap_or(TIMEOUT_SECONDS);
    facts.now.duration_since(since) >= SignedDuration::from_secs(i64::from(seconds))
}

/// A pod beyond the StatefulSet's replicas: on its way out. The next gateway waits for it.
pub(super) fn leaving(facts: &Facts, replicas: u32) -> Option<DrainStatus> {
    let ordinal = gateway::pod_ordinals(facts)
        .filter(|ordinal| *ordinal >= replicas)
        .max()?;
    let gateway = Gateway::of(facts, ordinal);
    let since = remembered(facts)
        .filter(|memory| memory.gateway == gateway.name)
        .and_then(|memory| memory.since.as_ref())
        .map(|since| since.0);
    Some(status(&gateway, DrainState::Draining, since))
}

pub(super) fn status(
    gateway: &Gateway,
    state: DrainState,
    since: Option<Timestamp>,
) -> DrainStatus {
    DrainStatus {
        gateway: gateway.name.clone(),
        state,
        since: since.map(Time),
        messages: gateway
            .messages()
            .map(|messages| i64::try_from(messages).unwrap_or(i64::MAX)),
    }
}

/// Whether a person said that what is left may stay on its volume.
pub(super) fn is_skipped(facts: &Facts) -> bool {
    let annotations = facts.relay.metadata.annotations.as_ref();
    annotations
        .and_then(|annotations| annotations.get(labels::SKIP_DRAIN))
        .is_some_and(|value| value == "true")
}

fn drained(gateway: &Gateway) -> Notice {
    Notice {
        is_warning: false,
        reason: "Drained".to_owned(),
        action: "Drain".to_owned(),
        note: format!("{} has relayed what it had and is removed", gateway.name),
    }
}

/// What is left behind on a person's word.
pub(super) fn skipped(left: &str) -> Notice {
    Notice {
        is_warning: true,
        reason: "DrainSkipped".to_owned(),
        action: "Drain".to_owned(),
        note: format!("{left}, as {} says", labels::SKIP_DRAIN),
    }
}

/// The time-out, once: when it was not written yet.
fn stuck(facts: &Facts, gateway: &Gateway, drain: &DrainStatus) -> Option<Notice> {
    let was_stuck = remembered(facts)
        .is_some_and(|memory| memory.gateway == drain.gateway && memory.state == DrainState::Stuck);
    (drain.state == DrainState::Stuck && !was_stuck).then(|| Notice {
        is_warning: true,
        reason: "DrainStuck".to_owned(),
        action: "Drain".to_owned(),
        note: format!(
            "{} is not empty after drain.timeoutSeconds: {}; it is not removed before it is empty. Mend what keeps its mail, raise replicas, or annotate the MailRelay with {}=true to leave the mail on its volume",
            gateway.name,
            gateway.left(facts),
            labels::SKIP_DRAIN,
        ),
    })
}

#[cfg(test)]
mod tests;
