//! One test's namespace: what is in it can be applied, read, awaited, deleted, evicted.
//!
//! Waiting goes over a watch, with a deadline; in vain, it says what the object was last and what the cluster has to
//! tell about the namespace. Dropping the value deletes the namespace and waits for nothing.

use std::{fmt::Debug, pin::pin, sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
        core::v1::{self as core, Event, Pod, ServiceAccount},
    },
};
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, EvictParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams},
    runtime::watcher,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{Cluster, object};
use crate::{kubelet::Running, wait};

/// What the API server said no to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status code.
    pub code: u16,
    /// `reason` of the Status.
    pub reason: String,
    /// `message` of the Status.
    pub message: String,
}

/// A kind that has a namespace and is known when this is compiled.
pub trait Kind:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
    + Send
    + Sync
    + 'static
{
}

impl<K> Kind for K where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize
        + Send
        + Sync
        + 'static
{
}

/// A namespace.
pub struct Namespace {
    cluster: Arc<Cluster>,
    name: String,
}

impl Namespace {
    /// Makes it, and waits for its ServiceAccount, without which no pod can be made.
    pub(super) fn create(cluster: &Arc<Cluster>, name: &str) -> Self {
        let api = Api::<core::Namespace>::all(cluster.client());
        let object = core::Namespace {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            ..core::Namespace::default()
        };
        let created = cluster.run(api.create(&PostParams::default(), &object));
        created.unwrap();
        let namespace = Self {
            cluster: Arc::clone(cluster),
            name: name.to_owned(),
        };
        namespace.wait_for::<ServiceAccount, _>("the default account", "default", |account| {
            account.map(|_| ())
        });
        namespace
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is.
    pub const fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// The objects of a kind in it.
    pub fn api<K: Kind>(&self) -> Api<K> {
        Api::namespaced(self.cluster.client(), &self.name)
    }

    /// Applies objects written as YAML, by server-side apply with force.
    pub fn apply(&self, yaml: &str) {
        if let Err(refusal) = self.try_apply(yaml) {
            panic!("{refusal:?}");
        }
    }

    /// As `apply`, where a refusal is what is tested.
    pub fn try_apply(&self, yaml: &str) -> Result<(), Refusal> {
        let client = self.cluster.client();
        let applied = self.cluster.run(object::apply(&client, &self.name, yaml));
        applied.map_err(Refusal::from)
    }

    /// Merges a JSON patch into an object (RFC 7386).
    pub fn merge<K: Kind>(&self, name: &str, patch: &Value) -> Result<K, Refusal> {
        let (api, parameters) = (self.api::<K>(), PatchParams::default());
        let patched = self
            .cluster
            .run(api.patch(name, &parameters, &Patch::Merge(patch)));
        patched.map_err(Refusal::from)
    }

    /// An object that must be there.
    pub fn get<K: Kind>(&self, name: &str) -> K {
        let found = self.find(name);
        found.unwrap_or_else(|| panic!("no {} {name}\n{}", K::kind(&()), self.account()))
    }

    /// An object, if it is there.
    pub fn find<K: Kind>(&self, name: &str) -> Option<K> {
        self.cluster.run(self.api().get_opt(name)).unwrap()
    }

    /// The objects that fit a label selector; an empty one is all.
    pub fn list<K: Kind>(&self, selector: &str) -> Vec<K> {
        let parameters = ListParams::default().labels(selector);
        self.cluster
            .run(self.api().list(&parameters))
            .unwrap()
            .items
    }

    /// Watches an object until `look` gives a value; it is asked with `None` where there is no such object.
    pub fn wait_for<K: Kind, T>(
        &self,
        what: &str,
        name: &str,
        look: impl FnMut(Option<&K>) -> Option<T>,
    ) -> T {
        self.wait_longer_for(what, name, wait::SOON, look)
    }

    /// As `wait_for`, up to a deadline.
    pub fn wait_longer_for<K: Kind, T>(
        &self,
        what: &str,
        name: &str,
        deadline: Duration,
        mut look: impl FnMut(Option<&K>) -> Option<T>,
    ) -> T {
        let mut last: Option<K> = None;
        let api = self.api::<K>();
        let found = self.cluster.run(tokio_timeout(deadline, async {
            let mut changes = pin!(watcher::watch_object(api, name));
            loop {
                match changes.next().await.expect("a watch does not end") {
                    Ok(object) => {
                        if let Some(value) = look(object.as_ref()) {
                            return value;
                        }
                        last = object;
                    }
                    // The watcher watches again by itself.
                    Err(error) => eprintln!("watch of {name}: {error}"),
                }
            }
        }));
        found.unwrap_or_else(|| {
            let last = last.map(|last| serde_json::to_string_pretty(&last).unwrap());
            let last = last.unwrap_or_else(|| "nothing".to_owned());
            panic!(
                "waited {deadline:?} in vain: {what}\nlast: {last}\n{}",
                self.account()
            )
        })
    }

    /// Waits until there is no such object.
    pub fn wait_gone<K: Kind>(&self, name: &str) {
        self.wait_for::<K, _>("it is gone", name, |object| object.is_none().then_some(()));
    }

    /// Deletes an object as `kubectl delete --wait=false` does.
    pub fn delete<K: Kind>(&self, name: &str) {
        self.delete_as::<K>(name, &DeleteParams::background());
    }

    /// Deletes an object, with a say in how.
    pub fn delete_as<K: Kind>(&self, name: &str, parameters: &DeleteParams) {
        let deleted = self.cluster.run(self.api::<K>().delete(name, parameters));
        deleted.unwrap();
    }

    /// Asks for the eviction of a pod, as `kubectl drain` does.
    pub fn evict(&self, pod: &str) -> Result<(), Refusal> {
        let api = self.api::<Pod>();
        let evicted = self.cluster.run(api.evict(pod, &EvictParams::default()));
        evicted.map(|_| ()).map_err(Refusal::from)
    }

    /// A ServiceAccount's token for one audience, bound to a pod, as the kubelet projects it into that pod.
    pub fn token(&self, account: &str, audience: &str, pod: &str) -> String {
        let uid = self.get::<Pod>(pod).uid();
        let bound = BoundObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(pod.to_owned()),
            uid,
        };
        self.token_bound_to(account, audience, Some(bound))
    }

