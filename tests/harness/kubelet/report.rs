//! A pod's status as the kubelet reports it.
//!
//! Only what changed is written, as a strategic merge, so that conditions of others (`DisruptionTarget`) stay. The uid in
//! it is a precondition: a namesake that a StatefulSet made since is not touched.

use std::{collections::BTreeMap, net::Ipv4Addr};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use serde_json::{Value, json};

/// What a container does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It has not started, or not again.
    Waiting {
        reason: &'static str,
        message: String,
    },
    /// It runs.
    Running { since: String },
    /// It ended.
    Ended { code: i32, at: String },
}

/// One container.
#[derive(Clone, Debug)]
pub(super) struct ContainerReport<'a> {
    pub(super) container: &'a Container,
    pub(super) state: State,
    pub(super) last: Option<State>,
    pub(super) ready: bool,
    pub(super) restarts: i32,
}

/// When each condition last changed.
#[derive(Debug, Default)]
pub(super) struct Conditions(BTreeMap<&'static str, (bool, String)>);

impl Conditions {
    fn condition(&mut self, kind: &'static str, holds: bool, reason: &str, message: &str) -> Value {
        let known = self.0.entry(kind).or_insert_with(|| (holds, now()));
        if known.0 != holds {
            *known = (holds, now());
        }
        let mut value = json!({
            "type": kind,
            "status": if holds { "True" } else { "False" },
            "lastTransitionTime": known.1,
            "reason": null,
            "message": null,
        });
        if !holds {
            value["reason"] = reason.into();
            value["message"] = message.into();
        }
        value
    }
}

/// The patch that makes a pod's status say this.
pub(super) fn status(
    pod: &Pod,
    address: Ipv4Addr,
    containers: &[ContainerReport<'_>],
    conditions: &mut Conditions,
) -> Value {
    let unready: Vec<_> = containers
        .iter()
        .filter(|report| !report.ready)
        .map(|report| report.container.name.as_str())
        .collect();
    let message = format!("containers with unready status: [{}]", unready.join(" "));
    let ready = unready.is_empty();
    let started = containers
        .iter()
        .any(|report| !matches!(report.state, State::Waiting { .. }) || report.last.is_some());
    let mut status = json!({
        "phase": if started { "Running" } else { "Pending" },
        "conditions": [
            conditions.condition("PodReadyToStartContainers", started, "", ""),
            conditions.condition("Initialized", true, "", ""),
            conditions.condition("Ready", ready, "ContainersNotReady", &message),
            conditions.condition("ContainersReady", ready, "ContainersNotReady", &message),
        ],
        "containerStatuses": containers.iter().map(container).collect::<Vec<_>>(),
        "hostIP": "127.0.0.1",
        "startTime": pod.status.as_ref().and_then(|status| status.start_time.as_ref()).map_or_else(
            || json!(now()),
            |time| json!(time),
        ),
    });
    if started {
        status["podIP"] = json!(address);
        status["podIPs"] = json!([{"ip": address}]);
    }
    json!({"metadata": {"uid": pod.metadata.uid}, "status": status})
}

fn container(report: &ContainerReport<'_>) -> Value {
    let image = report.container.image.as_deref().unwrap_or_default();
    let running = matches!(report.state, State::Running { .. });
    let mut status = json!({
        "name": report.container.name,
        "image": image,
        "imageID": if running { image } else { "" },
        "ready": report.ready,
        "started": running,
        "restartCount": report.restarts,
        "state": state(&report.state),
    });
    if let Some(last) = &report.last {
        status["lastState"] = state(last);
    }
    status
}

fn state(state: &State) -> Value {
    match state {
        State::Waiting { reason, message } => {
            json!({"waiting": {"reason": reason, "message": message}})
        }
        State::Running { since } => json!({"running": {"startedAt": since}}),
        State::Ended { code, at } => {
            let reason = if *code == 0 { "Completed" } else { "Error" };
            json!({"terminated": {"exitCode": code, "finishedAt": at, "reason": reason}})
        }
    }
}

/// The time as objects have it.
pub(super) fn now() -> String {
    format!("{:.0}", Timestamp::now())
}
