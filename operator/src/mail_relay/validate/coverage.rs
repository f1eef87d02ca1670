//! Whether what clients may send as can be sent at all.
//!
//! Mail that no upstream may send for is held, not refused: nobody would notice before somebody misses it. So it is a
//! warning where the relay is written.

use posthouse_config::{
    AddressPattern,
    document::{Anonymous, Route},
};

use super::ValidUpstream;
use crate::{grant::Grant, problem::Findings};

pub(super) fn warn(
    grants: &[Grant],
    anonymous: Option<&Anonymous>,
    upstreams: &[ValidUpstream],
    routes: &[Route],
    findings: &mut Findings,
) {
    let targets = || routes.iter().flat_map(|route| &route.targets);
    let on_a_route =
        |upstream: &&ValidUpstream| targets().any(|target| target.upstream == upstream.name);
    let used: Vec<_> = upstreams.iter().filter(on_a_route).collect();
    let mut check = |path: &str, domains: &[AddressPattern]| {
        for domain in domains {
            if !used.iter().any(|upstream| overlaps(upstream, domain)) {
                let message = format!(
                    "no upstream on a route may send for \"{domain}\": such mail would be held"
                );
                findings.warning(path, message);
            }
        }
    };
    for (i, grant) in grants.iter().enumerate() {
        check(
            &format!("spec.clients.grants[{i}].senderDomains"),
            &grant.sender_domains,
        );
    }
    if let Some(anonymous) = anonymous {
        check(
            "spec.clients.anonymous.senderDomains",
            &anonymous.sender_domains,
        );
    }
}

/// Whether an upstream may send for some address of a pattern.
fn overlaps(upstream: &ValidUpstream, domain: &AddressPattern) -> bool {
    upstream.senders.as_ref().is_none_or(|senders| {
        senders
            .iter()
            .any(|sender| sender.contains(domain) || domain.contains(sender))
    })
}
