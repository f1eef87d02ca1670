//! Each gateway as it is known: what it says, and of one that says nothing what was last known.
//!
//! Two memories stand in for a gateway that does not answer: its last answer to this process, else the figures that
//! `status.gateways[]` has of it. If both are lost, its figures are unknown and its queue is `NoReport`; they are never
//! taken for zero. A gateway that recovers its spool answers with an empty queue, so its answer has no figures either.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, Pod},
    apimachinery::pkg::apis::meta::v1::Time,
};
use posthouse_api::mail_relay::status::{GatewayState, GatewayStatus};

use super::figures::{Figures, whole};

use crate::{
    mail_relay::facts::{Facts, Heard, Report},
    names,
};

/// For how long a gateway may start before it counts as silent: pulling an image and attaching a volume take this long.
const STARTING: SignedDuration = SignedDuration::from_secs(120);

/// The most gateways a status lists (`maxItems`).
const LISTED: usize = 64;

/// On a claim: the node its volume is on, for volumes that are bound to one.
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

/// On a pod: the revision of the StatefulSet it was made from.
const REVISION: &str = "controller-revision-hash";

/// A gateway, or what is left of one.
#[derive(Debug)]
pub(super) struct Gateway<'a> {
    pub(super) name: String,
    ordinal: Option<u32>,
    pub(super) pod: Option<&'a Pod>,
    claim: Option<&'a PersistentVolumeClaim>,
    heard: Option<&'a Heard>,
    /// Of the revision that pods are to be.
    pub(super) is_current: bool,
    pub(super) figures: Option<Figures>,
    /// Since when it has not answered; absent while it does.
    silent_since: Option<Timestamp>,
    /// It does not answer, and does not just start.
    pub(super) is_silent: bool,
}

/// Whether every ready gateway has answered or had time to: before that, a status would tell of silence that nobody has
/// met yet. It is early after the start of the operator and after that of a gateway; whoever waits looks again in some
/// seconds, since a gateway that never answers brings no news. One that is not asked is not waited for: without the
/// installation's keys nobody is, and people must be told just then.
pub fn is_heard_out(facts: &Facts) -> bool {
    facts.children.pods.iter().all(|(name, pod)| {
        let heard = facts.gateways.get(name);
        !(is_ready(pod) && heard.is_some_and(|heard| heard.is_awaited(facts.now)))
    })
}

/// Every gateway that has a pod; that is to have one and has a volume; or that has a volume with mail and no pod will
/// come for it. By ordinal.
pub(super) fn gateways(facts: &Facts) -> Vec<Gateway<'_>> {
    let relay = facts.relay.metadata.name.as_deref().unwrap_or_default();
    let known = remembered(facts);
    let stranded = known.iter().filter(|row| row.messages != Some(0));
    let expected = (0..replicas(facts)).map(|ordinal| names::pod(relay, ordinal));
    let with_volume = expected
        .chain(stranded.map(|row| row.name.clone()))
        .filter(|name| claim(facts, relay, name).is_some());
    let listed: BTreeSet<_> = facts
        .children
        .pods
        .keys()
        .cloned()
        .chain(with_volume)
        .collect();
    let mut gateways: Vec<_> = listed
        .into_iter()
        .map(|name| gateway(facts, relay, name))
        .collect();
    gateways.sort_by(|a, b| (a.ordinal, &a.name).cmp(&(b.ordinal, &b.name)));
    gateways.truncate(LISTED);
    gateways
}

fn gateway<'a>(facts: &'a Facts, relay: &str, name: String) -> Gateway<'a> {
    let memory = remembered(facts).iter().find(|row| row.name == name);
    let heard = facts.gateways.get(&name);
    let pod = facts.children.pods.get(&name).map(AsRef::as_ref);
    let remembered_since = memory.and_then(|row| row.silent_since.as_ref().map(|time| time.0));
    let silent_since = match heard {
        Some(Heard::Report(_)) => None,
        Some(Heard::Silent { since, .. }) => Some(*since),
        Some(Heard::Nothing { since }) => Some(remembered_since.unwrap_or(*since)),
        None => Some(remembered_since.unwrap_or(facts.now)),
    };
    let is_silent = match heard {
        Some(Heard::Report(_)) => false,
        Some(Heard::Silent { .. }) => true,
        Some(Heard::Nothing { .. }) | None => {
            silent_since.is_some_and(|since| facts.now.duration_since(since) >= STARTING)
        }
    };
    Gateway {
        ordinal: ordinal(relay, &name),
        claim: claim(facts, relay, &name),
        is_current: pod.is_some_and(|pod| is_current(facts, pod)),
        figures: heard
            .and_then(Heard::last)
            .and_then(Figures::of)
            .or_else(|| memory.and_then(Figures::remembered)),
        name,
        pod,
        heard,
        silent_since,
        is_silent,
    }
}

