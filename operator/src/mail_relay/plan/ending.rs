//! The end of a relay: every gateway drains at once, then all of them go.
//!
//! The document says 0 replicas, so no gateway takes mail any more. Mail that is left when `drain.timeoutSeconds` are
//! over stays on its volume, and an Event per claim says so. The time-out begins when every gateway that has a pod was
//! told, and where nobody can be told it begins with the deletion; a pod that does not answer is waited for, as its
//! node may come back. A claim is deleted only where the user says so and after its spool was reported empty; that is
//! done while the pods are there, whose reports are the reason, and before the StatefulSet goes to 0. The API server
//! keeps a claim for as long as its pod uses it.
//!
//! Two ends come at once. In a namespace that is being deleted nothing can be waited for. In a namespace that is not
//! served the operator may neither see nor touch a child: the MailRelay goes, and its gateways stay with the anchor.

use std::collections::BTreeSet;

use jiff::Timestamp;
use posthouse_api::mail_relay::{
    status::{DrainState, DrainStatus},
    storage::OnDelete,
};

use super::{
    Notice, Object,
    drain::{self, is_skipped},
    gateway::{self, Gateway},
};
use crate::{mail_relay::facts::Facts, names};

/// What is next on the way to the end.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Ending {
    pub(super) replicas: u32,
    pub(super) drain: Option<DrainStatus>,
    pub(super) delete_claims: Vec<Object>,
    pub(super) is_over: bool,
    pub(super) notices: Vec<Notice>,
}

/// What is next.
pub(super) fn ending(facts: &Facts) -> Ending {
    let over = |notices| Ending {
        is_over: true,
        notices,
        ..Ending::default()
    };
    if facts.namespace_is_terminating {
        return over(Vec::new());
    }
    if !facts.is_served {
        return over(vec![left_running(facts)]);
    }
    let live = gateway::live_replicas(facts);
    if live == 0 {
        return Ending {
            drain: drain::leaving(facts, 0),
            is_over: is_skipped(facts) || gateway::pod_ordinals(facts).next().is_none(),
            ..Ending::default()
        };
    }
    let gateways = gateways(facts, live);
    let number = gateway::document(facts)
        .filter(|document| document.replicas == 0)
        .map(|document| document.number);
    let (empty, others): (Vec<_>, Vec<_>) = gateways
        .iter()
        .partition(|gateway| number.is_some_and(|number| gateway.is_drained(number)));
    let left: Vec<_> = others
        .into_iter()
        .filter(|gateway| !gateway.never_ran())
        .collect();
    match waiting(facts, &left, number) {
        Some(drain) => Ending {
            replicas: live,
            drain: Some(drain),
            ..Ending::default()
        },
        None => settled(facts, live, &empty, &left),
    }
}

/// Those that may have mail: with a pod, or with a claim whose pod is between two lives.
fn gateways(facts: &Facts, live: u32) -> Vec<Gateway<'_>> {
    let ordinals: BTreeSet<u32> = gateway::pod_ordinals(facts)
        .chain(gateway::claim_ordinals(facts))
        .filter(|ordinal| *ordinal < live)
        .collect();
    ordinals
        .into_iter()
        .rev()
        .map(|ordinal| Gateway::of(facts, ordinal))
        .collect()
}

/// What is waited for; nothing once all are empty, the time is over or a person said so.
fn waiting(facts: &Facts, left: &[&Gateway], number: Option<u64>) -> Option<DrainStatus> {
    let highest = left.first()?;
    if is_skipped(facts) {
        return None;
    }
    let untold = left.iter().find(|gateway| {
        gateway.pod.is_some() && !number.is_some_and(|number| gateway.is_told(number))
    });
    let since = remembered(facts).or_else(|| match untold {
        _ if gateway::document(facts).is_none() => Some(deletion(facts)),
        Some(_) => None,
        None => Some(told_since(facts, left)),
    });
    // After an outage of the operator the time may be over before anybody was asked.
    let is_awaited = left.iter().any(|gateway| gateway.is_awaited);
    match (since, untold) {
        (Some(since), _) if drain::is_over(facts, since) && !is_awaited => None,
        (Some(since), _) => Some(drain::status(highest, DrainState::Draining, Some(since))),
        (None, untold) => {
            let gateway = untold.unwrap_or(highest);
            let since = drain::telling_since(facts, &gateway.name);
            Some(drain::status(gateway, DrainState::Telling, Some(since)))
        }
    }
}

