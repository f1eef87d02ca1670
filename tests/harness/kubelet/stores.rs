//! What the kubelet knows of the cluster: watched, and possibly late, as the real one's caches are.

use std::{fmt::Debug, hash::Hash, sync::Arc};

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolume, PersistentVolumeClaim, Pod, Secret};
use kube::{
    Api, Client, Resource,
    runtime::{
        WatchStreamExt,
        reflector::{self, ObjectRef, Store},
        watcher,
    },
};
use serde::de::DeserializeOwned;

/// One store per kind, of all namespaces.
pub(super) struct Stores {
    pub(super) pods: Store<Pod>,
    pub(super) config_maps: Store<ConfigMap>,
    pub(super) secrets: Store<Secret>,
    pub(super) claims: Store<PersistentVolumeClaim>,
    pub(super) volumes: Store<PersistentVolume>,
}

impl Stores {
    /// Watches for as long as the runtime lives, which must be the current one.
    pub(super) fn watch(client: &Client) -> Self {
        Self {
            pods: watch(client),
            config_maps: watch(client),
            secrets: watch(client),
            claims: watch(client),
            volumes: watch(client),
        }
    }

    /// A pod, if it is the one of that uid.
    pub(super) fn pod(&self, namespace: &str, name: &str, uid: &str) -> Option<Arc<Pod>> {
        let pod = self.pods.get(&ObjectRef::new(name).within(namespace))?;
        (pod.metadata.uid.as_deref() == Some(uid)).then_some(pod)
    }

    /// The volume that a claim is bound to.
    pub(super) fn volume_of(&self, namespace: &str, claim: &str) -> Option<String> {
        let claim = self.claims.get(&ObjectRef::new(claim).within(namespace))?;
        let bound = claim.status.as_ref()?.phase.as_deref() == Some("Bound");
        bound.then(|| claim.spec.as_ref()?.volume_name.clone())?
    }
}

fn watch<K>(client: &Client) -> Store<K>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Default + Eq + Hash + Clone,
{
    let (store, writer) = reflector::store();
    let changes = watcher(Api::<K>::all(client.clone()), watcher::Config::default());
    let changes = reflector::reflector(writer, changes.default_backoff());
    tokio::spawn(changes.for_each(|change| async {
        if let Err(error) = change {
            eprintln!("kubelet: {error}");
        }
    }));
    store
}
