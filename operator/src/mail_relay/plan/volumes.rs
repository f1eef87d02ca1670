//! Volumes that are to grow: each claim is patched, since the claim template of a StatefulSet cannot change.
//!
//! Claims that a scale-up makes later come at the old size and are patched then. An unbound claim cannot be patched;
//! it waits until it is bound. A volume that does not follow its claim is reported: at once where the storage refused,
//! else after 15 minutes, counted from what the claim itself tells: its last step, or when its request was changed.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::core::v1::PersistentVolumeClaim, apimachinery::pkg::api::resource::Quantity,
};

use super::{Object, gateway};
use crate::{
    mail_relay::facts::Facts,
    names,
    quantity::{self, Amount},
};

/// The size of a claim where the MailRelay says none.
pub const DEFAULT_SIZE: &str = "10Gi";

/// How long a volume may take to grow before somebody is told.
const PATIENCE: SignedDuration = SignedDuration::from_mins(15);

/// The resource of claims and volumes.
const STORAGE: &str = "storage";

/// Conditions by which the storage says that it cannot (core/v1 `PersistentVolumeClaimConditionType`).
const REFUSED: [&str; 2] = ["ControllerResizeError", "NodeResizeError"];

/// What is to grow, and what did not.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Growth {
    pub(super) resize: Vec<(Object, Quantity)>,
    pub(super) not_expanded: Option<String>,
}

/// Compares the claims of the gateways there will be with the size that is wanted.
pub(super) fn growth(facts: &Facts, replicas: u32) -> Growth {
    let size = size(facts);
    let Some(wanted) = quantity::parse(size) else {
        return Growth::default();
    };
    let relay = gateway::relay(facts);
    let bound: Vec<_> = gateway::claim_ordinals(facts)
        .filter(|ordinal| *ordinal < replicas)
        .filter_map(|ordinal| facts.children.claims.get(&names::claim(relay, ordinal)))
        .filter(|claim| is_bound(claim))
        .collect();
    let resize = bound
        .iter()
        .filter(|claim| requested(claim).is_some_and(|it| it < wanted))
        .filter_map(|claim| {
            let metadata = &claim.metadata;
            let (name, uid) = (metadata.name.clone()?, metadata.uid.clone()?);
            Some((Object { name, uid }, Quantity(size.to_owned())))
        })
        .collect();
    Growth {
        resize,
        not_expanded: bound
            .iter()
            .find_map(|claim| why_not(claim, wanted, facts.now)),
    }
}

/// What people read where the API server refused to enlarge a claim.
pub fn expansion_refused(claim: &str, why: &str) -> String {
    format!(
        "claim {claim} cannot be enlarged: {why}; let its class allow expansion (allowVolumeExpansion: true), or replace the volumes one by one; a size, once asked for, cannot be taken back"
    )
}

/// The size that is wanted.
fn size(facts: &Facts) -> &str {
    let storage = facts.relay.spec.storage.as_ref();
    storage
        .and_then(|storage| storage.volume_claim.as_ref())
        .map_or(DEFAULT_SIZE, |claim| &claim.size)
}

/// Why a claim that asks for enough has too little.
fn why_not(claim: &PersistentVolumeClaim, wanted: Amount, now: Timestamp) -> Option<String> {
    let name = claim.metadata.name.as_deref()?;
    let asked = requested(claim)? >= wanted;
    let (has, text) = capacity(claim)?;
    if !asked || has >= wanted {
        return None;
    }
    if let Some(why) = refusal(claim) {
        return Some(expansion_refused(name, &why));
    }
    let since = last_step(claim)?;
    (now.duration_since(since) >= PATIENCE).then(|| {
        format!("claim {name} has still {text}, {} minutes after it was to grow: see its Events, and whether its storage class allows expansion", PATIENCE.as_mins())
    })
}

/// What the storage said that will not change by waiting.
fn refusal(claim: &PersistentVolumeClaim) -> Option<String> {
    let status = claim.status.as_ref()?;
    let condition = status.conditions.iter().flatten().find(|condition| {
        REFUSED.contains(&condition.type_.as_str()) && condition.status == "True"
    });
    if let Some(condition) = condition {
        let said = condition.message.as_ref().or(condition.reason.as_ref());
        return Some(said.unwrap_or(&condition.type_).clone());
    }
    let state = status.allocated_resource_statuses.as_ref()?.get(STORAGE)?;
    (state.ends_with("Infeasible") || state.ends_with("Failed")).then(|| state.clone())
}

/// Where a manager of a claim says that it set the request (RFC 6901).
pub const CLAIM_REQUEST: &str = "/f:spec/f:resources/f:requests/f:storage";

/// When the claim last got on: its last condition, else the last change of its request.
fn last_step(claim: &PersistentVolumeClaim) -> Option<Timestamp> {
    let conditions = claim
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let stepped = conditions
        .filter_map(|condition| condition.last_transition_time.as_ref())
        .map(|time| time.0)
        .max();
    stepped.max(requested_at(claim))
}

/// When somebody last set the request (managedFields: the API server dates each manager's last change).
fn requested_at(claim: &PersistentVolumeClaim) -> Option<Timestamp> {
    let managers = claim.metadata.managed_fields.iter().flatten();
    let owns_request = |fields: &serde_json::Value| fields.pointer(CLAIM_REQUEST).is_some();
    managers
        .filter(|entry| {
            entry.subresource.as_deref().unwrap_or_default().is_empty()
                && entry
                    .fields_v1
                    .as_ref()
                    .is_some_and(|fields| owns_request(&fields.0))
        })
        .filter_map(|entry| entry.time.as_ref())
        .map(|time| time.0)
        .max()
}

fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    let phase = claim.status.as_ref().and_then(|it| it.phase.as_deref());
    phase == Some("Bound") && claim.metadata.deletion_timestamp.is_none()
}

fn requested(claim: &PersistentVolumeClaim) -> Option<Amount> {
    let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
    quantity::parse(&requests.get(STORAGE)?.0)
}

fn capacity(claim: &PersistentVolumeClaim) -> Option<(Amount, &str)> {
    let text = &claim.status.as_ref()?.capacity.as_ref()?.get(STORAGE)?.0;
    Some((quantity::parse(text)?, text))
}

#[cfg(test)]
mod tests;
