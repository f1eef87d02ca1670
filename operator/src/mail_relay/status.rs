//! A MailRelay's status, computed afresh from what is observed.
//!
//! [`reason`] every word a condition may say · [`programmed`] `Accepted`, `Programmed`, `Ready` · [`references`]
//! `ResolvedRefs` · [`upstreams`], [`queue`] the two that speak of mail · [`gateways`], [`figures`] what each gateway
//! says, and the memory of what it said · [`write`] when it is worth a write. Pure: the previous status is among the
//! facts, as memory and for the transition times alone.

mod figures;
mod gateways;
mod programmed;
mod queue;
mod reason;
mod references;
mod upstreams;
mod write;

use posthouse_api::mail_relay::status::{EndpointStatus, EndpointTlsStatus, MailRelayStatus};
use posthouse_config::document::{Protocol, TlsPolicy};

use super::{facts::Facts, plan::Plan, validate::ValidListener, validate::ValidRelay};
use crate::{
    condition::{self, ConditionStatus},
    labels, names,
    problem::Findings,
};
pub use gateways::is_heard_out;
pub use reason::Reason;
use reason::Verdict;
pub use write::worth_writing;

/// Everything a status says.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// What the reconcile goes by. The previous status is that of its MailRelay.
    pub facts: &'a Facts,
    /// What validation found.
    pub findings: &'a Findings,
    /// What was found against what lives: `InvalidSpec`, `NamespaceNotServed`, `StorageImmutable` or
    /// `StorageNotExpanded`, each with a message.
    pub live: &'a [(Reason, String)],
    /// What the MailRelay says, if it is valid.
    pub valid: Option<&'a ValidRelay>,
    /// What is to be done; absent if nothing was planned.
    pub plan: Option<&'a Plan>,
    /// What became of the children.
    pub applied: &'a ApplyOutcome,
}

/// What became of the children in this reconcile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApplyOutcome {
    /// They are as they are to be.
    Applied {
        /// The number of the document.
        document_number: u64,
        /// The number of the senders file.
        senders_number: u64,
        /// The MailRelay's generation in the document.
        generation: i64,
        /// MailSenders that were admitted.
        senders: usize,
    },
    /// Something could not be written.
    Failed {
        /// What, and why.
        message: String,
    },
    /// The fence around Secrets was not proved, so no Secret was written.
    FenceMissing,
    /// Nothing was written: the spec is not accepted, or the namespace goes.
    NotTried,
}

impl Observed<'_> {
    fn generation(&self) -> i64 {
        self.facts.relay.metadata.generation.unwrap_or_default()
    }

    fn previous(&self) -> Option<&MailRelayStatus> {
        self.facts.relay.status.as_ref()
    }
}

/// The status of a MailRelay.
pub fn status(observed: &Observed) -> MailRelayStatus {
    let facts = observed.facts;
    let gateways = gateways::gateways(facts);
    let upstreams = upstreams::Upstreams::of(observed, &gateways);
    let verdicts = Verdicts {
        accepted: programmed::accepted(observed),
        resolved_refs: references::resolved_refs(observed, &gateways),
        programmed: programmed::programmed(observed, &gateways),
        upstreams: upstreams.verdict(observed.valid.map_or(&[], |valid| &valid.routes)),
        queue: queue::verdict(observed, &gateways),
    };
    let three = [
        &verdicts.accepted,
        &verdicts.resolved_refs,
        &verdicts.programmed,
    ];
    let ready = programmed::ready(three, &gateways);
    let pods = || gateways.iter().filter(|gateway| gateway.pod.is_some());
    let relay = facts.relay.metadata.name.as_deref().unwrap_or_default();
    MailRelayStatus {
        observed_generation: Some(observed.generation()),
        replicas: Some(count(pods().count())),
        ready_replicas: Some(count(pods().filter(|gateway| gateway.is_ready()).count())),
        selector: Some(labels::text(&labels::selector(relay))),
        mail: Some(mail(&verdicts, &ready).as_str().to_owned()),
        upstream_summary: upstreams.summary(),
        endpoints: endpoints(observed),
        queue: figures::total(facts, &gateways),
        gateways: gateways.iter().map(gateways::Gateway::status).collect(),
        upstreams: upstreams.status(),
        senders: senders(observed),
        drain: observed.plan.and_then(|plan| plan.drain.clone()),
        conditions: verdicts.conditions(observed, &ready),
    }
}

