//! What every reconcile shares, and the little that is remembered between two reconciles of one object.
//!
//! Nothing of it is needed to be right: a new leader begins with an empty memory and asks a few questions more.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt, runtime::reflector::ObjectRef};
use posthouse_api::MailRelay;
use tokio::sync::watch;

use crate::{
    apply::Applier,
    fence::Fence,
    gateways::Gateways,
    installation::{Installation, InstallationError},
    mail_relay::{
        build::Written,
        dereference::{self, Around},
        facts::Facts,
        plan::{Notice, turns::Turns},
    },
    mail_sender::board::Board,
    metrics::Metrics,
    names,
    recorder::Recorder,
    secret::{SecretType, writer::SecretWriter},
    settings::{Capabilities, Settings},
    stores::Stores,
    token_keys::TokenKeys,
    watch::Triggers,
};

/// A namespace and a name.
pub type Key = (String, String);

/// What every reconcile shares.
pub struct Context {
    /// What the operator was told.
    pub settings: Settings,
    /// Everything that is watched.
    pub stores: Stores,
    /// Writes children.
    pub applier: Applier,
    /// Writes Secrets.
    pub secrets: SecretWriter,
    /// Whether Secrets may be written.
    pub fence: Arc<Fence>,
    /// The installation's own keys, once they were read.
    pub installation: watch::Receiver<Option<Arc<Installation>>>,
    /// Why they were not read, when that was tried last.
    pub installation_failure: watch::Receiver<Option<Arc<InstallationError>>>,
    /// Asks the gateways.
    pub gateways: Arc<Gateways>,
    /// The keys of ServiceAccount tokens.
    pub token_keys: Arc<TokenKeys>,
    /// Kinds that not every cluster has.
    pub capabilities: watch::Receiver<Capabilities>,
    /// What relays say to their senders.
    pub board: Board,
    /// Publishes Events.
    pub recorder: Arc<Recorder>,
    /// Counts.
    pub metrics: Metrics,
    /// Asks for other objects to be looked at.
    pub triggers: Triggers,
    /// Whose turn it is on an upgrade.
    pub turns: Turns,
    /// What is remembered of each relay.
    pub relays: Memories<RelayMemory>,
    /// What is remembered of each sender.
    pub senders: Memories<SenderMemory>,
}

/// What is remembered of a relay.
#[derive(Clone, Debug, Default)]
pub struct RelayMemory {
    /// When its status was written.
    pub status_written: Option<Timestamp>,
    /// When its senders file was written.
    pub senders_written: Option<Timestamp>,
    /// The certificate of its `selfSigned` listeners.
    pub issued: Option<Issued>,
    /// The files that gateways go by, as they were written last.
    pub written: Written,
    /// What its gateways had read when its senders were last told.
    pub progress: Vec<Progress>,
    /// Whether its senders heard nothing of it when it was looked at last, since it is invalid or not served.
    pub is_mute: bool,
    /// Claims by uid whose growth was refused: when, and what people are told.
    pub refused: BTreeMap<String, (Timestamp, String)>,
    /// What people were told when it was looked at last.
    pub notices: Vec<Notice>,
    /// Looks in a row in which somebody else wrote first, as far as the caches show.
    pub conflicts: u32,
    /// Reconciles that failed in a row.
    pub failures: u32,
}

/// How far a gateway is: whether it is ready, and the numbers of its document and its senders file.
pub type Progress = (bool, Option<(u64, u64)>);

/// What is remembered of the certificate that `selfSigned` listeners show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Issued {
    /// When this process issued one.
    pub made: Option<Timestamp>,
    /// When this process last made sure that there is one.
    pub asked: Option<Timestamp>,
    /// No listener wants one, and there is none of ours any more.
    pub is_removed: bool,
}

/// What is remembered of a sender.
#[derive(Clone, Debug, Default)]
pub struct SenderMemory {
    /// Whether it waits for its relay's gateways.
    pub is_waiting: bool,
    /// When its status was written.
    pub status_written: Option<Timestamp>,
    /// Reconciles that failed in a row.
    pub failures: u32,
}

/// A memory for each object of a kind.
#[derive(Debug)]
pub struct Memories<T>(Mutex<HashMap<Key, T>>);

