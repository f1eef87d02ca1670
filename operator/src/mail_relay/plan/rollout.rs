//! Which pod is deleted next so that it comes back as the new revision. Never more than one.
//!
//! The StatefulSet says `OnDelete`, since its own rollout waits for every pod to be ready, which a draining gateway is
//! not by design. Broken pods of the old revision go first: they serve nobody, and only so can a change mend what an
//! earlier one broke. Then the highest ordinal, but only while every other gateway that serves is ready, and last the
//! draining ones. Nothing is remembered: what stands in the way is dated by the object that stands in it.

mod obstacle;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{Pod, PodCondition},
};

use super::{Object, Rollout, gateway::Gateway};
use crate::mail_relay::facts::Facts;
use obstacle::{Obstacle, obstacle, was_never_ready};

/// The label by which the StatefulSet's controller tells revisions apart.
const REVISION: &str = "controller-revision-hash";

/// `minReadySeconds` of the StatefulSet: a gateway that fails at once must not count as ready.
const STEADY: SignedDuration = SignedDuration::from_secs(10);

/// How long nothing may get on before the rollout is stalled.
const PATIENCE: SignedDuration = SignedDuration::from_mins(15);

/// The next step, and how far the rollout is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) restart: Option<Object>,
    pub(super) rollout: Rollout,
}

/// The gateways of one rollout.
struct Gateways<'a> {
    facts: &'a Facts,
    revision: &'a str,
    serving: Vec<Gateway<'a>>,
    draining: Vec<Gateway<'a>>,
}

/// The next step towards one revision on every gateway.
pub(super) fn step(facts: &Facts, document_replicas: u32, replicas: u32) -> Step {
    let under_way = Step {
        restart: None,
        rollout: Rollout::UnderWay,
    };
    let Some(set) = &facts.children.stateful_set else {
        return under_way;
    };
    let Some(revision) = revision(set) else {
        return under_way;
    };
    let (serving, draining) = (0..replicas.min(super::MOST_REPLICAS))
        .map(|ordinal| Gateway::of(facts, ordinal))
        .partition(|gateway| gateway.ordinal < document_replicas);
    let gateways = Gateways {
        facts,
        revision,
        serving,
        draining,
    };
    if let Some(pod) = gateways.next() {
        return Step {
            restart: object(pod),
            ..under_way
        };
    }
    match gateways.obstacle(set) {
        Some(obstacle) if is_old(obstacle.since, facts.now) => Step {
            restart: None,
            rollout: Rollout::Stalled(obstacle.why),
        },
        Some(_) => under_way,
        None => Step {
            restart: None,
            rollout: Rollout::Done,
        },
    }
}

/// The revision pods are to have, once the controller has seen the StatefulSet as it is.
pub(super) fn revision(set: &StatefulSet) -> Option<&str> {
    let status = set.status.as_ref()?;
    let is_current = status.observed_generation >= set.metadata.generation;
    status
        .update_revision
        .as_deref()
        .filter(|revision| is_current && !revision.is_empty())
}

impl<'a> Gateways<'a> {
    fn all(&self) -> impl Iterator<Item = &Gateway<'a>> {
        self.serving.iter().chain(&self.draining)
    }

    /// The pod to delete now.
    fn next(&self) -> Option<&'a Pod> {
        if self.all().any(is_away) {
            return None;
        }
        let old = |gateway: &&Gateway<'a>| self.is_old(gateway);
        let broken = self.serving.iter().rev().filter(old).find(|gateway| {
            !gateway.pod.is_some_and(is_ready)
                && !says_it_drains(gateway)
                && self.others_stand(gateway, |_| false)
        });
        let next = broken
            .or_else(|| self.serving.iter().rev().find(old))
            .or_else(|| self.draining.iter().rev().find(old))?;
        let is_broken = broken.is_some();
        (is_broken || self.others_stand(next, |_| true)).then_some(next.pod)?
    }

    /// Whether every other gateway that serves is ready; of the old revision only those that matter.
    fn others_stand(&self, next: &Gateway, old_matter: impl Fn(&Gateway) -> bool) -> bool {
        self.serving
            .iter()
            .filter(|gateway| gateway.ordinal != next.ordinal)
            .filter(|gateway| !self.is_old(gateway) || old_matter(gateway))
            .all(|gateway| is_steady(gateway, self.facts.now))
    }

    fn is_old(&self, gateway: &Gateway) -> bool {
        gateway
            .pod
            .is_some_and(|pod| hash(pod) != Some(self.revision))
    }

    /// What keeps the rollout from going on, the oldest first; nothing once it is over.
    fn obstacle(&self, set: &StatefulSet) -> Option<Obstacle> {
        let is_over = !self.all().any(|it| it.pod.is_none() || self.is_old(it));
        let standing = self.serving.iter().filter(|gateway| {
            !is_steady(gateway, self.facts.now) && (!is_over || was_never_ready(gateway))
        });
        let leaving = self.draining.iter().filter(|gateway| is_away(gateway));
        let obstacles = standing.chain(leaving);
        obstacles
            .map(|gateway| {
                let Obstacle { since, why } = obstacle(gateway, set);
                // Pods of the old revision are what the rollout replaces; they cannot hold it up.
                let since = since.filter(|_| is_away(gateway) || !self.is_old(gateway));
                Obstacle { since, why }
            })
            .min_by_key(|obstacle| obstacle.since.unwrap_or(Timestamp::MAX))
    }
}

fn is_old(since: Option<Timestamp>, now: Timestamp) -> bool {
    since.is_some_and(|since| now.duration_since(since) >= PATIENCE)
}

/// Not there, or on its way out.
fn is_away(gateway: &Gateway) -> bool {
    gateway
        .pod
        .is_none_or(|pod| pod.metadata.deletion_timestamp.is_some())
}

fn ready(pod: &Pod) -> Option<&PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions
        .iter()
        .find(|condition| condition.type_ == "Ready")
}

pub(super) fn is_ready(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none()
        && ready(pod).is_some_and(|condition| condition.status == "True")
}

/// Ready for long enough to be believed.
fn is_steady(gateway: &Gateway, now: Timestamp) -> bool {
    let since = gateway.pod.and_then(ready).and_then(changed);
    gateway.pod.is_some_and(is_ready)
        && since.is_none_or(|since| now.duration_since(since) >= STEADY)
}

fn changed(condition: &PodCondition) -> Option<Timestamp> {
    condition.last_transition_time.as_ref().map(|time| time.0)
}

/// A gateway that drained until the document just let it serve again; it has not heard yet.
fn says_it_drains(gateway: &Gateway) -> bool {
    gateway.report.is_some_and(|report| report.status.draining)
}

/// The revision a pod was made from.
pub(super) fn hash(pod: &Pod) -> Option<&str> {
    let labels = pod.metadata.labels.as_ref()?;
    labels.get(REVISION).map(String::as_str)
}

fn object(pod: &Pod) -> Option<Object> {
    Some(Object {
        name: pod.metadata.name.clone()?,
        uid: pod.metadata.uid.clone()?,
    })
}

#[cfg(test)]
mod tests;
