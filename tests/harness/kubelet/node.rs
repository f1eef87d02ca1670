//! The one node: registered, ready, and kept so by renewing its lease, as the node controller wants it.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Node};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;

use super::every;

/// Its name.
pub(super) const NAME: &str = "node-1";

/// A quarter of what the node controller allows, as the kubelet's own.
const RENEWAL: Duration = Duration::from_secs(10);

/// How often it is tried until it is done for the first time.
const FIRST: Duration = Duration::from_millis(200);

/// Registers the node and renews its lease for ever.
pub(super) async fn keep(client: Client) {
    let nodes = Api::<Node>::all(client.clone());
    let leases = Api::<Lease>::namespaced(client, "kube-node-lease");
    // In the first seconds the namespace of the leases is not there yet.
    let mut soon = every(FIRST);
    while renew(&nodes, &leases).await.is_err() {
        soon.tick().await;
    }
    let mut renewal = every(RENEWAL);
    loop {
        renewal.tick().await;
        if let Err(error) = renew(&nodes, &leases).await {
            eprintln!("kubelet: lease: {error}");
        }
    }
}

async fn renew(nodes: &Api<Node>, leases: &Api<Lease>) -> kube::Result<()> {
    if nodes.get_opt(NAME).await?.is_none() {
        let node = serde_json::from_value(node()).expect("a node");
        nodes.create(&PostParams::default(), &node).await?;
    }
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": NAME},
        "spec": {
            "holderIdentity": NAME,
            "leaseDurationSeconds": 40,
            "renewTime": format!("{:.6}", Timestamp::now()),
        },
    });
    let parameters = PatchParams::apply("kubelet").force();
    leases
        .patch(NAME, &parameters, &Patch::Apply(&lease))
        .await?;
    Ok(())
}

fn node() -> serde_json::Value {
    let now = format!("{:.0}", Timestamp::now());
    let room = json!({"cpu": "64", "memory": "256Gi", "pods": "254"});
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": NAME,
            "labels": {
                "kubernetes.io/hostname": NAME,
                "kubernetes.io/os": "linux",
                "topology.kubernetes.io/zone": "zone-1",
            },
        },
        "status": {
            "capacity": room,
            "allocatable": room,
            "conditions": [{
                "type": "Ready",
                "status": "True",
                "reason": "KubeletReady",
                "message": "kubelet is posting ready status",
                "lastHeartbeatTime": now,
                "lastTransitionTime": now,
            }],
        },
    })
}
