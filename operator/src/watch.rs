//! What is watched, and whom a change concerns.
//!
//! One cache per kind, fed by a watch that never ends; an event becomes the names of the relays and senders that have
//! to be looked at again. Children, pods and claims are watched where relays are served, everything users write in the
//! whole cluster. What nobody reads is dropped before it is kept: the caches are most of the operator's memory.

use std::{collections::BTreeMap, fmt::Debug, hash::Hash, sync::Arc};

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt,
        reflector::{
            self, ObjectRef, Store,
            store::{Writer, WriterDropped},
        },
        watcher::{self, Event, watcher},
    },
};
use posthouse_api::{MailRelay, MailSender};
use serde::de::DeserializeOwned;
use tokio::{sync::mpsc, task::JoinSet};
use tracing::warn;

use crate::{labels, settings::RelayNamespaces};

/// Asks for relays and senders to be looked at again.
#[derive(Clone, Debug)]
pub struct Triggers {
    relays: mpsc::UnboundedSender<ObjectRef<MailRelay>>,
    senders: mpsc::UnboundedSender<ObjectRef<MailSender>>,
}

/// What was asked for. Bounded by the number of objects: whoever reads it keeps each name once.
#[derive(Debug)]
pub struct Triggered {
    /// Relays.
    pub relays: mpsc::UnboundedReceiver<ObjectRef<MailRelay>>,
    /// Senders.
    pub senders: mpsc::UnboundedReceiver<ObjectRef<MailSender>>,
}

impl Triggers {
    /// Both ends.
    pub fn channel() -> (Self, Triggered) {
        let (relays, relays_out) = mpsc::unbounded_channel();
        let (senders, senders_out) = mpsc::unbounded_channel();
        let triggered = Triggered {
            relays: relays_out,
            senders: senders_out,
        };
        (Self { relays, senders }, triggered)
    }

    /// A relay has to be looked at.
    pub fn relay(&self, namespace: &str, name: &str) {
        // Nobody listens any more only when the process ends.
        let _ = self.relays.send(ObjectRef::new(name).within(namespace));
    }

    /// A sender has to be looked at.
    pub fn sender(&self, namespace: &str, name: &str) {
        let _ = self.senders.send(ObjectRef::new(name).within(namespace));
    }

    /// The relay a child, pod or claim says it is of.
    fn owner_of(&self, object: &impl Resource) {
        let relay = object.labels().get(labels::RELAY);
        if let (Some(namespace), Some(relay)) = (object.namespace(), relay) {
            self.relay(&namespace, relay);
        }
    }
}

/// The cache of a kind that is watched namespace by namespace, or once for all of them.
#[derive(Clone)]
pub struct Scoped<K>(BTreeMap<Option<String>, Store<K>>)
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone;

impl<K> Scoped<K>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone + Default,
{
    fn store(&self, namespace: &str) -> Option<&Store<K>> {
        self.0
            .get(&None)
            .or_else(|| self.0.get(&Some(namespace.to_owned())))
    }

    /// The object of a name.
    pub fn find(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.store(namespace)?
            .get(&ObjectRef::new(name).within(namespace))
    }

    /// The objects that carry a relay's label.
    pub fn of_relay(&self, namespace: &str, relay: &str) -> Vec<Arc<K>> {
        let Some(store) = self.store(namespace) else {
            return Vec::new();
        };
        store.state_filter(|object| {
            object.meta().namespace.as_deref() == Some(namespace)
                && object
                    .meta()
                    .labels
                    .as_ref()
                    .and_then(|labels| labels.get(labels::RELAY))
                    .is_some_and(|name| name == relay)
        })
    }

    /// Waits until everything there is has been read.
    ///
    /// # Errors
    /// A watch has ended.
    pub async fn ready(&self) -> Result<(), WriterDropped> {
        for store in self.0.values() {
            store.wait_until_ready().await?;
        }
        Ok(())
    }

    /// Every object.
    pub fn all(&self) -> Vec<Arc<K>> {
        self.0.values().flat_map(Store::state).collect()
    }
}

