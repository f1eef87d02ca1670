//! Kinds that not every cluster has, looked for every ten minutes: somebody may install them later.
//!
//! Discovery is read, never guessed from a failed apply. Until it was read once nothing may be built: where the
//! cluster chooses users and groups, a pod template that names them would restart every gateway.

use std::time::Duration;

use kube::Client;
use tokio::{sync::watch, time::sleep};
use tracing::{info, warn};

use crate::{
    call::{CallError, bounded},
    settings::Capabilities,
};

/// How often they are looked for.
const AGAIN: Duration = Duration::from_mins(10);

/// How soon after a failure.
const AFTER_FAILURE: Duration = Duration::from_secs(10);

/// The group of the Prometheus operator, and the version of its kinds that we write.
const MONITORING: (&str, &str) = ("monitoring.coreos.com", "v1");

/// Where users and groups of pods are the cluster's choice.
const OPENSHIFT: &str = "security.openshift.io";

/// What the cluster has now.
///
/// # Errors
/// By the cause of the failed call.
pub async fn discover(client: &Client) -> Result<Capabilities, CallError> {
    let groups = bounded(client.list_api_groups()).await?.groups;
    let mut capabilities = Capabilities {
        openshift: groups.iter().any(|group| group.name == OPENSHIFT),
        ..Capabilities::default()
    };
    let (group, version) = MONITORING;
    let is_served = groups
        .iter()
        .filter(|found| found.name == group)
        .any(|found| found.versions.iter().any(|found| found.version == version));
    if is_served {
        let path = format!("{group}/{version}");
        // The group may be going while it is read: then it has no kinds.
        let kinds = match bounded(client.list_api_group_resources(&path)).await {
            Ok(list) => list.resources,
            Err(CallError::NotFound(_)) => Vec::new(),
            Err(error) => return Err(error),
        };
        let has = |kind| kinds.iter().any(|resource| resource.kind == kind);
        capabilities.service_monitor = has("ServiceMonitor");
        capabilities.prometheus_rule = has("PrometheusRule");
    }
    Ok(capabilities)
}

/// Keeps `known` current, for ever. What is known stays while discovery fails.
pub async fn keep(client: &Client, known: &watch::Sender<Capabilities>) {
    loop {
        let pause = match discover(client).await {
            Ok(found) => {
                publish(found, known);
                AGAIN
            }
            Err(error) => {
                warn!(error = %error, "capabilities: cannot be discovered now");
                AFTER_FAILURE
            }
        };
        sleep(pause).await;
    }
}

fn publish(mut found: Capabilities, known: &watch::Sender<Capabilities>) {
    known.send_if_modified(|known| {
        // No cluster ceases to be OpenShift; one whose own API servers are down may not say so for a while.
        found.openshift |= known.openshift;
        let is_new = *known != found;
        if is_new {
            info!(capabilities = ?found, "capabilities: changed");
            *known = found;
        }
        is_new
    });
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{api_server, failure};

    fn group(name: &str, version: &str) -> Value {
        json!({"name": name, "versions": [{"groupVersion": format!("{name}/{version}"), "version": version}]})
    }

    async fn of(groups: Vec<Value>, kinds: Option<&[&str]>) -> Capabilities {
        let kinds: Option<Vec<_>> = kinds.map(|kinds| {
            let of = |kind: &&str| {
                json!({"kind": kind, "name": "x", "namespaced": true, "singularName": "", "verbs": []})
            };
            kinds.iter().map(of).collect()
        });
        let (client, _) = api_server(move |asked| match asked.line.as_str() {
            "GET /apis" => Some((
                200,
                json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}),
            )),
            "GET /apis/monitoring.coreos.com/v1" => match &kinds {
                Some(kinds) => Some((
                    200,
                    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "monitoring.coreos.com/v1",
                           "resources": kinds}),
                )),
                None => failure(404, "NotFound", json!({})),
            },
            line => panic!("{line}"),
        });
        discover(&client).await.unwrap()
    }

    #[tokio::test]
    async fn kinds_are_found_by_discovery() {
        assert_eq!(
            of(vec![group("apps", "v1")], None).await,
            Capabilities::default()
        );
        let found = of(
            vec![
                group("monitoring.coreos.com", "v1"),
                group("security.openshift.io", "v1"),
            ],
            Some(&["ServiceMonitor", "PodMonitor"]),
        )
        .await;
        assert!(found.service_monitor && !found.prometheus_rule && found.openshift);
        // Another version of the group is not ours; one that goes meanwhile is none.
        let other = of(vec![group("monitoring.coreos.com", "v1alpha1")], None).await;
        assert_eq!(other, Capabilities::default());
        let going = of(vec![group("monitoring.coreos.com", "v1")], None).await;
        assert_eq!(going, Capabilities::default());
    }

    #[test]
    fn openshift_stays() {
        let (known, _) = watch::channel(Capabilities::default());
        let found = |openshift, service_monitor| Capabilities {
            service_monitor,
            openshift,
            ..Capabilities::default()
        };
        publish(found(true, true), &known);
        publish(found(false, false), &known);
        assert_eq!(*known.borrow(), found(true, false));
    }
}
