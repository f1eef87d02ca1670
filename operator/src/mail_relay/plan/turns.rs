//! Whose turn it is when an operator upgrade gives every relay other pods: one relay at a time, in the order of
//! their names, and none while another does not get on.
//!
//! A change that a person makes to one relay waits for nobody. The two are told apart by an annotation of the pods: a
//! digest of what the operator alone decides, such as the image. A rollout in which it changes is an upgrade. Pods that
//! are not ready wait for no turn either, since deleting them takes nothing from anybody and may be what mends them.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::{SignedDuration, Timestamp};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{Object, Plan, Rollout, rollout};
use crate::{labels, mail_relay::facts::Facts};

/// How far a relay is, for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing is to be rolled out.
    Idle,
    /// An upgrade is to be rolled out, and no pod was restarted for it.
    Waiting,
    /// Pods are being restarted.
    Rolling,
    /// A rollout does not get on.
    Stalled,
}

/// A namespace and a relay's name.
type Key = (String, String);

/// For how long relays are waited for that were not looked at since the start: one that nobody can look at must not
/// keep the others for ever.
const PATIENCE: SignedDuration = SignedDuration::from_mins(5);

/// The stages of all relays. It is empty at the start of an operator, which is when upgrades happen: no turn is given
/// before every relay was looked at.
#[derive(Debug, Default)]
pub struct Turns(Mutex<Stages>);

#[derive(Debug, Default)]
struct Stages {
    since: Option<Timestamp>,
    relays: BTreeMap<Key, Turn>,
}

#[derive(Clone, Debug)]
struct Turn {
    stage: Stage,
    /// The uid of the pod that it may delete, though its stage was `Waiting`.
    permitted: Option<String>,
}

impl Turns {
    /// Whether a relay may delete the pod its plan names; from that moment it rolls. `relays` are those there are that
    /// are served. Asked and answered in one step, since relays are looked at side by side.
    pub fn take(&self, relay: &Key, facts: &Facts, plan: &Plan, relays: &[Key]) -> bool {
        let wanted = plan.restart.as_ref().map(|pod| pod.uid.as_str());
        self.give(relay, stage(facts, plan), wanted, relays, facts.now)
    }

    fn give(
        &self,
        relay: &Key,
        stage: Stage,
        pod: Option<&str>,
        relays: &[Key],
        now: Timestamp,
    ) -> bool {
        let mut all = self.stages();
        let since = *all.since.get_or_insert(now);
        all.relays.retain(|key, _| relays.contains(key));
        let former = all.relays.get(relay);
        // The pod that it deleted may still be in the cache.
        let permitted = former
            .and_then(|turn| turn.permitted.clone())
            .filter(|uid| stage == Stage::Waiting && pod == Some(uid.as_str()));
        let has_turn = permitted.is_some();
        let turn = Turn {
            stage: if has_turn { Stage::Rolling } else { stage },
            permitted,
        };
        all.relays.insert(relay.clone(), turn);
        if has_turn || stage != Stage::Waiting {
            return true;
        }
        let is_known = relays.iter().all(|key| all.relays.contains_key(key));
        let stages = all.relays.iter().map(|(key, turn)| (key, turn.stage));
        let may = (is_known || now.duration_since(since) >= PATIENCE)
            && may_roll(&relay, &stages.collect());
        if may {
            let turn = Turn {
                stage: Stage::Rolling,
                permitted: pod.map(str::to_owned),
            };
            all.relays.insert(relay.clone(), turn);
        }
        may
    }

    /// A relay was looked at and nothing is rolled out: it ends, it is invalid, or its children could not be applied.
    pub fn pass(&self, relay: &Key) {
        let turn = Turn {
            stage: Stage::Idle,
            permitted: None,
        };
        self.stages().relays.insert(relay.clone(), turn);
    }

    /// A relay is gone.
    pub fn forget(&self, relay: &Key) {
        self.stages().relays.remove(relay);
    }

    fn stages(&self) -> MutexGuard<'_, Stages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The stage of a relay that is planned like this.
fn stage(facts: &Facts, plan: &Plan) -> Stage {
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
fn may_roll<K: Ord>(relay: &K, stages: &BTreeMap<K, Stage>) -> bool {
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

/// Whether the pod to restart works, none was replaced yet, and its successor is another by the operator's will.
fn waits(facts: &Facts, pod: &Object) -> bool {
    let Some(set) = &facts.children.stateful_set else {
        return false;
    };
    let template = set
        .spec
        .as_ref()
        .and_then(|spec| spec.template.metadata.as_ref());
    let wanted = template.and_then(digest);
    let revision = rollout::revision(set);
    let is_first = facts
        .children
        .pods
        .values()
        .all(|pod| rollout::hash(pod) != revision);
    let pod = facts.children.pods.get(&pod.name);
    pod.is_some_and(|pod| is_first && rollout::is_ready(pod) && digest(&pod.metadata) != wanted)
}

/// What the operator alone decided of a pod.
fn digest(metadata: &ObjectMeta) -> Option<&String> {
    metadata.annotations.as_ref()?.get(labels::UPGRADE_DIGEST)
}

#[cfg(test)]
mod tests;