    /// A ServiceAccount's token; bound to nothing, as `kubectl create token` asks for it.
    pub fn token_bound_to(
        &self,
        account: &str,
        audience: &str,
        bound_object_ref: Option<BoundObjectReference>,
    ) -> String {
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: vec![audience.to_owned()],
                expiration_seconds: None,
                bound_object_ref,
            },
            ..TokenRequest::default()
        };
        let api = self.api::<ServiceAccount>();
        let parameters = PostParams::default();
        let token = api.create_subresource("token", account, &parameters, &request);
        let token: TokenRequest = self.cluster.run(token).unwrap();
        token.status.unwrap().token
    }

    /// A pod's process, once the kubelet started it.
    pub fn running(&self, pod: &str) -> Arc<Running> {
        wait::until("the kubelet runs the pod", wait::SOON, || {
            self.cluster.kubelet().pod(&self.name, pod)
        })
    }

    /// Waits until a pod is ready; the process of it.
    pub fn wait_ready(&self, pod: &str) -> Arc<Running> {
        self.wait_for::<Pod, _>("the pod is ready", pod, |pod| ready(pod?).then_some(()));
        self.running(pod)
    }

    /// kubectl in this namespace, to its end; what it said.
    ///
    /// # Panics
    /// If it does not end with success.
    pub fn kubectl(&self, arguments: &[&str], input: &str) -> String {
        let arguments = [&["--namespace", &self.name], arguments].concat();
        let mut command = self.cluster.kubectl(&arguments);
        crate::peer::run(&mut command, input.as_bytes())
    }

    /// What the cluster has to tell: the events, and each pod's log.
    pub fn account(&self) -> String {
        let mut lines = vec![format!("events in {}:", self.name)];
        for event in self.list::<Event>("") {
            let object = event.involved_object.name.unwrap_or_default();
            let (reason, message) = (event.reason, event.message);
            lines.push(format!(
                "  {object}: {} {}",
                reason.unwrap_or_default(),
                message.unwrap_or_default()
            ));
        }
        for pod in self.cluster.kubelet().pods(&self.name) {
            lines.push(format!("log of {}:\n{}", pod.name(), pod.log().tail(25)));
        }
        lines.join("\n")
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let api = Api::<core::Namespace>::all(self.cluster.client());
        // The cluster ends soon anyway; until then its pods should not take the time of other tests. A test that failed
        // may have left an API server that does not answer.
        let parameters = DeleteParams::background();
        let deleted = api.delete(&self.name, &parameters).map(drop);
        self.cluster.run(tokio_timeout(wait::SOON, deleted));
    }
}

/// Whether a pod is ready.
pub fn ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

async fn tokio_timeout<F: Future>(deadline: Duration, future: F) -> Option<F::Output> {
    tokio::time::timeout(deadline, future).await.ok()
}

impl From<kube::Error> for Refusal {
    /// # Panics
    /// If the API server was not even asked: that is no refusal.
    fn from(error: kube::Error) -> Self {
        let kube::Error::Api(status) = error else {
            panic!("the API server does not answer: {error}");
        };
        Self {
            code: status.code,
            reason: status.reason,
            message: status.message,
        }
    }
}
