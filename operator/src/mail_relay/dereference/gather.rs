//! Facts for one reconcile, copied out of the caches.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace as NamespaceObject;
use kube::{Resource, ResourceExt, core::PartialObjectMeta, runtime::reflector::ObjectRef};
use posthouse_api::{MailRelay, MailSender};
use posthouse_config::document::Issuer;

use crate::{
    grant::Namespace,
    mail_relay::facts::{Facts, Heard, LiveChildren},
    names,
    settings::{Capabilities, Settings},
    stores::Stores,
};

/// What is known besides the caches.
pub struct Around<'a> {
    /// The caches.
    pub stores: &'a Stores,
    /// What the operator was told.
    pub settings: &'a Settings,
    /// Kinds that not every cluster has.
    pub capabilities: Capabilities,
    /// Issuers of tokens and their keys.
    pub issuers: Vec<Issuer>,
    /// What was heard of the relay's gateways, by pod.
    pub gateways: BTreeMap<String, Heard>,
    /// The time.
    pub now: Timestamp,
}

/// Everything a reconcile of a relay goes by.
pub fn facts(relay: &Arc<MailRelay>, around: Around<'_>) -> Facts {
    let Around {
        stores,
        settings,
        capabilities,
        issuers,
        gateways,
        now,
    } = around;
    let namespace = relay.namespace().unwrap_or_default();
    let name = relay.name_any();
    let senders = senders(stores, &namespace, &name);
    let own = stores.namespaces.get(&ObjectRef::new(&namespace));
    let relay_uids = stores
        .relays
        .state_filter(|other| other.meta().namespace.as_ref() == Some(&namespace))
        .iter()
        .filter_map(|other| other.uid())
        .collect();
    Facts {
        now,
        capabilities,
        is_served: settings.relay_namespaces.serve(&namespace) && stores.is_filled(&namespace),
        namespace_is_terminating: own.is_some_and(|own| own.meta().deletion_timestamp.is_some()),
        relay_uids,
        namespaces: namespaces(stores, &senders),
        service_accounts: service_accounts(stores, &senders),
        children: children(stores, &namespace, &name),
        relay: Arc::clone(relay),
        senders,
        issuers,
        gateways,
    }
}

fn senders(stores: &Stores, namespace: &str, name: &str) -> Vec<Arc<MailSender>> {
    stores.senders.state_filter(|sender| {
        let relay = &sender.spec.relay_ref;
        relay.namespace == namespace && relay.name == name
    })
}

fn namespaces(stores: &Stores, senders: &[Arc<MailSender>]) -> BTreeMap<String, Namespace> {
    let names: BTreeSet<_> = senders
        .iter()
        .filter_map(|sender| sender.namespace())
        .collect();
    names
        .into_iter()
        .filter_map(|name| {
            let found: Arc<PartialObjectMeta<NamespaceObject>> =
                stores.namespaces.get(&ObjectRef::new(&name))?;
            let labels = found.labels().clone();
            Some((name.clone(), Namespace { name, labels }))
        })
        .collect()
}

fn service_accounts(
    stores: &Stores,
    senders: &[Arc<MailSender>],
) -> BTreeMap<(String, String), String> {
    let named = senders.iter().flat_map(|sender| {
        let namespace = sender.namespace().unwrap_or_default();
        let accounts = sender.spec.service_accounts.iter();
        accounts.map(move |account| (namespace.clone(), account.clone()))
    });
    named
        .filter_map(|(namespace, name)| {
            let reference = ObjectRef::new(&name).within(&namespace);
            let uid = stores.service_accounts.get(&reference)?.uid()?;
            Some(((namespace, name), uid))
        })
        .collect()
}

fn children(stores: &Stores, namespace: &str, name: &str) -> LiveChildren {
    LiveChildren {
        stateful_set: stores.stateful_sets.find(namespace, &names::workload(name)),
        config: stores.config_maps.find(namespace, &names::config(name)),
        senders: stores.config_maps.find(namespace, &names::senders(name)),
        pods: by_name(stores.pods.of_relay(namespace, name)),
        claims: by_name(stores.claims.of_relay(namespace, name)),
    }
}

fn by_name<K: Resource>(objects: Vec<Arc<K>>) -> BTreeMap<String, Arc<K>> {
    objects
        .into_iter()
        .map(|object| (object.name_any(), object))
        .collect()
}