impl<T> Default for Memories<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone + Default> Memories<T> {
    /// What is remembered of an object; nothing, if it is new.
    pub fn recall(&self, key: &Key) -> T {
        self.lock().get(key).cloned().unwrap_or_default()
    }

    /// Remembers. Two reconciles of one object never run at once, so nothing is lost in between.
    pub fn remember(&self, key: Key, memory: T) {
        self.lock().insert(key, memory);
    }

    /// Whether an object was looked at.
    pub fn knows(&self, key: &Key) -> bool {
        self.lock().contains_key(key)
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, key: &Key) {
        self.lock().remove(key);
    }

    /// Forgets every object that is not to be kept.
    pub fn keep_only(&self, is_kept: impl Fn(&Key) -> bool) {
        self.lock().retain(|key, _| is_kept(key));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Context {
    /// Publishes Events about an object. Nobody waits for it: it may take a while, and a reconcile is not better for it.
    pub fn publish<K>(&self, object: Arc<K>, notices: Vec<Notice>)
    where
        K: Resource<DynamicType = ()> + Send + Sync + 'static,
    {
        if notices.is_empty() {
            return;
        }
        let recorder = Arc::clone(&self.recorder);
        tokio::spawn(async move { recorder.publish(object.as_ref(), notices).await });
    }

    /// Everything a reconcile of a relay goes by.
    pub fn facts(&self, relay: &Arc<MailRelay>, now: Timestamp) -> Facts {
        let namespace = relay.namespace().unwrap_or_default();
        let name = relay.name_any();
        let config = names::config(&name);
        let config = self.stores.config_maps.find(&namespace, &config);
        let issuers = &self.token_keys;
        dereference::facts(
            relay,
            Around {
                stores: &self.stores,
                settings: &self.settings,
                capabilities: *self.capabilities.borrow(),
                issuers: issuers.issuers(&namespace, &name, config.as_deref(), now),
                gateways: self.gateways.of_relay(&namespace, &name),
                now,
            },
        )
    }

    /// The uids of the MailRelays and MailSenders of a namespace, by the type of the Secrets they own.
    pub fn owners_of_secrets(&self, namespace: &str) -> Vec<(SecretType, String)> {
        use SecretType;
        let here = |metadata: &ObjectMeta| metadata.namespace.as_deref() == Some(namespace);
        let relays = self
            .stores
            .relays
            .state_filter(|relay| here(&relay.metadata));
        let senders = self
            .stores
            .senders
            .state_filter(|sender| here(&sender.metadata));
        let relays = relays
            .iter()
            .filter_map(|relay| Some((SecretType::Relay, relay.uid()?)));
        let senders = senders
            .iter()
            .filter_map(|sender| Some((SecretType::Binding, sender.uid()?)));
        relays.chain(senders).collect()
    }

    /// A relay is gone: so is everything that is remembered of it, and those who heard from it are looked at.
    pub fn forget_relay(&self, key: &Key) {
        let (namespace, relay) = (&key.0, &key.1);
        self.applier.forget(namespace, relay);
        self.secrets.forget(namespace, &names::keys(relay));
        self.relays.forget(key);
        self.turns.forget(key);
        self.gateways.forget(namespace, relay);
        self.metrics.forget(namespace, relay);
        for (namespace, name) in self.board.forget(key) {
            self.triggers.sender(&namespace, &name);
        }
    }

    /// Whether there is a relay of this name.
    pub fn has_relay(&self, (namespace, name): &Key) -> bool {
        let reference = ObjectRef::new(name).within(namespace);
        self.stores.relays.get(&reference).is_some()
    }

    /// The relays there are in the namespaces that are served.
    pub fn served_relays(&self) -> Vec<Key> {
        let relays = self.stores.relays.state();
        let keys = relays
            .iter()
            .map(|relay| (relay.namespace().unwrap_or_default(), relay.name_any()));
        keys.filter(|(namespace, _)| self.settings.relay_namespaces.serve(namespace))
            .collect()
    }

    /// Asks for a look at everything: something changed that concerns all.
    pub fn look_at_everything(&self) {
        for relay in self.stores.relays.state() {
            self.triggers
                .relay(&relay.namespace().unwrap_or_default(), &relay.name_any());
        }
        for sender in self.stores.senders.state() {
            self.triggers
                .sender(&sender.namespace().unwrap_or_default(), &sender.name_any());
        }
    }
}
