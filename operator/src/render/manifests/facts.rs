//! The facts of an empty cluster in which there is nothing but the objects given.
//!
//! What an API server would have given them is taken away: uids, times, generations, a status. So the same objects
//! give the same text, whether they come from a repository or from a cluster.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use kube::api::ObjectMeta;
use posthouse_api::{MailRelay, MailSender};
use posthouse_config::yaml::{self, YamlError};

use crate::{
    grant::Namespace,
    input::{Input, Object},
    mail_relay::facts::{Facts, LiveChildren},
    mail_sender::validate::NO_UID,
    settings::Capabilities,
};

/// The facts for one of the relays given.
pub(super) fn facts(
    input: &Input,
    object: &Object,
    capabilities: Capabilities,
) -> Result<Facts, YamlError> {
    let mut relay: MailRelay = yaml::from_value(object.value.clone())?;
    relay.metadata = anew(object, relay.metadata);
    relay.metadata.generation = Some(1);
    relay.status = None;
    let senders = senders(input, object)?;
    let namespaces = senders.iter().filter_map(|sender| {
        let name = sender.metadata.namespace.as_deref()?;
        Some((name.to_owned(), namespace(input, name)))
    });
    Ok(Facts {
        relay: Arc::new(relay),
        now: Timestamp::UNIX_EPOCH,
        capabilities,
        is_served: true,
        namespace_is_terminating: false,
        relay_uids: BTreeSet::new(),
        namespaces: namespaces.collect(),
        senders,
        service_accounts: service_accounts(input),
        issuers: Vec::new(),
        children: LiveChildren::default(),
        gateways: BTreeMap::new(),
    })
}

/// The senders that name a relay.
fn senders(input: &Input, relay: &Object) -> Result<Vec<Arc<MailSender>>, YamlError> {
    let mut senders = Vec::new();
    for object in input.of_kind("MailSender") {
        let mut sender: MailSender = yaml::from_value(object.value.clone())?;
        let named = &sender.spec.relay_ref;
        if named.namespace == relay.namespace && named.name == relay.name {
            sender.metadata = anew(object, sender.metadata);
            sender.status = None;
            senders.push(Arc::new(sender));
        }
    }
    Ok(senders)
}

/// Metadata as a user writes it.
fn anew(object: &Object, given: ObjectMeta) -> ObjectMeta {
    ObjectMeta {
        name: given.name,
        namespace: Some(object.namespace.clone()),
        labels: given.labels,
        annotations: given.annotations,
        ..ObjectMeta::default()
    }
}

/// A namespace with the labels that were given, and the one that every namespace has.
fn namespace(input: &Input, name: &str) -> Namespace {
    let mut namespace = Namespace::named(name);
    let given = input.find("Namespace", "", name);
    namespace
        .labels
        .extend(given.map(Object::labels).unwrap_or_default());
    namespace
}

fn service_accounts(input: &Input) -> BTreeMap<(String, String), String> {
    let accounts = input.of_kind("ServiceAccount");
    accounts
        .map(|object| {
            let key = (object.namespace.clone(), object.name.clone());
            (key, NO_UID.to_owned())
        })
        .collect()
}
