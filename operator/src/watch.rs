//! What is watched, and whom a change concerns.
//!
//! One cache per kind, fed by a watch that never ends; an event becomes the names of the relays and senders that have
//! to be looked at again. Children, pods and claims are watched where relays are served, everything users write in the
//! whole cluster. What nobody reads is dropped before it is kept: the caches are most of the operator's memory.

mod follow;
mod slim;

use std::{collections::BTreeMap, fmt::Debug, hash::Hash, sync::Arc};

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::PartialObjectMeta,
    runtime::{
        reflector::{self, ObjectRef, Store, store::WriterDropped},
        watcher,
    },
};
use posthouse_api::{MailRelay, MailSender};
use serde::de::DeserializeOwned;
use tokio::{sync::mpsc, task::JoinSet};

use self::{
    follow::{Seen, differs, follow, sender_differs},
    slim::Slim,
};
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

/// What one watch of children sees: a namespace, or all of them.
pub type Scope = Option<String>;

/// The cache of a kind that is watched namespace by namespace, or once for all of them.
#[derive(Clone)]
pub struct Scoped<K>(BTreeMap<Scope, Store<K>>)
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

    /// What is watched.
    pub fn scopes(&self) -> impl Iterator<Item = Scope> {
        self.0.keys().cloned()
    }

    /// Waits until everything there is in a scope has been read.
    ///
    /// # Errors
    /// A watch has ended.
    pub async fn ready(&self, scope: &Scope) -> Result<(), WriterDropped> {
        match self.0.get(scope) {
            Some(store) => store.wait_until_ready().await,
            None => Ok(()),
        }
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
            // One that is gone is forgotten by whoever looks for it.
            triggers.relay(&namespace, &name);
            match seen {
                Seen::Present => {}
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
        self.cluster(differs, concerns)
    }

    /// The MailSenders of the whole cluster. A sender concerns its relay, which tells the sender in turn.
    pub fn senders(&mut self) -> Store<MailSender> {
        let triggers = self.triggers.clone();
        self.cluster(sender_differs, move |sender: &MailSender, _| {
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
            differs,
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
            differs,
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
        // How a pod is, what a claim has, what a ConfigMap holds: everything matters.
        let always = |_: &K, _: &K| true;
        self.watch(api, config, always, move |object: &K, _| {
            triggers.owner_of(object);
        })
    }

    fn cluster<K>(
        &mut self,
        differs: fn(&K, &K) -> bool,
        concerns: impl Fn(&K, Seen) + Send + 'static,
    ) -> Store<K>
    where
        K: Watched,
        K::DynamicType: Default + Debug + Eq + Hash + Clone + Unpin + Send + Sync,
    {
        let config = watcher::Config::default();
        self.watch(Api::all(self.client.clone()), config, differs, concerns)
    }

    fn watch<K>(
        &mut self,
        api: Api<K>,
        config: watcher::Config,
        differs: fn(&K, &K) -> bool,
        concerns: impl Fn(&K, Seen) + Send + 'static,
    ) -> Store<K>
    where
        K: Watched,
        K::DynamicType: Default + Debug + Eq + Hash + Clone + Unpin + Send + Sync,
    {
        let (store, writer) = reflector::store();
        self.tasks
            .spawn(follow(api, config, writer, differs, concerns));
        store
    }
}

/// What can be watched.
pub trait Watched:
    Resource + Slim + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
}

impl<K: Resource + Slim + Clone + Debug + DeserializeOwned + Send + Sync + 'static> Watched for K {}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    /// In one namespace the operator has no rights: its caches never fill, and those of the other do.
    #[tokio::test]
    async fn a_namespace_without_rights_keeps_nobody_waiting() {
        let (client, _) = crate::testing::api_server(|asked| {
            if asked.line.contains("watch=true") {
                None
            } else if asked.line.contains("/namespaces/b/") {
                crate::testing::failure(403, "Forbidden", json!({}))
            } else {
                let list = json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": []});
                Some((200, list))
            }
        });
        let namespaces = ["a".to_owned(), "b".to_owned()].into_iter().collect();
        let mut tasks = JoinSet::new();
        let (triggers, _triggered) = Triggers::channel();
        let mut watches = Watches::new(client, &namespaces, triggers, &mut tasks);
        let stores = crate::stores::Stores::start(&mut watches);
        stores.ready().await.unwrap();
        let scopes: Vec<_> = stores.scopes().collect();
        assert_eq!(scopes, [Some("a".to_owned()), Some("b".to_owned())]);
        assert!(!stores.is_filled("a"));
        stores.fill(&scopes[0]).await.unwrap();
        assert!(stores.is_filled("a") && !stores.is_filled("b"));
        let all = tokio::time::timeout(Duration::ZERO, stores.all_filled()).await;
        assert!(all.is_err());
    }
}
