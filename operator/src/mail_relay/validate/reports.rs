//! Who reports come from: an address the routes have an eligible target for, since a report is mail like any other.
//!
//! A report that could not be sent would be held beside the mail it is about, so an address that no upstream may send
//! for is refused, and where none is given one is looked for.

use posthouse_api::{MailRelaySpec, mail_relay::delivery};
use posthouse_config::{
    AddressPattern,
    document::{ReportTo, Reports, Route},
};

use super::ValidUpstream;
use crate::{address::is_address, problem::Findings};

pub(super) fn validate(
    spec: &MailRelaySpec,
    hostname: &str,
    upstreams: &[ValidUpstream],
    routes: &[Route],
    findings: &mut Findings,
) -> Reports {
    let given = spec.reports.clone().unwrap_or_default();
    let to = report_to(given.to.unwrap_or(delivery::ReportTo::ReversePath));
    findings.require(
        (to == ReportTo::Address) == given.address.is_some(),
        "spec.reports",
        "address must be given exactly with to: Address",
    );
    if let Some(address) = &given.address {
        is_address(address, "spec.reports.address", findings);
    }
    Reports {
        to,
        sender: sender(&given, to, hostname, upstreams, routes, findings),
        address: given.address,
    }
}

/// The document's word for whom reports go to.
pub(crate) const fn report_to(to: delivery::ReportTo) -> ReportTo {
    match to {
        delivery::ReportTo::ReversePath => ReportTo::ReversePath,
        delivery::ReportTo::Address => ReportTo::Address,
        delivery::ReportTo::Nobody => ReportTo::Nobody,
    }
}

fn sender(
    given: &delivery::Reports,
    to: ReportTo,
    hostname: &str,
    upstreams: &[ValidUpstream],
    routes: &[Route],
    findings: &mut Findings,
) -> Option<String> {
    let path = "spec.reports.sender";
    if let Some(sender) = &given.sender {
        let is_sendable =
            is_address(sender, path, findings) && is_eligible(sender, upstreams, routes);
        findings.require(
            is_sendable || to == ReportTo::Nobody,
            path,
            "must be an address that an upstream on a matching route may send for",
        );
        return Some(sender.clone());
    }
    let found =
        candidates(hostname, upstreams).find(|address| is_eligible(address, upstreams, routes));
    findings.require(
        found.is_some() || to == ReportTo::Nobody,
        path,
        format!(
            "must be given: no upstream may send for postmaster@{hostname}, and its senders name no other address; \
             or set reports.to to Nobody"
        ),
    );
    found
}

/// The addresses reports may come from where none is given, best first.
fn candidates<'a>(
    hostname: &str,
    upstreams: &'a [ValidUpstream],
) -> impl Iterator<Item = String> + 'a {
    let senders = || {
        upstreams
            .iter()
            .flat_map(|upstream| upstream.senders.iter().flatten())
    };
    let domains = senders().filter_map(|pattern| match pattern {
        AddressPattern::At(domain) => Some(format!("postmaster@{domain}")),
        AddressPattern::Any | AddressPattern::Below(_) | AddressPattern::Address { .. } => None,
    });
    let addresses = senders().filter_map(|pattern| match pattern {
        AddressPattern::Address { local, domain } => Some(format!("{local}@{domain}")),
        AddressPattern::Any | AddressPattern::Below(_) | AddressPattern::At(_) => None,
    });
    std::iter::once(format!("postmaster@{hostname}"))
        .chain(domains)
        .chain(addresses)
}

/// Whether the first route that takes mail from an address, whoever its recipient is, has a target that may send it.
/// Reports belong to no namespace.
fn is_eligible(address: &str, upstreams: &[ValidUpstream], routes: &[Route]) -> bool {
    let Some((local, domain)) = address.rsplit_once('@') else {
        return false;
    };
    let covers = |pattern: &AddressPattern| pattern.matches(local, domain);
    let takes = |route: &&Route| {
        (route.sender_domains.is_empty() || route.sender_domains.iter().any(covers))
            && route.recipient_domains.is_empty()
            && route.namespaces.is_empty()
    };
    let targets = routes
        .iter()
        .find(takes)
        .into_iter()
        .flat_map(|route| &route.targets);
    targets
        .filter_map(|target| {
            upstreams
                .iter()
                .find(|upstream| upstream.name == target.upstream)
        })
        .any(|upstream| upstream.may_send_for(local, domain))
}
