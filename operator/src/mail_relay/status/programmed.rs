//! `Accepted`, `Programmed` and `Ready`: what deploy tools wait for.
//!
//! `Programmed` compares the generation in the document that gateways report, and nothing else: senders, token keys
//! and shares change without a new generation. It asks every gateway that answers and does not drain. One that does not
//! answer reads the document when it starts or comes back, and is not waited for: with a node gone for good nothing
//! could be deployed any more. `QueueHealthy` tells of it.

use super::{
    ApplyOutcome, Observed,
    gateways::Gateway,
    reason::{Reason, Verdict},
};
use crate::{
    condition::ConditionStatus,
    mail_relay::{build::place, plan::Rollout},
};

pub(super) fn accepted(observed: &Observed) -> Verdict {
    let problems: Vec<_> = texts(&observed.findings.problems)
        .chain(live(observed, Reason::InvalidSpec))
        .collect();
    if !problems.is_empty() {
        return Verdict::fails(Reason::InvalidSpec, problems.join("; "));
    }
    let facts = observed.facts;
    let not_served = (!facts.is_served).then(|| not_served(observed));
    if let Some(text) = live(observed, Reason::NamespaceNotServed)
        .next()
        .or(not_served)
    {
        return Verdict::fails(Reason::NamespaceNotServed, text);
    }
    let warnings: Vec<_> = texts(&observed.findings.warnings).collect();
    if warnings.is_empty() {
        Verdict::holds(Reason::Accepted, "the spec is valid")
    } else {
        let text = format!("the spec is valid; warning: {}", warnings.join("; "));
        Verdict::holds(Reason::Accepted, text)
    }
}

fn not_served(observed: &Observed) -> String {
    let metadata = &observed.facts.relay.metadata;
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    format!(
        "the operator serves no relays in namespace {namespace:?}: add it to the chart's value relayNamespaces"
    )
}

fn texts(problems: &[crate::problem::Problem]) -> impl Iterator<Item = String> {
    problems.iter().map(|problem| {
        if problem.path.is_empty() {
            problem.message.clone()
        } else {
            format!("{}: {}", problem.path, problem.message)
        }
    })
}

/// What was found against what lives, of one reason.
fn live(observed: &Observed, reason: Reason) -> impl Iterator<Item = String> {
    observed
        .live
        .iter()
        .filter(move |(given, _)| *given == reason)
        .map(|(_, message)| message.clone())
}

pub(super) fn programmed(observed: &Observed, gateways: &[Gateway]) -> Verdict {
    if let Some(verdict) = applied(observed).or_else(|| storage(observed)) {
        return verdict;
    }
    if let Some(Rollout::Stalled(why)) = observed.plan.map(|plan| &plan.rollout) {
        return Verdict::fails(Reason::RolloutStalled, why);
    }
    if observed.facts.relay.metadata.deletion_timestamp.is_some() {
        return Verdict::fails(Reason::Draining, draining(observed));
    }
    document(observed, gateways)
}

fn applied(observed: &Observed) -> Option<Verdict> {
    match &observed.applied {
        ApplyOutcome::Failed { message } => {
            Some(Verdict::fails(Reason::ApplyFailed, message.clone()))
        }
        ApplyOutcome::FenceMissing => Some(Verdict::fails(
            Reason::SecretFenceMissing,
            "the admission policy that keeps the operator from foreign Secrets is not in effect; no Secret is written \
             until it is. The chart installs it",
        )),
        ApplyOutcome::Applied { .. } | ApplyOutcome::NotTried => None,
    }
}

fn storage(observed: &Observed) -> Option<Verdict> {
    let immutable: Vec<_> = live(observed, Reason::StorageImmutable).collect();
    if !immutable.is_empty() {
        let text = immutable.join("; ");
        return Some(Verdict::fails(Reason::StorageImmutable, text));
    }
    let planned = observed.plan.and_then(|plan| plan.not_expanded.clone());
    let not_expanded: Vec<_> = planned
        .into_iter()
        .chain(live(observed, Reason::StorageNotExpanded))
        .collect();
    let text = not_expanded.join("; ");
    (!not_expanded.is_empty()).then(|| Verdict::fails(Reason::StorageNotExpanded, text))
}

