//! Routes: every target exists, and with one upstream and no routes all mail goes there.
//!
//! The gateway always gets routes: a MailRelay without any has one named `default`. What could never be used is a
//! warning, since it does no harm.

use std::collections::BTreeSet;

use posthouse_api::{
    MailRelaySpec,
    mail_relay::route::{self, Match},
};
use posthouse_config::document::{Route, Target};

use super::{ValidUpstream, is_label, unsigned};
use crate::{
    address::{Accepts, patterns},
    problem::{Findings, quoted},
};

/// The route of a MailRelay that has none.
const DEFAULT_ROUTE: &str = "default";

/// How long a target may be limited before the next priority is used.
const SPILL_SECONDS: u32 = 900;

pub(super) fn validate(
    spec: &MailRelaySpec,
    upstreams: &[ValidUpstream],
    findings: &mut Findings,
) -> Vec<Route> {
    let Some(routes) = &spec.routes else {
        findings.require(
            upstreams.len() <= 1,
            "spec",
            "routes must be given with more than one upstream",
        );
        return vec![default_route(upstreams)];
    };
    let mut names = BTreeSet::new();
    for (i, route) in routes.iter().enumerate() {
        let path = format!("spec.routes[{i}].name");
        let is_new = names.insert(&route.name);
        findings.require(
            is_new,
            path,
            format!("must not be given twice, is {}", quoted(&route.name)),
        );
    }
    unused(routes, upstreams, findings);
    let routes = routes.iter().enumerate();
    routes
        .map(|(i, route)| valid(&format!("spec.routes[{i}]"), route, upstreams, findings))
        .collect()
}

fn default_route(upstreams: &[ValidUpstream]) -> Route {
    Route {
        name: DEFAULT_ROUTE.to_owned(),
        targets: upstreams
            .iter()
            .take(1)
            .map(|upstream| target(&upstream.name))
            .collect(),
        spill_seconds: SPILL_SECONDS,
        ..Route::default()
    }
}

fn target(upstream: &str) -> Target {
    Target {
        upstream: upstream.to_owned(),
        priority: 0,
        weight: 1,
    }
}

fn valid(
    path: &str,
    route: &route::Route,
    upstreams: &[ValidUpstream],
    findings: &mut Findings,
) -> Route {
    let everything = Match::default();
    let matches = route.matches.as_ref().unwrap_or(&everything);
    let mut domains = |name: &str, given: &Option<Vec<String>>| {
        let texts = given.as_deref().unwrap_or_default();
        patterns(
            texts,
            &format!("{path}.match.{name}"),
            Accepts::Domains,
            findings,
        )
    };
    let sender_domains = domains("senderDomains", &matches.sender_domains);
    let recipient_domains = domains("recipientDomains", &matches.recipient_domains);
    targets(path, route, upstreams, findings);
    for (i, namespace) in matches.namespaces.iter().flatten().enumerate() {
        findings.require(
            is_label(namespace),
            format!("{path}.match.namespaces[{i}]"),
            format!("must be the name of a namespace, is {}", quoted(namespace)),
        );
    }
    Route {
        name: route.name.clone(),
        sender_domains,
        recipient_domains,
        namespaces: matches.namespaces.clone().unwrap_or_default(),
        targets: route.targets.iter().map(valid_target).collect(),
        spill_seconds: route.spill_seconds.map_or(SPILL_SECONDS, unsigned),
    }
}

/// Every target is an upstream, once.
fn targets(path: &str, route: &route::Route, upstreams: &[ValidUpstream], findings: &mut Findings) {
    let mut seen = BTreeSet::new();
    for (i, given) in route.targets.iter().enumerate() {
        let path = format!("{path}.targets[{i}].upstream");
        let name = quoted(&given.upstream);
        let is_known = upstreams
            .iter()
            .any(|upstream| upstream.name == given.upstream);
        findings.require(
            is_known,
            &path,
            format!("must be the name of an upstream, is {name}"),
        );
        findings.require(
            seen.insert(&given.upstream),
            &path,
            format!("must not be given twice, is {name}"),
        );
    }
}

fn valid_target(given: &route::Target) -> Target {
    Target {
        upstream: given.upstream.clone(),
        priority: given.priority.map_or(0, unsigned),
        weight: given.weight.map_or(1, unsigned),
    }
}

/// An upstream on no route and a route behind one that matches everything are mistakes, though harmless ones.
fn unused(routes: &[route::Route], upstreams: &[ValidUpstream], findings: &mut Findings) {
    let targets: BTreeSet<_> = routes
        .iter()
        .flat_map(|route| route.targets.iter().map(|target| target.upstream.as_str()))
        .collect();
    for (i, upstream) in upstreams.iter().enumerate() {
        if !targets.contains(upstream.name.as_str()) {
            findings.warning(
                format!("spec.upstreams[{i}]"),
                "is on no route: no mail goes there",
            );
        }
    }
    let matches_all = |route: &route::Route| {
        route
            .matches
            .as_ref()
            .is_none_or(|m| *m == Match::default())
    };
    if let Some(first) = routes.iter().position(matches_all) {
        for i in first + 1..routes.len() {
            findings.warning(
                format!("spec.routes[{i}]"),
                format!("is never used: routes[{first}] matches everything"),
            );
        }
    }
}