/// Since when all drain, as it was written; what a scale-down before the deletion wrote does not count.
fn remembered(facts: &Facts) -> Option<Timestamp> {
    let memory = drain::remembered(facts).filter(|memory| memory.state != DrainState::Telling)?;
    let since = memory.since.as_ref()?.0;
    (since >= deletion(facts)).then_some(since)
}

/// When the last of them said that it was told; without any pod, when the deletion began.
fn told_since(facts: &Facts, left: &[&Gateway]) -> Timestamp {
    let received = left.iter().filter_map(|gateway| gateway.report);
    received
        .map(|report| report.received)
        .max()
        .unwrap_or_else(|| deletion(facts))
}

fn deletion(facts: &Facts) -> Timestamp {
    let time = facts.relay.metadata.deletion_timestamp.as_ref();
    time.map_or(facts.now, |time| time.0)
}

/// Nothing is waited for any more: claims first, then all gateways. Without a StatefulSet nobody would remove pods that
/// are left over, so they are not waited for.
fn settled(facts: &Facts, live: u32, empty: &[&Gateway], left: &[&Gateway]) -> Ending {
    let is_over = is_skipped(facts) || facts.children.stateful_set.is_none();
    let delete_claims = unneeded(facts, empty);
    if !delete_claims.is_empty() && !is_over {
        return Ending {
            replicas: live,
            drain: empty
                .first()
                .map(|gateway| drain::status(gateway, DrainState::Draining, remembered(facts))),
            delete_claims,
            ..Ending::default()
        };
    }
    Ending {
        replicas: 0,
        drain: drain::leaving(facts, 0),
        delete_claims,
        is_over,
        notices: notices(facts, empty, left),
    }
}

/// Claims of spools that were reported empty and whole, where the user wants them deleted.
fn unneeded(facts: &Facts, empty: &[&Gateway]) -> Vec<Object> {
    if !deletes(facts) {
        return Vec::new();
    }
    let claims = empty.iter().filter(|gateway| damaged(gateway) == 0);
    claims
        .filter_map(|gateway| {
            let metadata = &gateway.claim?.metadata;
            Some(Object {
                name: metadata.name.clone()?,
                uid: metadata
                    .uid
                    .clone()
                    .filter(|_| metadata.deletion_timestamp.is_none())?,
            })
        })
        .collect()
}

fn deletes(facts: &Facts) -> bool {
    let storage = facts.relay.spec.storage.as_ref();
    storage.and_then(|storage| storage.on_delete) == Some(OnDelete::Delete)
}

/// Records that could not be read: a person may still want them.
fn damaged(gateway: &Gateway) -> u64 {
    gateway
        .report
        .map_or(0, |report| report.status.spool.damaged_records)
}

fn notices(facts: &Facts, empty: &[&Gateway], left: &[&Gateway]) -> Vec<Notice> {
    let left = left.iter().map(|gateway| {
        let left = gateway.left(facts);
        if is_skipped(facts) {
            drain::skipped(&left)
        } else {
            notice(true, "MailLeft", format!("{left}, since the MailRelay was deleted and drain.timeoutSeconds are over; a MailRelay of the same name goes on with it"))
        }
    });
    let kept = empty
        .iter()
        .filter(|gateway| deletes(facts) && damaged(gateway) > 0);
    let kept = kept.map(|gateway| {
        notice(
            true,
            "VolumeKept",
            format!(
                "claim {} is not deleted: {} records of its spool could not be read",
                gateway.claim_name(facts),
                damaged(gateway)
            ),
        )
    });
    let notices: Vec<_> = left.chain(kept).collect();
    if notices.is_empty() {
        let note = "every gateway has relayed what it had".to_owned();
        return vec![notice(false, "Drained", note)];
    }
    notices
}

fn left_running(facts: &Facts) -> Notice {
    let anchor = names::anchor(gateway::relay(facts));
    notice(
        true,
        "GatewaysLeft",
        format!(
            "the MailRelay is deleted, and its gateways are not drained, since the operator does not serve this namespace: they go on relaying until the ConfigMap {anchor} is deleted"
        ),
    )
}

fn notice(is_warning: bool, reason: &str, note: String) -> Notice {
    Notice {
        is_warning,
        reason: reason.to_owned(),
        action: "Drain".to_owned(),
        note,
    }
}

#[cfg(test)]
mod tests;
