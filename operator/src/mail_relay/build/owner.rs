//! Who a child goes with, and the metadata every child has.
//!
//! Two owners: the MailRelay, and the anchor, which has none. On foreground deletion the garbage collector deletes what
//! the MailRelay alone owns, volumes included and our finalizer notwithstanding; from a child with a second, living
//! owner it only takes the reference away. Nothing is copied from the MailRelay's metadata.

use k8s_openapi::{
    api::core::v1::ConfigMap,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::Resource;
use posthouse_api::MailRelay;

use super::Request;
use crate::{labels, mail_sender::validate::NO_UID};

/// Who the children of a relay go with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Owners {
    /// The MailRelay, as their controller; none while it is being deleted.
    pub relay: Option<OwnerReference>,
    /// The ConfigMap `<relay>-anchor`.
    pub anchor: Option<OwnerReference>,
}

impl Owners {
    /// The owners of a relay's children, from the relay and the anchor as they live.
    pub fn of(relay: &MailRelay, anchor: &ConfigMap) -> Self {
        let reference =
            |uid: Option<&String>, api_version: &str, kind: &str, name: Option<&String>| {
                OwnerReference {
                    api_version: api_version.to_owned(),
                    kind: kind.to_owned(),
                    name: name.cloned().unwrap_or_default(),
                    uid: uid.map_or_else(|| NO_UID.to_owned(), Clone::clone),
                    ..OwnerReference::default()
                }
            };
        let of_relay = OwnerReference {
            controller: Some(true),
            block_owner_deletion: Some(true),
            ..reference(
                relay.metadata.uid.as_ref(),
                &MailRelay::api_version(&()),
                &MailRelay::kind(&()),
                relay.metadata.name.as_ref(),
            )
        };
        let anchor = &anchor.metadata;
        Self {
            relay: relay
                .metadata
                .deletion_timestamp
                .is_none()
                .then_some(of_relay),
            anchor: Some(reference(
                anchor.uid.as_ref(),
                "v1",
                "ConfigMap",
                anchor.name.as_ref(),
            )),
        }
    }

    /// The references, the controller first.
    pub fn references(&self) -> Vec<OwnerReference> {
        self.relay.iter().chain(&self.anchor).cloned().collect()
    }
}

/// The uid of a MailRelay; the zero uid if no API server has given one.
pub(super) fn uid(relay: &MailRelay) -> &str {
    relay.metadata.uid.as_deref().unwrap_or(NO_UID)
}

/// The metadata of a child of this name.
pub(super) fn metadata(request: &Request<'_>, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(request.valid.namespace.clone()),
        labels: Some(labels::of_child(&request.valid.name, uid(request.relay))),
        owner_references: Some(request.owners.references()),
        ..ObjectMeta::default()
    }
}
