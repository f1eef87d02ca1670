//! What the children of a relay are to be like where that depends on what is there, not on the MailRelay alone.
//!
//! Pure: [`Facts`](super::facts::Facts) in, a [`Plan`] out, computed afresh each time. Draining, rolling out and volumes
//! each have a module; none of them remembers anything.
//!
//! Whoever carries a plan out applies the document first, with the resourceVersion it was read with, deletes claims and
//! pods by their uid, and lowers the StatefulSet last: a plan that went by older objects fails before it can do harm.

mod drain;
mod ending;
mod gateway;
#[cfg(test)]
mod model;
mod rollout;
pub mod turns;
mod volumes;
#[cfg(test)]
pub(in crate::mail_relay) mod world;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use posthouse_api::mail_relay::status::DrainStatus;

pub use volumes::{CLAIM_REQUEST, DEFAULT_SIZE, expansion_refused};

use super::{facts::Facts, validate::ValidRelay};

/// How many ordinals are looked at: a MailRelay has at most 32 gateways, and somebody may have scaled the StatefulSet.
const MOST_REPLICAS: u32 = 1_000;

/// What is to be done now.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// `replicas` of the document: a gateway whose ordinal is not below it drains.
    pub document_replicas: u32,
    /// `replicas` of the StatefulSet: more than the document's while gateways drain.
    pub replicas: u32,
    /// How many gateways drain; the PodDisruptionBudget lets them be away.
    pub draining: u32,
    /// The drain under way, for people.
    pub drain: Option<DrainStatus>,
    /// The pod that is to be deleted now, so that it comes back as the new revision. Never more than one.
    pub restart: Option<Object>,
    /// How far the rollout is.
    pub rollout: Rollout,
    /// Claims that are to grow.
    pub resize: Vec<(Object, Quantity)>,
    /// Claims that are not needed any more and that the user wants deleted; their spools were reported empty.
    pub delete_claims: Vec<Object>,
    /// Why a bound claim did not grow; `StorageNotExpanded`.
    pub not_expanded: Option<String>,
    /// A deletion may end: the anchor and the finalizer go.
    pub is_over: bool,
    /// What people are told as Events.
    pub notices: Vec<Notice>,
}

/// An object by name and uid: what is done to it must not be done to a successor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// How far a rollout is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rollout {
    /// Every gateway is of the current revision.
    Done,
    /// Some are not yet.
    UnderWay,
    /// No progress for 15 minutes.
    Stalled(String),
}

/// An Event: once per transition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Whether it needs a person.
    pub is_warning: bool,
    /// CamelCase, as in `Drained`.
    pub reason: String,
    /// What was done, in the words of events.k8s.io: CamelCase, as in `Drain`.
    pub action: String,
    /// For people, at most 1,024 octets.
    pub note: String,
}

/// What is to be done for a relay that lives.
pub fn plan(facts: &Facts, relay: &ValidRelay) -> Plan {
    let course = drain::course(facts, relay.replicas);
    let step = rollout::step(facts, course.document_replicas, course.replicas);
    let growth = volumes::growth(facts, course.replicas);
    Plan {
        document_replicas: course.document_replicas,
        replicas: course.replicas,
        draining: course.replicas.saturating_sub(course.document_replicas),
        drain: course.drain,
        restart: step.restart,
        rollout: step.rollout,
        resize: growth.resize,
        delete_claims: Vec::new(),
        not_expanded: growth.not_expanded,
        is_over: false,
        notices: course.notices,
    }
}

/// What is to be done for a relay with a deletionTimestamp. Nothing is rolled out and nothing grows any more.
pub fn ending(facts: &Facts) -> Plan {
    let ending = ending::ending(facts);
    Plan {
        document_replicas: 0,
        replicas: ending.replicas,
        draining: ending.replicas,
        drain: ending.drain,
        restart: None,
        rollout: Rollout::Done,
        resize: Vec::new(),
        delete_claims: ending.delete_claims,
        not_expanded: None,
        is_over: ending.is_over,
        notices: ending.notices,
    }
}
