//! The gateways: one pod and one volume for each ordinal.
//!
//! `OnDelete`, since the operator restarts pods itself: `RollingUpdate` waits for readiness, which a draining gateway
//! lacks by design. Volumes are never deleted with pods or with the StatefulSet, because there may be mail on them.
//! [`pod`] is the template; [`container`] what runs in it; [`volume`] its files; [`claim`] the spool; [`resources`] CPU and
//! memory.

pub mod claim;
pub mod container;
pub mod pod;
pub mod resources;
pub mod volume;

use k8s_openapi::{
    api::apps::v1::{
        StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec,
        StatefulSetUpdateStrategy,
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};

use super::{Request, owner::metadata};
use crate::{labels, names};

/// A gateway that is ready for this long counts as up: what fails at its start fails at once.
const MIN_READY_SECONDS: i32 = 10;

/// The StatefulSet.
pub fn build(request: &Request<'_>) -> StatefulSet {
    let name = &request.valid.name;
    StatefulSet {
        metadata: metadata(request, names::workload(name)),
        spec: Some(StatefulSetSpec {
            replicas: Some(i32::try_from(request.plan.replicas).unwrap_or(i32::MAX)),
            service_name: Some(names::headless_service(name)),
            selector: LabelSelector {
                match_labels: Some(labels::selector(name)),
                ..LabelSelector::default()
            },
            template: pod::template(request),
            volume_claim_templates: Some(claim::templates(request)),
            // A gateway whose volume is not there must not keep the others from starting.
            pod_management_policy: Some("Parallel".to_owned()),
            min_ready_seconds: Some(MIN_READY_SECONDS),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("OnDelete".to_owned()),
                rolling_update: None,
            }),
            persistent_volume_claim_retention_policy: Some(
                StatefulSetPersistentVolumeClaimRetentionPolicy {
                    when_deleted: Some("Retain".to_owned()),
                    when_scaled: Some("Retain".to_owned()),
                },
            ),
            ..StatefulSetSpec::default()
        }),
        status: None,
    }
}

#[cfg(test)]
mod tests;
