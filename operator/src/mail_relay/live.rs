//! What a MailRelay asks that what lives does not allow, and no schema can see.
//!
//! Pure. Rules of the API compare an object with the one before it, and a member that is removed and added again slips
//! through; here the children are what is compared with. Nothing is changed in what already runs.

use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim};
use posthouse_api::{
    MailRelay,
    mail_relay::storage::{AccessMode, VolumeClaim},
};
use posthouse_config::{document, yaml};
use serde::Deserialize;

use super::{facts::Facts, plan::DEFAULT_SIZE};
use crate::{
    names,
    problem::{Findings, quoted},
    quantity,
};

/// What decisions need of the document that lives. Members that are not known here may be anything: another release may
/// have written it.
#[derive(Debug, Deserialize)]
pub(super) struct Head {
    pub(super) number: u64,
    pub(super) replicas: u32,
    #[serde(default)]
    keys: Keys,
}

#[derive(Debug, Default, Deserialize)]
struct Keys {
    #[serde(default)]
    relay: Vec<RelayKey>,
}

#[derive(Debug, Deserialize)]
struct RelayKey {
    rotation: u64,
}

/// What a ConfigMap's document says; nothing if it holds none, or one that is unreadable.
pub(super) fn head(config: &ConfigMap) -> Option<Head> {
    let text = config.data.as_ref()?.get(document::FILE_NAME)?;
    yaml::from_str(text).ok()
}

/// What does not go with what lives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveFindings {
    /// `Accepted=False/NamespaceNotServed`: nothing can be made.
    pub namespace_not_served: Option<String>,
    /// `Accepted=False/InvalidSpec`: the document stays as it is.
    pub invalid: Findings,
    /// `Programmed=False/StorageImmutable`: everything but the claims is as asked.
    pub storage_immutable: Option<String>,
}

/// Compares a MailRelay with its children.
pub fn check(relay: &MailRelay, facts: &Facts) -> LiveFindings {
    let mut invalid = Findings::default();
    key_rotation(relay, facts.children.config.as_deref(), &mut invalid);
    LiveFindings {
        namespace_not_served: (!facts.is_served).then(|| not_served(relay)),
        storage_immutable: template(facts).and_then(|live| storage(relay, live)),
        invalid,
    }
}

fn not_served(relay: &MailRelay) -> String {
    let namespace = relay.metadata.namespace.as_deref().unwrap_or_default();
    format!(
        "the operator does not serve namespace {namespace}: add it to the chart value relayNamespaces (--relay-namespaces), or create the MailRelay in a namespace that is in it. If it is in it, the operator may not list what is in the namespace: upgrade the chart's release, which gives it the right"
    )
}

/// A rotation that went down would bring back passwords that were to be renewed.
fn key_rotation(relay: &MailRelay, config: Option<&ConfigMap>, findings: &mut Findings) {
    let Some(head) = config.and_then(head) else {
        return;
    };
    let rotations = head.keys.relay.iter().map(|key| key.rotation);
    let live = rotations.max().unwrap_or_default();
    let asked = u64::try_from(relay.spec.clients.key_rotation).unwrap_or_default();
    findings.require(
        asked >= live,
        "spec.clients.keyRotation",
        format!("must be at least {live}: the gateways have keys of that rotation"),
    );
}

/// The claim template, which a StatefulSet can never change.
fn template(facts: &Facts) -> Option<&PersistentVolumeClaim> {
    let set = facts.children.stateful_set.as_ref()?.spec.as_ref()?;
    let templates = set.volume_claim_templates.as_ref()?;
    templates
        .iter()
        .find(|template| template.metadata.name.as_deref() == Some(names::SPOOL_VOLUME))
}

fn storage(relay: &MailRelay, live: &PersistentVolumeClaim) -> Option<String> {
    let asked = relay
        .spec
        .storage
        .as_ref()
        .and_then(|storage| storage.volume_claim.as_ref());
    let differences = [class(asked, live), mode(asked, live), size(asked, live)];
    let differences: Vec<_> = differences.into_iter().flatten().collect();
    (!differences.is_empty()).then(|| {
        format!(
            "{}; the volumes stay as they are. Set it back, or create a MailRelay of another name and delete this one once its mail is gone",
            differences.join("; ")
        )
    })
}

fn class(asked: Option<&VolumeClaim>, live: &PersistentVolumeClaim) -> Option<String> {
    let asked = asked.and_then(|claim| claim.storage_class_name.as_deref());
    let live = live.spec.as_ref()?.storage_class_name.as_deref();
    let says = |class: Option<&str>| class.map_or("absent".to_owned(), quoted);
    (asked != live).then(|| {
        format!(
            "spec.storage.volumeClaim.storageClassName is {} and must be {}: a volume keeps its class",
            says(asked),
            says(live)
        )
    })
}

fn mode(asked: Option<&VolumeClaim>, live: &PersistentVolumeClaim) -> Option<String> {
    let asked = match asked.and_then(|claim| claim.access_mode) {
        Some(AccessMode::ReadWriteOncePod) => "ReadWriteOncePod",
        Some(AccessMode::ReadWriteOnce) | None => "ReadWriteOnce",
    };
    let live = live.spec.as_ref()?.access_modes.as_ref()?.first()?;
    (asked != live).then(|| {
        format!(
            "spec.storage.volumeClaim.accessMode is {asked} and must be {live}: a volume keeps its access mode"
        )
    })
}

fn size(asked: Option<&VolumeClaim>, live: &PersistentVolumeClaim) -> Option<String> {
    let asked = asked.map_or(DEFAULT_SIZE, |claim| &claim.size);
    let requests = live.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
    let live = &requests.get("storage")?.0;
    (quantity::parse(asked)? < quantity::parse(live)?).then(|| {
        format!(
            "spec.storage.volumeClaim.size is {asked} and must be at least {live}: a volume cannot shrink"
        )
    })
}

#[cfg(test)]
mod tests;