/// Starts watches and keeps them going.
pub struct Watches<'a> {
    client: Client,
    namespaces: &'a RelayNamespaces,
    triggers: Triggers,
    tasks: &'a mut JoinSet<()>,
}

impl<'a> Watches<'a> {
    /// Watches run as tasks of `tasks`.
    pub fn new(
        client: Client,
        namespaces: &'a RelayNamespaces,
        triggers: Triggers,
        tasks: &'a mut JoinSet<()>,
    ) -> Self {
        Self {
            client,
            namespaces,
            triggers,
            tasks,
        }
    }

    /// The MailRelays of the whole cluster: one that is not served must be told so. Senders hear of their relay's end
    /// here, since nobody looks at a relay that is gone.
    pub fn relays(&mut self, senders: Store<MailSender>) -> Store<MailRelay> {
        let triggers = self.triggers.clone();
        let concerns = move |relay: &MailRelay, seen| {
            let (namespace, name) = (relay.namespace().unwrap_or_default(), relay.name_any());
            match seen {
                Seen::Present => triggers.relay(&namespace, &name),
                Seen::Gone => {
                    let names_it = |sender: &MailSender| {
                        let relay = &sender.spec.relay_ref;
                        relay.namespace == namespace && relay.name == name
                    };
                    for sender in senders.state_filter(names_it) {
                        triggers
                            .sender(&sender.namespace().unwrap_or_default(), &sender.name_any());
                    }
                }
            }
        };
        self.cluster(watcher::Config::default(), concerns)
    }

    /// The MailSenders of the whole cluster. A sender concerns its relay, which tells the sender in turn.
    pub fn senders(&mut self) -> Store<MailSender> {
        let triggers = self.triggers.clone();
        self.cluster(watcher::Config::default(), move |sender: &MailSender, _| {
            let relay = &sender.spec.relay_ref;
            triggers.relay(&relay.namespace, &relay.name);
            triggers.sender(&sender.namespace().unwrap_or_default(), &sender.name_any());
        })
    }

    /// Namespaces: their labels decide about grants, and in one that ends nothing can be made.
    pub fn namespaces(
        &mut self,
        relays: Store<MailRelay>,
        senders: Store<MailSender>,
    ) -> Store<PartialObjectMeta<Namespace>> {
        let triggers = self.triggers.clone();
        self.cluster(
            watcher::Config::default(),
            move |namespace: &PartialObjectMeta<Namespace>, _| {
                let name = namespace.name_any();
                for relay in relays.state_filter(|relay| relay.namespace().as_ref() == Some(&name))
                {
                    triggers.relay(&name, &relay.name_any());
                }
                for sender in
                    senders.state_filter(|sender| sender.namespace().as_ref() == Some(&name))
                {
                    let relay = &sender.spec.relay_ref;
                    triggers.relay(&relay.namespace, &relay.name);
                }
            },
        )
    }

    /// ServiceAccounts: their uids stand in the senders file.
    pub fn service_accounts(
        &mut self,
        senders: Store<MailSender>,
    ) -> Store<PartialObjectMeta<ServiceAccount>> {
        let triggers = self.triggers.clone();
        self.cluster(
            watcher::Config::default(),
            move |account: &PartialObjectMeta<ServiceAccount>, _| {
                // A gateway's own: without it no pod can be made.
                triggers.owner_of(account);
                let (namespace, name) = (account.namespace(), account.name_any());
                let names_it = |sender: &MailSender| {
                    sender.namespace() == namespace && sender.spec.service_accounts.contains(&name)
                };
                for sender in senders.state_filter(names_it) {
                    let relay = &sender.spec.relay_ref;
                    triggers.relay(&relay.namespace, &relay.name);
                }
            },
        )
    }