/// The conditions that do not follow from others.
struct Verdicts {
    accepted: Verdict,
    resolved_refs: Verdict,
    programmed: Verdict,
    upstreams: Verdict,
    queue: Verdict,
}

impl Verdicts {
    fn conditions(
        &self,
        observed: &Observed,
        ready: &Verdict,
    ) -> Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition> {
        let mut wanted = vec![
            self.accepted.wanted(condition::ACCEPTED),
            self.resolved_refs.wanted(condition::RESOLVED_REFS),
            self.programmed.wanted(condition::PROGRAMMED),
            ready.wanted(condition::READY),
            self.upstreams.wanted(condition::UPSTREAMS_HEALTHY),
            self.queue.wanted(condition::QUEUE_HEALTHY),
        ];
        // kstatus takes Stalled=True as "failed"; only a new spec can help, and then it is absent.
        if self.accepted.reason == Reason::InvalidSpec {
            let stalled = Verdict::holds(Reason::InvalidSpec, self.accepted.message.clone());
            wanted.push(stalled.wanted(condition::STALLED));
        }
        let previous = observed
            .previous()
            .map_or(&[][..], |status| &status.conditions);
        condition::set(previous, wanted, observed.generation(), observed.facts.now)
    }
}

/// The column Mail: the worst reason. A spool that fails comes before a gateway that is missing, that before an
/// upstream, and that before what follows from it in the queue.
fn mail(verdicts: &Verdicts, ready: &Verdict) -> Reason {
    let (queue, upstreams) = (&verdicts.queue, &verdicts.upstreams);
    let follows = matches!(queue.reason, Reason::Held | Reason::Backlogged);
    let fails = |verdict: &Verdict| verdict.is(ConditionStatus::False);
    if fails(queue) && !follows {
        queue.reason
    } else if ready.reason == Reason::NoReadyGateway {
        ready.reason
    } else if fails(upstreams) {
        upstreams.reason
    } else if fails(queue) || queue.is(ConditionStatus::Unknown) {
        queue.reason
    } else if upstreams.is(ConditionStatus::Unknown) {
        upstreams.reason
    } else {
        Reason::Flowing
    }
}

/// Where applications connect: while the spec is invalid, where they did before, since that is still served.
fn endpoints(observed: &Observed) -> Vec<EndpointStatus> {
    let Some(valid) = observed.valid else {
        return observed
            .previous()
            .map(|status| status.endpoints.clone())
            .unwrap_or_default();
    };
    let host = names::service_host(&valid.name, &valid.namespace);
    valid
        .listeners
        .iter()
        .map(|listener| EndpointStatus {
            name: listener.name.clone(),
            host: host.clone(),
            port: i32::from(listener.port),
            tls: tls(listener),
        })
        .collect()
}

const fn tls(listener: &ValidListener) -> EndpointTlsStatus {
    match (listener.protocol, listener.tls) {
        (Protocol::Submissions, _) => EndpointTlsStatus::Implicit,
        (Protocol::Submission | Protocol::Smtp, TlsPolicy::Disabled) => EndpointTlsStatus::None,
        (Protocol::Submission | Protocol::Smtp, TlsPolicy::Required | TlsPolicy::Offered) => {
            EndpointTlsStatus::StartTls
        }
    }
}

/// MailSenders that may send; while nothing can be written, those of the file that is in use.
fn senders(observed: &Observed) -> Option<i32> {
    match observed.applied {
        ApplyOutcome::Applied { senders, .. } => Some(count(*senders)),
        ApplyOutcome::Failed { .. } | ApplyOutcome::FenceMissing | ApplyOutcome::NotTried => {
            observed.previous()?.senders
        }
    }
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;
