//! Who may send: grants and anonymous networks.
//!
//! Grants are brought into the form in which they are asked later, with every selector's operator known. Anonymous
//! networks are an open relay if anything hides the clients' addresses, so what could hide them is refused.

use std::collections::BTreeMap;

use posthouse_api::{
    MailRelaySpec,
    mail_relay::{
        clients::{self, Namespaces, Selector},
        listener::Protocol,
        workload::{ExternalTrafficPolicy, ServiceType},
    },
};
use posthouse_config::document::{Anonymous, listener::Network};

use super::{is_label, unsigned};
use crate::{
    address::{Accepts, patterns},
    grant::{Grant, NamespaceSelector, Operator, Requirement},
    problem::{Findings, quoted},
};

pub(super) fn anonymous(spec: &MailRelaySpec, findings: &mut Findings) -> Option<Anonymous> {
    let given = spec.clients.anonymous.as_ref()?;
    let listeners = spec.listeners.iter().flatten();
    findings.require(
        listeners.clone().any(|listener| listener.protocol == Protocol::Smtp),
        "spec",
        "clients.anonymous must not be given without a listener of protocol Smtp: no other listener takes mail without authentication",
    );
    addresses_are_kept(spec, findings);
    let path = "spec.clients.anonymous";
    let mut networks = Vec::new();
    for (i, text) in given.networks.iter().enumerate() {
        match text.parse::<Network>() {
            Ok(network) => networks.push(network),
            Err(message) => findings.problem(format!("{path}.networks[{i}]"), message),
        }
    }
    let domains = format!("{path}.senderDomains");
    Some(Anonymous {
        networks,
        sender_domains: patterns(&given.sender_domains, &domains, Accepts::Domains, findings),
    })
}

/// Behind address translation every client would come from a node's address: an open relay.
fn addresses_are_kept(spec: &MailRelaySpec, findings: &mut Findings) {
    let Some(service) = &spec.service else { return };
    let is_exposed = matches!(
        service.type_,
        Some(ServiceType::LoadBalancer | ServiceType::NodePort)
    );
    findings.require(
        !is_exposed || service.external_traffic_policy == Some(ExternalTrafficPolicy::Local),
        "spec",
        "service.externalTrafficPolicy must be Local with clients.anonymous: otherwise clients from everywhere would come from a node's address",
    );
}

pub(super) fn grants(spec: &MailRelaySpec, findings: &mut Findings) -> Vec<Grant> {
    let has_grants = spec
        .clients
        .grants
        .as_ref()
        .is_some_and(|grants| !grants.is_empty());
    if !has_grants && spec.clients.anonymous.is_none() {
        findings.warning(
            "spec.clients",
            "nobody may send: there is no grant, and no anonymous network",
        );
    }
    let grants = spec.clients.grants.iter().flatten().enumerate();
    grants
        .map(|(i, grant)| valid(&format!("spec.clients.grants[{i}]"), grant, findings))
        .collect()
}

fn valid(path: &str, grant: &clients::Grant, findings: &mut Findings) -> Grant {
    let domains = format!("{path}.senderDomains");
    let limits = grant.limits.as_ref();
    Grant {
        namespaces: namespaces(&format!("{path}.namespaces"), &grant.namespaces, findings),
        sender_domains: patterns(&grant.sender_domains, &domains, Accepts::Domains, findings),
        senders: limits.and_then(|limits| limits.senders).map(unsigned),
    }
}

fn namespaces(path: &str, given: &Namespaces, findings: &mut Findings) -> NamespaceSelector {
    findings.require(
        given.names.is_some() != given.selector.is_some(),
        path,
        "must have exactly one of names and selector",
    );
    let Some(selector) = &given.selector else {
        let names = given.names.clone().unwrap_or_default();
        for (i, name) in names.iter().enumerate() {
            findings.require(
                name == "*" || is_label(name),
                format!("{path}.names[{i}]"),
                format!(
                    "must be the name of a namespace, or \"*\" for every namespace, is {}",
                    quoted(name)
                ),
            );
        }
        return NamespaceSelector::Names(names);
    };
    NamespaceSelector::Labels(requirements(
        &format!("{path}.selector"),
        selector,
        findings,
    ))
}

/// What a selector asks of a namespace's labels.
fn requirements(path: &str, selector: &Selector, findings: &mut Findings) -> Vec<Requirement> {
    let labels = selector.match_labels.iter().flatten();
    let mut requirements: Vec<_> = labels
        .map(|(key, value)| Requirement {
            key: key.clone(),
            operator: Operator::In(vec![value.clone()]),
        })
        .collect();
    for (i, expression) in selector.match_expressions.iter().flatten().enumerate() {
        let path = format!("{path}.matchExpressions[{i}]");
        let values = expression.values.clone().unwrap_or_default();
        if let Some(operator) = operator(&path, &expression.operator, &values, findings) {
            requirements.push(Requirement {
                key: expression.key.clone(),
                operator,
            });
        }
    }
    let is_empty = selector
        .match_labels
        .as_ref()
        .is_none_or(BTreeMap::is_empty)
        && selector
            .match_expressions
            .as_ref()
            .is_none_or(Vec::is_empty);
    findings.require(
        !is_empty,
        path,
        "must not be empty: write names: [\"*\"] for every namespace",
    );
    requirements
}

/// The operators of Kubernetes' label selectors; the first two want values, the others must not have any.
fn operator(
    path: &str,
    name: &str,
    values: &[String],
    findings: &mut Findings,
) -> Option<Operator> {
    let (wants_values, operator) = match name {
        "In" => (true, Operator::In(values.to_vec())),
        "NotIn" => (true, Operator::NotIn(values.to_vec())),
        "Exists" => (false, Operator::Exists),
        "DoesNotExist" => (false, Operator::DoesNotExist),
        _ => {
            findings.problem(
                format!("{path}.operator"),
                format!(
                    "must be one of In, NotIn, Exists, DoesNotExist, is {}",
                    quoted(name)
                ),
            );
            return None;
        }
    };
    let path = format!("{path}.values");
    findings.require(
        wants_values != values.is_empty(),
        path,
        format!(
            "must {}be empty with operator {name}",
            if wants_values { "not " } else { "" }
        ),
    );
    Some(operator)
}