/// Without figures: those are in `status.drain`, and a text that ticks would be written each time.
fn draining(observed: &Observed) -> String {
    match observed.plan.and_then(|plan| plan.drain.as_ref()) {
        Some(drain) => format!(
            "the MailRelay is being deleted; gateway {} is being emptied first ({:?})",
            drain.gateway, drain.state
        ),
        None => "the MailRelay is being deleted; its gateways are emptied first".to_owned(),
    }
}

/// Whether gateways go by this generation.
fn document(observed: &Observed, gateways: &[Gateway]) -> Verdict {
    let wanted = observed.generation();
    match &observed.applied {
        ApplyOutcome::Applied { generation, .. } if *generation < wanted => {
            return Verdict::unknown(
                Reason::Pending,
                "the former document stays until every gateway is of a version that knows the new one",
            );
        }
        ApplyOutcome::NotTried => {
            let why = if observed.facts.namespace_is_terminating {
                "nothing can be written: the namespace is being deleted"
            } else {
                "nothing is written before the spec is accepted"
            };
            return Verdict::unknown(Reason::Pending, why);
        }
        ApplyOutcome::Applied { .. } | ApplyOutcome::Failed { .. } | ApplyOutcome::FenceMissing => {
        }
    }
    let serving: Vec<_> = gateways
        .iter()
        .filter(|gateway| gateway.is_serving())
        .filter_map(|gateway| Some((gateway, &gateway.report()?.status.document)))
        .collect();
    let behind: Vec<_> = serving
        .iter()
        .filter(|(_, document)| document.generation < wanted)
        .map(|(gateway, document)| {
            let (name, generation) = (&gateway.name, document.generation);
            let mut text = format!("gateway {name} goes by generation {generation}");
            if !document.problems.is_empty() {
                text = format!(
                    "{text} and refuses the new document: {}",
                    document.problems.join("; ")
                );
            }
            text
        })
        .collect();
    if serving.is_empty() {
        Verdict::unknown(Reason::Pending, "no gateway has reported yet")
    } else if behind.is_empty() {
        let text = format!("gateways go by generation {wanted}");
        Verdict::holds(Reason::Programmed, text)
    } else {
        Verdict::unknown(Reason::Pending, behind.join("; "))
    }
}

/// The first False of the three, then the first Unknown, then whether anybody takes mail.
pub(super) fn ready(three: [&Verdict; 3], gateways: &[Gateway]) -> Verdict {
    let first = |status| three.iter().find(|verdict| verdict.is(status));
    if let Some(verdict) = first(ConditionStatus::False) {
        return (*verdict).clone();
    }
    if let Some(verdict) = first(ConditionStatus::Unknown) {
        return Verdict::unknown(Reason::Pending, verdict.message.clone());
    }
    let ready = gateways.iter().filter(|gateway| gateway.is_ready()).count();
    let all = gateways
        .iter()
        .filter(|gateway| gateway.pod.is_some())
        .count();
    if ready > 0 {
        return Verdict::holds(
            Reason::Ready,
            format!("{ready} of {all} gateways take mail"),
        );
    }
    let each: Vec<_> = gateways.iter().map(why_not_ready).collect();
    if each.is_empty() {
        return Verdict::fails(Reason::NoReadyGateway, "there is no gateway yet");
    }
    Verdict::fails(
        Reason::NoReadyGateway,
        format!("no gateway takes mail; {}", each.join("; ")),
    )
}

/// What is known of a gateway that takes no mail. Files of ours are named here, since no reference of the user is at
/// fault.
fn why_not_ready(gateway: &Gateway) -> String {
    let Some(report) = gateway.report() else {
        return gateway.silence();
    };
    let status = &report.status;
    let mut causes: Vec<_> = status.document.problems.clone();
    causes.extend(status.spool.error.clone());
    causes.extend(
        status
            .files
            .missing
            .iter()
            .filter(|path| {
                path.as_str() == place::ISSUED_CERTIFICATE || path.as_str() == place::ISSUED_KEY
            })
            .map(|path| format!("{path} is missing")),
    );
    let state = gateway.state();
    let name = &gateway.name;
    if causes.is_empty() {
        format!(
            "gateway {name} is not ready ({state:?}, its spool: {:?})",
            status.spool.state
        )
    } else {
        format!("gateway {name} is not ready: {}", causes.join(", "))
    }
}
