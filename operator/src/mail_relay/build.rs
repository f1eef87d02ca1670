//! What a valid MailRelay becomes. One file per child kind.
//!
//! Everything here is pure: what could be wrong was found by `validate`, and what depends on what lives is in the
//! [`Plan`](super::plan::Plan) and the [`LiveChildren`]. [`place`] is the one module that knows whether a gateway runs
//! in a pod or on this machine. A Service, a ConfigMap or a NetworkPolicy may change at any time; a pod's template
//! changes only for what `operator/changes.md` says, since every change of it restarts each gateway.

pub mod config_map;
pub mod gateway_config;
pub mod network_policy;
mod owner;
pub mod place;
pub mod pod_disruption_budget;
pub mod prometheus_rule;
pub mod secrets;
pub mod service;
pub mod service_account;
pub mod service_monitor;
pub mod stateful_set;

use std::sync::Arc;

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{ConfigMap, Service, ServiceAccount},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
};
use kube::core::DynamicObject;
use posthouse_api::MailRelay;
use posthouse_config::{document::Issuer, senders::Sender, yaml::YamlError};

use super::{
    facts::{Facts, Heard, LiveChildren},
    keys::KeyRotations,
    plan::Plan,
    validate::{CertificateSource, ValidRelay},
};
use crate::settings::{Capabilities, Settings};
pub use config_map::{anchor, with_replicas, without_senders};
pub use gateway_config::{Terms, gateway_config, senders, text};
pub use owner::Owners;
pub use place::Place;
pub use secrets::{issued_names, issued_secret, keys_secret};

/// Everything the children of a relay depend on.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The MailRelay.
    pub relay: &'a MailRelay,
    /// What it says.
    pub valid: &'a ValidRelay,
    /// What is to be done now.
    pub plan: &'a Plan,
    /// Which relay keys count.
    pub keys: &'a KeyRotations,
    /// What the operator was told.
    pub settings: &'a Settings,
    /// Kinds that not every cluster has.
    pub capabilities: Capabilities,
    /// Who the children go with.
    pub owners: Owners,
    /// Whose ServiceAccount tokens are believed.
    pub issuers: &'a [Issuer],
    /// The rows of the senders file.
    pub senders: Vec<Sender>,
    /// The certificate of our own authority, PEM.
    pub authority: Option<&'a str>,
    /// The children there are.
    pub live: &'a LiveChildren,
    /// The highest numbers that gateways go by.
    pub reported: Reported,
    /// What was written last, for files that somebody deleted since.
    pub written: Written,
}

/// The files that gateways go by, as they were written last. One that is missing is written again with the number it had,
/// unless something else in it is different: gateways may go by it and have not said so yet.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// The document.
    pub config: Option<Arc<ConfigMap>>,
    /// The senders file.
    pub senders: Option<Arc<ConfigMap>>,
}

/// The highest numbers that gateways go by. Numbers only grow, also past a ConfigMap that somebody deleted: an old report
/// must never speak for a new document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reported {
    /// Of the document.
    pub document: u64,
    /// Of the senders file.
    pub senders: u64,
}

impl Reported {
    /// By what the gateways said last, however long ago.
    pub fn of(facts: &Facts) -> Self {
        let last = facts.gateways.values().filter_map(Heard::last);
        last.fold(Self::default(), |highest, report| Self {
            document: highest.document.max(report.status.document.number),
            senders: highest.senders.max(report.status.senders.number),
        })
    }
}

/// The children of a relay. A `None` means that there must be none: ours is deleted if it is there.
#[derive(Clone, Debug, PartialEq)]
pub struct Children {
    /// The gateways' ServiceAccount; it can do nothing.
    pub service_account: ServiceAccount,
    /// The document.
    pub config: ConfigMap,
    /// The senders file.
    pub senders: ConfigMap,
    /// The certificate of our own authority, where a listener has one of it.
    pub authority: Option<ConfigMap>,
    /// What applications connect to.
    pub service: Service,
    /// What gives each gateway a name.
    pub headless_service: Service,
    /// The gateways.
    pub stateful_set: StatefulSet,
    /// How many gateways may be away.
    pub pod_disruption_budget: PodDisruptionBudget,
    /// Who may connect.
    pub network_policy: Option<NetworkPolicy>,
    /// What Prometheus reads.
    pub service_monitor: Option<DynamicObject>,
    /// What Prometheus tells people.
    pub prometheus_rule: Option<DynamicObject>,
}

/// Why there are no children: a mistake of ours, found before it does harm.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A document that cannot be written as YAML or JSON.
    #[error("write the gateways' document")]
    Encode(#[from] YamlError),
    /// A document the gateways would refuse.
    #[error("the gateways would refuse this document: {0}")]
    Refused(String),
    /// Our own alert rules are not YAML.
    #[error("read the alert rules")]
    Rules(#[source] YamlError),
}

/// The children of a relay.
///
/// # Errors
/// Only for mistakes of ours: nothing must be applied then, since what runs is right.
pub fn children(request: &Request<'_>) -> Result<Children, BuildError> {
    Ok(Children {
        service_account: service_account::build(request),
        config: config_map::config(request)?,
        senders: config_map::senders(request)?,
        authority: config_map::authority(request),
        service: service::build(request),
        headless_service: service::headless(request),
        stateful_set: stateful_set::build(request),
        pod_disruption_budget: pod_disruption_budget::build(request),
        network_policy: network_policy::build(request),
        service_monitor: service_monitor::build(request),
        prometheus_rule: prometheus_rule::build(request)?,
    })
}

/// Whether a listener has a certificate of our own authority.
pub fn wants_issued(relay: &ValidRelay) -> bool {
    let is_issued = |source: &CertificateSource| *source == CertificateSource::Issued;
    let certificates = relay
        .listeners
        .iter()
        .filter_map(|l| l.certificate.as_ref());
    certificates.into_iter().any(is_issued)
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