impl<'a> Gateway<'a> {
    /// Its answer, if it answers.
    pub(super) fn report(&self) -> Option<&'a Report> {
        self.heard.and_then(Heard::report)
    }

    /// Whether its pod takes mail.
    pub(super) fn is_ready(&self) -> bool {
        self.pod.is_some_and(is_ready)
    }

    /// Whether it answers and is there to stay.
    pub(super) fn is_serving(&self) -> bool {
        let is_going = self
            .pod
            .is_none_or(|pod| pod.metadata.deletion_timestamp.is_some());
        !is_going && self.report().is_some_and(|report| !report.status.draining)
    }

    /// In the words of the API.
    pub(super) fn state(&self) -> GatewayState {
        match self.report() {
            Some(report) if report.status.draining => GatewayState::Draining,
            Some(report) if self.is_ready() && Figures::of(report).is_some() => GatewayState::Ready,
            None if self.is_silent => GatewayState::Silent,
            _ => GatewayState::Starting,
        }
    }

    pub(super) fn status(&self) -> GatewayStatus {
        GatewayStatus {
            name: self.name.clone(),
            state: self.state(),
            messages: self.figures.map(|figures| figures.messages),
            held: self.figures.map(|figures| figures.held),
            oldest_message_time: self
                .figures
                .and_then(|figures| figures.oldest)
                .map(|oldest| Time(whole(oldest))),
            silent_since: self.silent_since.map(|since| Time(whole(since))),
        }
    }

    /// What a person needs to look for one that is silent: since when, what it had, where its volume is.
    pub(super) fn silence(&self) -> String {
        let since = self
            .silent_since
            .map(|since| format!(" since {}", whole(since)))
            .unwrap_or_default();
        let had = self
            .figures
            .map_or("nothing is known of its queue".to_owned(), |figures| {
                format!(
                    "it had {} messages, {} of them held",
                    figures.messages, figures.held
                )
            });
        let mut text = format!("gateway {} does not answer{since}; {had}", self.name);
        if let Some(place) = self.place() {
            text.push_str("; ");
            text.push_str(&place);
        }
        text
    }

    fn place(&self) -> Option<String> {
        let claim = self.claim?;
        let volume = claim
            .spec
            .as_ref()
            .and_then(|spec| spec.volume_name.as_deref())
            .map(|volume| format!(" ({volume})"))
            .unwrap_or_default();
        let pods_node = self
            .pod
            .and_then(|pod| pod.spec.as_ref()?.node_name.as_deref());
        let claims_node = || {
            let annotations = claim.metadata.annotations.as_ref()?;
            annotations.get(SELECTED_NODE).map(String::as_str)
        };
        let node = pods_node
            .or_else(claims_node)
            .map(|node| format!(" on node {node}"))
            .unwrap_or_default();
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        let fate = if self.pod.is_none() {
            ", for which no pod is there"
        } else {
            ""
        };
        Some(format!("volume {name}{volume}{node}{fate}"))
    }
}

/// Whether a pod takes traffic and is not on its way out.
pub(super) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    pod.metadata.deletion_timestamp.is_none()
        && conditions.into_iter().flatten().any(|condition| {
            condition.type_ == crate::condition::READY && condition.status == "True"
        })
}

/// Memory: what the status that is there says of gateways.
fn remembered(facts: &Facts) -> &[GatewayStatus] {
    facts
        .relay
        .status
        .as_ref()
        .map_or(&[], |status| &status.gateways)
}

fn replicas(facts: &Facts) -> u32 {
    let spec = facts
        .children
        .stateful_set
        .as_ref()
        .and_then(|set| set.spec.as_ref());
    spec.and_then(|spec| spec.replicas)
        .and_then(|replicas| u32::try_from(replicas).ok())
        .unwrap_or_default()
}

fn ordinal(relay: &str, pod: &str) -> Option<u32> {
    pod.strip_prefix(relay)?.strip_prefix('-')?.parse().ok()
}

/// The claim of a gateway, once it is bound: before, there is no volume that could hold mail.
fn claim<'a>(facts: &'a Facts, relay: &str, pod: &str) -> Option<&'a PersistentVolumeClaim> {
    let name = names::claim(relay, ordinal(relay, pod)?);
    let claim = facts.children.claims.get(&name)?;
    let phase = claim.status.as_ref()?.phase.as_deref();
    (phase == Some("Bound")).then_some(claim)
}

fn is_current(facts: &Facts, pod: &Pod) -> bool {
    let set = facts.children.stateful_set.as_ref();
    let update = set
        .and_then(|set| set.status.as_ref())
        .and_then(|status| status.update_revision.as_deref());
    let labels = pod.metadata.labels.as_ref();
    let own = labels
        .and_then(|labels| labels.get(REVISION))
        .map(String::as_str);
    update.is_some() && own == update
}
