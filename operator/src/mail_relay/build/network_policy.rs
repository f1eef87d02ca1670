//! Who may connect to the gateways. Egress is the platform's own business: `render` lists where they connect to.
//!
//! A rule without `from` lets everybody in, so a rule for nobody must not be written at all: with no grant and no
//! network the listeners are closed. Metrics are open to all unless namespaces are named.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use k8s_openapi::{
    api::networking::v1::{
        IPBlock, NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
        NetworkPolicySpec,
    },
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, LabelSelectorRequirement},
        util::intstr::IntOrString,
    },
};
use posthouse_api::mail_relay::workload::{self, NetworkPolicyMode};

use super::{
    Request,
    owner::metadata,
    place::{HAND_OVER_PORT, METRICS_PORT, STATUS_PORT},
};
use crate::{
    grant::{NAMESPACE_LABEL, NamespaceSelector, Operator, Requirement},
    labels,
    mail_relay::validate::ValidListener,
    names,
};

/// The NetworkPolicy; none where the platform has its own.
pub fn build(request: &Request<'_>) -> Option<NetworkPolicy> {
    let given = request
        .relay
        .spec
        .network_policy
        .clone()
        .unwrap_or_default();
    if given.policy == Some(NetworkPolicyMode::None) {
        return None;
    }
    let own = labels::selector(&request.valid.name);
    let rules = [
        clients(request, &given),
        Some(rule(&[HAND_OVER_PORT], vec![pods(own.clone())])),
        Some(rule(
            &[STATUS_PORT],
            vec![operator(&request.settings.namespace)],
        )),
        Some(metrics(&given)),
    ];
    Some(NetworkPolicy {
        metadata: metadata(request, names::workload(&request.valid.name)),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(selector(own)),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(rules.into_iter().flatten().collect()),
            egress: None,
        }),
    })
}

/// The listeners, from whoever may send; none if nobody may.
fn clients(
    request: &Request<'_>,
    given: &workload::NetworkPolicy,
) -> Option<NetworkPolicyIngressRule> {
    let relay = request.valid;
    let granted = relay
        .grants
        .iter()
        .map(|grant| namespaces(&grant.namespaces));
    let anonymous = relay
        .anonymous
        .iter()
        .flat_map(|anonymous| &anonymous.networks);
    let networks = anonymous
        .map(ToString::to_string)
        .chain(given.from.iter().cloned());
    let mut peers: Vec<NetworkPolicyPeer> = Vec::new();
    for peer in granted.chain(networks.map(network)) {
        if !peers.contains(&peer) {
            peers.push(peer);
        }
    }
    let mut ports: Vec<_> = relay
        .listeners
        .iter()
        .map(ValidListener::container_port)
        .collect();
    ports.sort_unstable();
    (!peers.is_empty()).then(|| rule(&ports, peers))
}

fn metrics(given: &workload::NetworkPolicy) -> NetworkPolicyIngressRule {
    let from = match given.metrics_from.as_slice() {
        [] => Vec::new(),
        named => vec![namespaces(&NamespaceSelector::Names(named.to_vec()))],
    };
    rule(&[METRICS_PORT], from)
}

/// The operator's pods, in its own namespace: a label alone could be anybody's.
fn operator(namespace: &str) -> NetworkPolicyPeer {
    let app = BTreeMap::from([(labels::APP_NAME.to_owned(), labels::OPERATOR.to_owned())]);
    let name = BTreeMap::from([(NAMESPACE_LABEL.to_owned(), namespace.to_owned())]);
    NetworkPolicyPeer {
        namespace_selector: Some(selector(name)),
        ..pods(app)
    }
}

fn pods(labels: BTreeMap<String, String>) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        pod_selector: Some(selector(labels)),
        ..NetworkPolicyPeer::default()
    }
}

fn network(given: String) -> NetworkPolicyPeer {
    let cidr = canonical(&given).unwrap_or(given);
    NetworkPolicyPeer {
        ip_block: Some(IPBlock { cidr, except: None }),
        ..NetworkPolicyPeer::default()
    }
}

/// A network as the API server wants it: without bits behind the prefix, and IPv4 as such (Kubernetes' validation of
/// addresses, KEP-4858).
fn canonical(cidr: &str) -> Option<String> {
    let (address, prefix) = cidr.split_once('/')?;
    let (address, prefix): (IpAddr, u32) = (address.parse().ok()?, prefix.parse().ok()?);
    let (address, prefix) = match (address, address.to_canonical()) {
        (IpAddr::V6(_), IpAddr::V4(mapped)) if prefix >= 96 => (IpAddr::V4(mapped), prefix - 96),
        _ => (address, prefix),
    };
    let first: IpAddr = match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX
                .checked_shl(32_u32.checked_sub(prefix)?)
                .unwrap_or(0);
            Ipv4Addr::from_bits(v4.to_bits() & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX
                .checked_shl(128_u32.checked_sub(prefix)?)
                .unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
    };
    Some(format!("{first}/{prefix}"))
}

/// Every pod of the namespaces a grant means.
fn namespaces(given: &NamespaceSelector) -> NetworkPolicyPeer {
    let expressions = match given {
        NamespaceSelector::Names(names) if names.iter().any(|name| name == "*") => Vec::new(),
        NamespaceSelector::Names(names) => {
            vec![expression(&Requirement {
                key: NAMESPACE_LABEL.to_owned(),
                operator: Operator::In(names.clone()),
            })]
        }
        NamespaceSelector::Labels(requirements) => requirements.iter().map(expression).collect(),
    };
    NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector {
            match_expressions: Some(expressions).filter(|all| !all.is_empty()),
            match_labels: None,
        }),
        ..NetworkPolicyPeer::default()
    }
}

fn expression(requirement: &Requirement) -> LabelSelectorRequirement {
    let (operator, values) = match &requirement.operator {
        Operator::In(values) => ("In", Some(values.clone())),
        Operator::NotIn(values) => ("NotIn", Some(values.clone())),
        Operator::Exists => ("Exists", None),
        Operator::DoesNotExist => ("DoesNotExist", None),
    };
    LabelSelectorRequirement {
        key: requirement.key.clone(),
        operator: operator.to_owned(),
        values,
    }
}

fn selector(labels: BTreeMap<String, String>) -> LabelSelector {
    LabelSelector {
        match_labels: Some(labels),
        ..LabelSelector::default()
    }
}

/// Ports and who may connect to them; an empty `from` is everybody.
fn rule(ports: &[u16], from: Vec<NetworkPolicyPeer>) -> NetworkPolicyIngressRule {
    let port = |&number: &u16| NetworkPolicyPort {
        port: Some(IntOrString::Int(i32::from(number))),
        protocol: Some("TCP".to_owned()),
        end_port: None,
    };
    NetworkPolicyIngressRule {
        ports: Some(ports.iter().map(port).collect()),
        from: Some(from).filter(|from| !from.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_written_as_the_api_server_wants_them() {
        for (given, expected) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.1.2.3/32", "10.1.2.3/32"),
            ("192.0.2.1/0", "0.0.0.0/0"),
            ("2001:DB8:0:1::1/32", "2001:db8::/32"),
            ("::1/0", "::/0"),
            ("::ffff:10.1.2.3/104", "10.0.0.0/8"),
            ("::ffff:10.1.2.3/64", "::/64"),
        ] {
            assert_eq!(canonical(given).as_deref(), Some(expected), "{given}");
        }
    }
}