    /// A kind of children, pods or claims, by the label of their relay.
    pub fn children<K>(&mut self) -> Scoped<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope> + Watched,
        K::DynamicType: Default + Debug + Eq + Hash + Clone + Unpin + Send + Sync,
    {
        let config =
            watcher::Config::default().labels(&format!("{}={}", labels::APP_NAME, labels::GATEWAY));
        let stores = match self.namespaces {
            RelayNamespaces::All => {
                let api = Api::all(self.client.clone());
                BTreeMap::from([(None, self.child_store(api, config))])
            }
            RelayNamespaces::These(names) => names
                .iter()
                .map(|name| {
                    let api = Api::namespaced(self.client.clone(), name);
                    (Some(name.clone()), self.child_store(api, config.clone()))
                })
                .collect(),
        };
        Scoped(stores)
    }

    fn child_store<K>(&mut self, api: Api<K>, config: watcher::Config) -> Store<K>
    where
        K: Watched,
        K::DynamicType: Default + Debug + Eq + Hash + Clone + Unpin + Send + Sync,
    {
        let triggers = self.triggers.clone();
        self.watch(api, config, move |object: &K, _| triggers.owner_of(object))
    }

    fn cluster<K>(
        &mut self,
        config: watcher::Config,
        concerns: impl Fn(&K, Seen) + Send + 'static,
    ) -> Store<K>
    where
        K: Watched,
        K::DynamicType: Default + Debug + Eq + Hash + Clone + Unpin + Send + Sync,
    {
        self.watch(Api::all(self.client.clone()), config, concerns)
    }

    fn watch<K>(
        &mut self,
        api: Api<K>,
        config: watcher::Config,
        concerns: impl Fn(&K, Seen) + Send + 'static,
    ) -> Store<K>
    where
        K: Watched,
        K::DynamicType: Default + Debug + Eq + Hash + Clone + Unpin + Send + Sync,
    {
        let (store, writer) = reflector::store();
        self.tasks.spawn(follow(api, config, writer, concerns));
        store
    }
}

/// Whether an object of an event is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// It is.
    Present,
    /// It is not.
    Gone,
}

/// What can be watched.
pub trait Watched: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static {}

impl<K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static> Watched for K {}

/// Follows a watch for ever. A watch that was interrupted begins with everything there is, and what vanished meanwhile
/// is found by comparing.
async fn follow<K>(
    api: Api<K>,
    config: watcher::Config,
    mut writer: Writer<K>,
    concerns: impl Fn(&K, Seen),
) where
    K: Watched,
    K::DynamicType: Default + Debug + Eq + Hash + Clone + Unpin + Send + Sync,
{
    let store = writer.as_reader();
    let mut events = std::pin::pin!(watcher(api, config).default_backoff());
    while let Some(event) = events.next().await {
        let mut event = match event {
            Ok(event) => event,
            Err(error) => {
                warn!(kind = %K::kind(&K::DynamicType::default()), %error, "watch interrupted");
                continue;
            }
        };
        slim(&mut event);
        // What vanished while nobody watched is known only as long as it is in the cache.
        let before = matches!(event, Event::InitDone).then(|| store.state());
        writer.apply_watcher_event(&event);
        match &event {
            Event::Apply(object) => concerns(object, Seen::Present),
            Event::Delete(object) => concerns(object, Seen::Gone),
            Event::InitDone => {
                for object in before.iter().flatten() {
                    if store.get(&ObjectRef::from_obj(object.as_ref())).is_none() {
                        concerns(object, Seen::Gone);
                    }
                }
                for object in store.state() {
                    concerns(&object, Seen::Present);
                }
            }
            // Told about when all of them are in the cache.
            Event::Init | Event::InitApply(_) => {}
        }
    }
}

/// Drops what is large and read by nobody. Who wrote what and when is read of two kinds: it dates a pod that cannot be
/// made, and a claim that does not grow.
fn slim<K: Resource>(event: &mut Event<K>)
where
    K::DynamicType: Default,
{
    const DATED: [&str; 2] = ["StatefulSet", "PersistentVolumeClaim"];
    if let Event::Apply(object) | Event::InitApply(object) | Event::Delete(object) = event {
        if !DATED.contains(&K::kind(&K::DynamicType::default()).as_ref()) {
            object.meta_mut().managed_fields = None;
        }
        if let Some(annotations) = &mut object.meta_mut().annotations {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        }
    }
}
