//! Whose turn it is when an operator upgrade gives every relay another image: one relay at a time, in the order of
//! their names, and none while another does not get on.
//!
//! A change that a person makes to one relay waits for nobody. The two are told apart by the gateways' image, which is
//! the operator's alone: a rollout in which the image changes is an upgrade. Pods that are not ready wait for no turn
//! either, since deleting them takes nothing from anybody and may be what mends them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

use super::{Object, Plan, Rollout, rollout};
use crate::mail_relay::facts::Facts;

/// How far a relay is, for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing is to be rolled out.
    Idle,
    /// An upgrade is to be rolled out, and no pod was restarted for it.
    Waiting,
    /// Pods are being restarted.
    Rolling,
    /// A rollout does not get on.
    Stalled,
}

/// The stage of a relay that is planned like this.
pub fn stage(facts: &Facts, plan: &Plan) -> Stage {
    match &plan.rollout {
        Rollout::Done => Stage::Idle,
        Rollout::Stalled(_) => Stage::Stalled,
        Rollout::UnderWay => match &plan.restart {
            Some(pod) if waits(facts, pod) => Stage::Waiting,
            Some(_) | None => Stage::Rolling,
        },
    }
}

/// Whether a relay may delete the pod its plan names. `stages` has every relay there is, this one with its stage of now.
pub fn may_roll<K: Ord>(relay: &K, stages: &BTreeMap<K, Stage>) -> bool {
    if stages.get(relay) != Some(&Stage::Waiting) {
        return true;
    }
    let is_busy = stages
        .values()
        .any(|stage| matches!(stage, Stage::Rolling | Stage::Stalled));
    let first = stages
        .iter()
        .find(|(_, stage)| **stage == Stage::Waiting)
        .map(|(name, _)| name);
    !is_busy && first == Some(relay)
}

/// Whether the pod to restart works, and its successor and those of all others would have another image.
fn waits(facts: &Facts, pod: &Object) -> bool {
    let Some(set) = &facts.children.stateful_set else {
        return false;
    };
    let template = set.spec.as_ref().and_then(|it| it.template.spec.as_ref());
    let revision = rollout::revision(set);
    let is_first = facts
        .children
        .pods
        .values()
        .all(|pod| rollout::hash(pod) != revision);
    let pod = facts.children.pods.get(&pod.name);
    pod.is_some_and(|pod| {
        is_first && rollout::is_ready(pod) && template.is_some_and(|it| has_other_image(pod, it))
    })
}

/// By the name of the template's first container: others may have put containers before it.
fn has_other_image(pod: &Pod, template: &PodSpec) -> bool {
    let Some(Container { name, image, .. }) = template.containers.first() else {
        return false;
    };
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    containers
        .into_iter()
        .any(|container| container.name == *name && container.image != *image)
}

#[cfg(test)]
mod tests;
