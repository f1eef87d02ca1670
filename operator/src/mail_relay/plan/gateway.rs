//! One gateway as the cluster shows it: its pod, its claim, and what that very pod last said of itself.
//!
//! A report counts only for the pod that gave it: what a namesake said before tells nothing about this one. A gateway
//! that drains takes no mail, so once it was told and empty it stays empty until the document lets it serve again;
//! that is why one such report is enough, however old it is.

use jiff::SignedDuration;
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{ContainerState, ContainerStatus, PersistentVolumeClaim, Pod},
};
use posthouse_config::status::SpoolState;

use crate::{
    mail_relay::{
        facts::{Facts, Heard, Report},
        live::{self, Head},
    },
    names,
};

/// How much later than its claim the first pod of a claim is made at most: the StatefulSet's controller makes both in
/// one go, and times in objects are whole seconds.
const SAME_MOMENT: SignedDuration = SignedDuration::from_secs(2);

/// One gateway.
pub(super) struct Gateway<'a> {
    pub(super) ordinal: u32,
    pub(super) name: String,
    pub(super) pod: Option<&'a Pod>,
    pub(super) claim: Option<&'a PersistentVolumeClaim>,
    /// What this pod last said, however old.
    pub(super) report: Option<&'a Report>,
    /// Whether it does not answer now.
    pub(super) is_silent: bool,
}

impl<'a> Gateway<'a> {
    pub(super) fn of(facts: &'a Facts, ordinal: u32) -> Self {
        let relay = relay(facts);
        let name = names::pod(relay, ordinal);
        let children = &facts.children;
        let pod = children.pods.get(&name).map(AsRef::as_ref);
        let heard = facts.gateways.get(&name);
        let uid = pod.and_then(|pod| pod.metadata.uid.as_deref());
        let report = heard
            .and_then(Heard::last)
            .filter(|report| uid == Some(report.status.pod_uid.as_str()));
        Self {
            ordinal,
            pod,
            claim: children
                .claims
                .get(&names::claim(relay, ordinal))
                .map(AsRef::as_ref),
            report,
            is_silent: report.is_none() || !matches!(heard, Some(Heard::Report(_))),
            name,
        }
    }

    /// Whether it has said that it goes by a document that makes it drain.
    pub(super) fn is_told(&self, number: u64) -> bool {
        self.report.is_some_and(|Report { status, .. }| {
            status.document.number >= number && status.draining
        })
    }

    /// Whether it was told and has said, in the same report, that nothing is left. Before recovery is over a spool
    /// knows of no mail, and a failed one may know of too little: neither is empty.
    pub(super) fn is_drained(&self, number: u64) -> bool {
        self.is_told(number)
            && self.report.is_some_and(|Report { status, .. }| {
                status.sessions == 0
                    && status.queue.messages == 0
                    && matches!(status.spool.state, SpoolState::Ready | SpoolState::Full)
            })
    }

    /// Whether nothing can ever have been spooled, so that nobody needs to be told.
    pub(super) fn never_ran(&self) -> bool {
        self.report.is_none() && (self.has_no_volume() || self.is_first_and_not_started())
    }

    fn has_no_volume(&self) -> bool {
        is_phase(self.pod, "Pending") && !self.claim.is_some_and(is_or_was_bound)
    }

    /// A claim and the pod it was made for, of which no container has run.
    fn is_first_and_not_started(&self) -> bool {
        let (Some(pod), Some(claim)) = (self.pod, self.claim) else {
            return false;
        };
        let (Some(made), Some(claimed)) = (
            &pod.metadata.creation_timestamp,
            &claim.metadata.creation_timestamp,
        ) else {
            return false;
        };
        let containers = pod
            .status
            .iter()
            .flat_map(|status| status.container_statuses.iter().flatten());
        is_phase(self.pod, "Pending")
            && made.0.duration_since(claimed.0).abs() <= SAME_MOMENT
            && containers.into_iter().all(has_never_started)
    }

    /// How many messages it last said it has.
    pub(super) fn messages(&self) -> Option<u64> {
        self.report.map(|report| report.status.queue.messages)
    }

    pub(super) fn claim_name(&self, facts: &Facts) -> String {
        names::claim(relay(facts), self.ordinal)
    }

    /// How much is left, and where, for people. What a gateway had while it took mail says nothing about what it has.
    pub(super) fn left(&self, facts: &Facts) -> String {
        let name = &self.name;
        let claim = self.claim_name(facts);
        let last = self.report.filter(|report| report.status.draining);
        match last.map(|report| report.status.queue.messages) {
            Some(1) => format!("1 message of {name} stays on claim {claim}"),
            Some(messages) => format!("{messages} messages of {name} stay on claim {claim}"),
            None => format!("an unknown number of messages of {name} stays on claim {claim}"),
        }
    }
}

/// Whether a pod is in a phase; one that is not there is in every phase.
fn is_phase(pod: Option<&Pod>, phase: &str) -> bool {
    pod.is_none_or(|pod| {
        pod.status
            .as_ref()
            .and_then(|status| status.phase.as_deref())
            .is_none_or(|it| it == phase)
    })
}

/// `Lost` is a volume that was there.
fn is_or_was_bound(claim: &PersistentVolumeClaim) -> bool {
    claim
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .is_some_and(|phase| phase != "Pending")
}

fn has_never_started(container: &ContainerStatus) -> bool {
    let has_run = |state: &Option<ContainerState>| {
        state
            .as_ref()
            .is_some_and(|state| state.running.is_some() || state.terminated.is_some())
    };
    container.restart_count == 0
        && container.started != Some(true)
        && !has_run(&container.state)
        && !has_run(&container.last_state)
}

/// The relay's name.
pub(super) fn relay(facts: &Facts) -> &str {
    facts.relay.metadata.name.as_deref().unwrap_or_default()
}

/// The ordinals of the pods there are.
pub(super) fn pod_ordinals(facts: &Facts) -> impl Iterator<Item = u32> {
    ordinals(facts, facts.children.pods.keys(), names::pod)
}

/// The ordinals of the claims there are.
pub(super) fn claim_ordinals(facts: &Facts) -> impl Iterator<Item = u32> {
    ordinals(facts, facts.children.claims.keys(), names::claim)
}

fn ordinals<'a>(
    facts: &'a Facts,
    names: impl Iterator<Item = &'a String>,
    of: fn(&str, u32) -> String,
) -> impl Iterator<Item = u32> {
    names.filter_map(move |name| {
        let ordinal = name.rsplit_once('-')?.1.parse().ok()?;
        (of(relay(facts), ordinal) == *name).then_some(ordinal)
    })
}

/// The StatefulSet's replicas; without one, as many as its successor must have so that no gateway is lost: pods that
/// a deleted StatefulSet left behind are adopted, and those beyond the replicas removed.
pub(super) fn live_replicas(facts: &Facts) -> u32 {
    if let Some(set) = &facts.children.stateful_set {
        return replicas(set);
    }
    let pods = pod_ordinals(facts).map(|ordinal| ordinal.saturating_add(1));
    let serving = document(facts).map_or(0, |document| document.replicas);
    pods.max().unwrap_or_default().max(serving)
}

/// How many pods a StatefulSet is to have (apps/v1: absent is 1).
pub(super) fn replicas(set: &StatefulSet) -> u32 {
    let replicas = set.spec.as_ref().and_then(|spec| spec.replicas);
    u32::try_from(replicas.unwrap_or(1)).unwrap_or_default()
}

/// The document that is live; none if it is absent or cannot be read.
pub(super) fn document(facts: &Facts) -> Option<Head> {
    live::head(facts.children.config.as_ref()?)
}
