//! The objects: relays in namespaces of ten, senders in namespaces of five relays' ones.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::{StreamExt, TryStreamExt, stream};
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
    core::GroupVersionKind,
    runtime::{WatchStreamExt, watcher},
};
use posthouse_tests::Cluster;
use serde_json::{Value, json};
use tokio::time::timeout;

/// Objects that are made at once.
const AT_ONCE: usize = 16;

/// How many relays share a namespace.
const RELAYS_PER_NAMESPACE: usize = 10;

/// How many relays' senders share a namespace.
const RELAYS_PER_TEAM: usize = 5;

/// One relay in so many has two gateways. The node has addresses for 254 pods.
const TWO_IN: usize = 5;

/// How many there are.
pub(crate) struct Fleet {
    /// MailRelays.
    pub(crate) relays: usize,
    /// MailSenders of each.
    pub(crate) senders: usize,
}

impl Fleet {
    /// Gateways of all relays.
    pub(crate) fn gateways(&self) -> usize {
        self.relays + self.relays.div_ceil(TWO_IN)
    }

    /// The Secrets that the operator keeps: one for each relay's keys, one for each sender.
    pub(crate) fn secrets(&self) -> usize {
        self.relays + self.relays * self.senders
    }

    /// Makes everything.
    pub(crate) fn create(&self, cluster: &Arc<Cluster>) {
        cluster.run(async {
            let mut namespaces = BTreeSet::new();
            for relay in 0..self.relays {
                namespaces.extend([namespace(relay), team(relay)]);
            }
            let spaces = namespaces.iter().map(
                |name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}),
            );
            apply(cluster, spaces.collect()).await;
            let passwords = namespaces.iter().map(|name| {
                json!({
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "metadata": {"name": "provider", "namespace": name},
                    "stringData": {"username": "account@isp.example", "password": "secret"},
                })
            });
            apply(cluster, passwords.collect()).await;
            apply(cluster, (0..self.relays).map(relay).collect()).await;
            let senders =
                (0..self.relays).flat_map(|relay| (0..self.senders).map(move |n| sender(relay, n)));
            apply(cluster, senders.collect()).await;
        });
    }

    /// Waits until every relay and every sender is ready.
    pub(crate) async fn ready(&self, cluster: &Cluster, limit: Duration) {
        for (kind, count) in [
            ("MailRelay", self.relays),
            ("MailSender", self.relays * self.senders),
        ] {
            let ready = timeout(limit, all_ready(cluster, kind, count)).await;
            ready.unwrap_or_else(|_| panic!("in {limit:?} not every {kind} is ready"));
        }
    }
}

/// The namespace of a relay.
pub(crate) fn namespace(relay: usize) -> String {
    format!("mail-{}", relay / RELAYS_PER_NAMESPACE)
}

/// The name of a relay.
pub(crate) fn name(relay: usize) -> String {
    format!("relay-{relay}")
}

fn team(relay: usize) -> String {
    format!("team-{}", relay / RELAYS_PER_TEAM)
}

fn relay(relay: usize) -> Value {
    let team = team(relay);
    json!({
        "apiVersion": "posthouse.dev/v1alpha1",
        "kind": "MailRelay",
        "metadata": {"name": name(relay), "namespace": namespace(relay)},
        "spec": {
            "hostname": "mail.example.com",
            "replicas": if relay.is_multiple_of(TWO_IN) { 2 } else { 1 },
            "clients": {"grants": [{
                "name": "team",
                "namespaces": {"names": [team]},
                "senderDomains": [format!("{team}.example.com")],
            }]},
            "upstreams": [{
                "name": "provider",
                "provider": "Custom",
                "endpoint": {"host": "smtp.isp.example", "port": 587},
                "auth": {"password": {"secretRef": {"name": "provider"}}},
            }],
        },
    })
}

fn sender(relay: usize, number: usize) -> Value {
    let team = team(relay);
    json!({
        "apiVersion": "posthouse.dev/v1alpha1",
        "kind": "MailSender",
        "metadata": {"name": format!("app-{relay}-{number}"), "namespace": team},
        "spec": {
            "relayRef": {"name": name(relay), "namespace": namespace(relay)},
            "from": [format!("{team}.example.com")],
        },
    })
}

/// The objects of a kind.
pub(crate) fn api(cluster: &Cluster, kind: &str, namespace: Option<&str>) -> Api<DynamicObject> {
    let (group, version) = match kind {
        "MailRelay" | "MailSender" => ("posthouse.dev", "v1alpha1"),
        _ => ("", "v1"),
    };
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    match namespace {
        Some(namespace) => Api::namespaced_with(cluster.client(), namespace, &resource),
        None => Api::all_with(cluster.client(), &resource),
    }
}

async fn apply(cluster: &Cluster, objects: Vec<Value>) {
    let apply = |object: Value| async move {
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        let kind = &object.types.as_ref().unwrap().kind;
        let api = api(cluster, kind, object.metadata.namespace.as_deref());
        let parameters = PatchParams::apply("bench").force();
        api.patch(&object.name_any(), &parameters, &Patch::Apply(&object))
            .await
            .map(drop)
    };
    stream::iter(objects)
        .map(apply)
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await
        .unwrap();
}

async fn all_ready(cluster: &Cluster, kind: &str, count: usize) {
    let changes = watcher(api(cluster, kind, None), watcher::Config::default());
    let mut objects = std::pin::pin!(changes.default_backoff().applied_objects());
    let mut ready = BTreeSet::new();
    while ready.len() < count {
        let object = objects.try_next().await.unwrap().unwrap();
        let name = (object.namespace(), object.name_any());
        if is_ready(&object) {
            ready.insert(name);
        } else {
            ready.remove(&name);
        }
    }
}

fn is_ready(object: &DynamicObject) -> bool {
    let conditions = object.data["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}
