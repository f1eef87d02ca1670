//! How fast the operator follows: from an edit of a MailRelay to the document its gateways are to read.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{Patch, PatchParams},
    runtime::watcher,
};
use posthouse_tests::{Cluster, wait};
use serde_json::json;
use tokio::time::timeout;

use crate::fleet::{self, Fleet};

/// How many edits, one after the other, each of another relay.
const EDITS: usize = 50;

/// The times of all edits, the shortest first.
pub(crate) async fn follow(cluster: &Cluster, fleet: &Fleet) -> Vec<Duration> {
    let mut times = Vec::new();
    for edit in 0..EDITS {
        let followed = timeout(wait::SOON, one(cluster, edit, edit % fleet.relays)).await;
        times.push(followed.expect("the document follows"));
    }
    times.sort_unstable();
    times
}

async fn one(cluster: &Cluster, edit: usize, relay: usize) -> Duration {
    let namespace = fleet::namespace(relay);
    let name = fleet::name(relay);
    let hostname = format!("mail-{edit}.example.com");
    let documents = Api::<ConfigMap>::namespaced(cluster.client(), &namespace);
    let mut changes = pin!(watcher::watch_object(documents, &format!("{name}-config")));
    // From here on nothing is missed.
    changes.try_next().await.unwrap();
    let begun = Instant::now();
    let patch = json!({"spec": {"hostname": hostname}});
    fleet::api(cluster, "MailRelay", Some(&namespace))
        .patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap();
    loop {
        let object = changes.try_next().await.unwrap().unwrap();
        let data = object.and_then(|object| object.data).unwrap_or_default();
        if data.values().any(|text| text.contains(&hostname)) {
            return begun.elapsed();
        }
    }
}
