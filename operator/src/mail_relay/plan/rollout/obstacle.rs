//! What stands in the way of a rollout: since when, and in words a person can act on.
//!
//! Times come from the objects alone: when a pod was made, when it ceased to be ready, when it should have ended, when
//! the StatefulSet's controller last wrote a status. What has no time is never held against anybody.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{apps::v1::StatefulSet, core::v1::Pod};

use super::{changed, ready, says_it_drains};
use crate::mail_relay::plan::gateway::{self, Gateway};

/// The kubelet dates the start of a pod and its first conditions in one go; times in objects are whole seconds.
const SAME_MOMENT: SignedDuration = SignedDuration::from_secs(1);

/// What stands in the way, and since when; without a time it is not to be held against anybody.
pub(super) struct Obstacle {
    pub(super) since: Option<Timestamp>,
    pub(super) why: String,
}

/// Why a gateway is not as it is to be.
pub(super) fn obstacle(gateway: &Gateway, set: &StatefulSet) -> Obstacle {
    let name = &gateway.name;
    let Some(pod) = gateway.pod else {
        return Obstacle {
            since: last_status(set).filter(|_| gateway.ordinal < gateway::replicas(set)),
            why: format!("{name} does not exist: see the Events of the StatefulSet"),
        };
    };
    if let Some(deleted) = &pod.metadata.deletion_timestamp {
        return Obstacle {
            since: Some(deleted.0),
            why: format!("{name} does not end: its node may be lost"),
        };
    }
    let (reason, is_crashing) = reason(gateway, pod);
    let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    // A pod that crashes again and again may be ready for a moment each time; that is no progress.
    let since = match ready(pod).and_then(changed) {
        Some(changed) if !is_crashing && !was_never_ready(gateway) => Some(changed),
        _ => created,
    };
    Obstacle {
        since: since.filter(|_| !says_it_drains(gateway)),
        why: format!("{name} is not ready: {reason}"),
    }
}

/// Why a pod is not ready, and whether it crashes again and again.
fn reason(gateway: &Gateway, pod: &Pod) -> (String, bool) {
    let status = pod.status.as_ref();
    let waiting = status
        .into_iter()
        .flat_map(|status| status.container_statuses.iter().flatten())
        .find_map(|container| container.state.as_ref()?.waiting.as_ref());
    if let Some(waiting) = waiting {
        let reason = waiting.reason.as_deref().unwrap_or("it waits to start");
        let is_crashing = reason == "CrashLoopBackOff";
        return (
            with_message(reason, waiting.message.as_deref()),
            is_crashing,
        );
    }
    let unscheduled = status
        .into_iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
    if let Some(condition) = unscheduled {
        let reason = condition.reason.as_deref().unwrap_or("Unschedulable");
        return (with_message(reason, condition.message.as_deref()), false);
    }
    (said(gateway), false)
}

/// What is known of it from itself.
fn said(gateway: &Gateway) -> String {
    match gateway.report {
        Some(report) if !gateway.is_silent => {
            let status = &report.status;
            let problems: Vec<_> = status
                .document
                .problems
                .iter()
                .chain(&status.spool.error)
                .map(String::as_str)
                .collect();
            let state = format!("its spool is {:?}", status.spool.state);
            with_message(
                &state,
                (!problems.is_empty())
                    .then(|| problems.join("; "))
                    .as_deref(),
            )
        }
        _ => "it does not answer the operator".to_owned(),
    }
}

fn with_message(reason: &str, message: Option<&str>) -> String {
    match message {
        Some(message) if !message.is_empty() => format!("{reason} ({message})"),
        _ => reason.to_owned(),
    }
}

/// When the StatefulSet's controller last wrote a status: since then it did not bring back what is missing.
fn last_status(set: &StatefulSet) -> Option<Timestamp> {
    let entries = set.metadata.managed_fields.iter().flatten();
    entries
        .filter(|entry| entry.subresource.as_deref() == Some("status"))
        .filter_map(|entry| entry.time.as_ref())
        .map(|time| time.0)
        .max()
}

/// Whether a pod has not been ready since it was made. One that was is no matter of the rollout that made it.
pub(super) fn was_never_ready(gateway: &Gateway) -> bool {
    let Some(pod) = gateway.pod else {
        return true;
    };
    let Some(condition) = ready(pod) else {
        return true;
    };
    let started = pod.status.as_ref().and_then(|it| it.start_time.as_ref());
    match (started, changed(condition)) {
        (Some(started), Some(changed)) => {
            condition.status != "True" && changed.duration_since(started.0) <= SAME_MOMENT
        }
        _ => condition.status != "True",
    }
}
