//! How many gateways may be away at once: one, and those that are leaving anyway.
//!
//! A draining gateway is not ready by design; counted against the budget it would stop every node from being drained.
//! Likewise a gateway that cannot start must not (`AlwaysAllow`): its mail is on its volume either way.

use k8s_openapi::{
    api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use super::{Request, owner::metadata};
use crate::{labels, names};

/// The PodDisruptionBudget.
pub fn build(request: &Request<'_>) -> PodDisruptionBudget {
    let name = &request.valid.name;
    let away = i32::try_from(request.plan.draining)
        .unwrap_or(i32::MAX)
        .saturating_add(1);
    PodDisruptionBudget {
        metadata: metadata(request, names::workload(name)),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(away)),
            selector: Some(LabelSelector {
                match_labels: Some(labels::selector(name)),
                ..LabelSelector::default()
            }),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }
}
