//! What users add to pods, ServiceAccount, NetworkPolicy and claims.
//!
//! Keys of labels and annotations that are ours, or Argo CD's, are refused: the operator would fight with itself over
//! the first, and Argo CD would prune our children by the second.

use std::{collections::BTreeMap, net::IpAddr};

use posthouse_api::{MailRelaySpec, RESERVED_POD_LABELS, RESERVED_PREFIXES};

use crate::{
    problem::{Findings, quoted},
    quantity,
};

pub(super) fn validate(spec: &MailRelaySpec, findings: &mut Findings) {
    if let Some(metadata) = spec
        .pod_template
        .as_ref()
        .and_then(|template| template.metadata.as_ref())
    {
        let path = "spec.podTemplate.metadata";
        pod_labels(&format!("{path}.labels"), &metadata.labels, findings);
        annotations(
            &format!("{path}.annotations"),
            &metadata.annotations,
            findings,
        );
    }
    if let Some(account) = &spec.service_account {
        annotations(
            "spec.serviceAccount.annotations",
            &account.annotations,
            findings,
        );
    }
    if let Some(policy) = &spec.network_policy {
        for (i, network) in policy.from.iter().enumerate() {
            findings.require(
                is_network(network),
                format!("spec.networkPolicy.from[{i}]"),
                format!(
                    "must be a network in CIDR notation such as 10.0.0.0/8, is {}",
                    quoted(network)
                ),
            );
        }
    }
    claim(spec, findings);
}

fn claim(spec: &MailRelaySpec, findings: &mut Findings) {
    let claim = spec
        .storage
        .as_ref()
        .and_then(|storage| storage.volume_claim.as_ref());
    if let Some(claim) = claim {
        findings.require(
            quantity::parse(&claim.size).is_some(),
            "spec.storage.volumeClaim.size",
            "must be a quantity such as 10Gi",
        );
    }
}

fn pod_labels(path: &str, labels: &BTreeMap<String, String>, findings: &mut Findings) {
    let is_reserved =
        |key: &String| has_reserved_prefix(key) || RESERVED_POD_LABELS.contains(&key.as_str());
    findings.require(
        !labels.keys().any(is_reserved),
        path,
        "must not have keys of posthouse.dev/ or argocd.argoproj.io/, or app.kubernetes.io/name, instance or managed-by",
    );
    label_syntax(path, labels, findings);
}

/// Labels that users give an object of ours.
pub(crate) fn labels(path: &str, labels: &BTreeMap<String, String>, findings: &mut Findings) {
    reserved_keys(path, labels, findings);
    label_syntax(path, labels, findings);
}

/// Annotations that users give an object of ours.
pub(crate) fn annotations(
    path: &str,
    annotations: &BTreeMap<String, String>,
    findings: &mut Findings,
) {
    reserved_keys(path, annotations, findings);
    for key in annotations.keys() {
        // The API server takes upper case in the prefixes of annotations.
        key_syntax(path, key, &key.to_ascii_lowercase(), findings);
    }
}

/// The object would be refused whole for one label that cannot be ("Labels and Selectors: Syntax and character set").
fn label_syntax(path: &str, labels: &BTreeMap<String, String>, findings: &mut Findings) {
    for (key, value) in labels {
        key_syntax(path, key, key, findings);
        findings.require(
            value.is_empty() || is_qualified(value),
            path,
            format!(
                "the value of {} must be at most 63 letters, digits, '-', '_' or '.', the first and last a letter or digit, is {}",
                quoted(key),
                quoted(value)
            ),
        );
    }
}

fn key_syntax(path: &str, key: &str, compared: &str, findings: &mut Findings) {
    let holds = match compared.split_once('/') {
        Some((prefix, name)) => is_subdomain(prefix) && is_qualified(name),
        None => is_qualified(compared),
    };
    findings.require(
        holds,
        path,
        format!(
            "{} must be a name of at most 63 letters, digits, '-', '_' or '.', after a domain and '/' if any",
            quoted(key)
        ),
    );
}

fn is_qualified(text: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let is_outer = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    text.len() <= 63
        && text.bytes().all(is_inner)
        && is_outer(text.bytes().next())
        && is_outer(text.bytes().next_back())
}

/// RFC 1123, as the API server takes it.
fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(super::is_label)
}

/// Keys that would be taken for ours, or make Argo CD adopt our children.
fn reserved_keys(path: &str, map: &BTreeMap<String, String>, findings: &mut Findings) {
    findings.require(
        !map.keys().any(|key| has_reserved_prefix(key)),
        path,
        "must not have keys of posthouse.dev/ or argocd.argoproj.io/",
    );
}

fn has_reserved_prefix(key: &str) -> bool {
    RESERVED_PREFIXES
        .iter()
        .any(|prefix| key.starts_with(prefix))
}

/// A network of any size: a NetworkPolicy may well open a port to everybody.
fn is_network(text: &str) -> bool {
    let Some((address, prefix)) = text.split_once('/') else {
        return false;
    };
    let longest = match address.parse() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    prefix.parse::<u8>().is_ok_and(|prefix| prefix <= longest)
}
