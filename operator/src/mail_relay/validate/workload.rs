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
        reserved_keys(
            &format!("{path}.annotations"),
            &metadata.annotations,
            findings,
        );
    }
    if let Some(account) = &spec.service_account {
        reserved_keys(
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
}

/// Keys that would be taken for ours, or make Argo CD adopt our children.
pub(crate) fn reserved_keys(path: &str, map: &BTreeMap<String, String>, findings: &mut Findings) {
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
