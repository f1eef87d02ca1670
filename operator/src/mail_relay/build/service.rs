//! The Services: one that applications connect to, and one without an address that gives each gateway a name.
//!
//! SMTP is a protocol in which the server speaks first: a mesh that waits for the client's first octets to tell what is
//! spoken waits for ever. So ports say `tcp`, and Linkerd is told which ports not to look into, by the Service's
//! numbers and by the pod's.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};
use posthouse_api::mail_relay::workload::{ExternalTrafficPolicy, ServiceType};

use super::{
    Request,
    owner::metadata,
    place::{HAND_OVER_PORT, METRICS_PORT, STATUS_PORT},
};
use crate::{labels, mail_relay::ValidRelay, names};

/// The name of the port with metrics, in the Service without an address.
pub const METRICS_PORT_NAME: &str = "metrics";

/// What applications connect to.
pub fn build(request: &Request<'_>) -> Service {
    let given = request.relay.spec.service.clone().unwrap_or_default();
    let mut metadata = metadata(request, names::workload(&request.valid.name));
    let mut annotations = BTreeMap::from([opaque_ports(request.valid)]);
    annotations.extend(given.annotations);
    metadata.annotations = Some(annotations);
    let kind = given.type_.unwrap_or(ServiceType::ClusterIp);
    let mut listeners: Vec<_> = request.valid.listeners.iter().collect();
    listeners.sort_by_key(|listener| listener.port);
    let ports = listeners
        .iter()
        .map(|listener| port(&listener.name, listener.port, listener.container_port()));
    Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some(type_name(kind).to_owned()),
            // The API server refuses it for a Service that is inside the cluster only.
            external_traffic_policy: given
                .external_traffic_policy
                .filter(|_| kind != ServiceType::ClusterIp)
                .map(|policy| policy_name(policy).to_owned()),
            ports: Some(ports.collect()),
            // Clients are many and a session is short.
            session_affinity: Some("None".to_owned()),
            ..spec(&request.valid.name)
        }),
        status: None,
    }
}

/// What gives each gateway a name, also one that is not ready: hand-over and the operator reach it.
pub fn headless(request: &Request<'_>) -> Service {
    let name = &request.valid.name;
    let mut metadata = metadata(request, names::headless_service(name));
    // ServiceMonitors select by labels, and a listener may be named `metrics`.
    metadata
        .labels
        .get_or_insert_default()
        .insert(labels::HEADLESS.to_owned(), "true".to_owned());
    let ports = [
        ("handover", HAND_OVER_PORT),
        (METRICS_PORT_NAME, METRICS_PORT),
        ("status", STATUS_PORT),
    ];
    Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            ports: Some(
                ports
                    .map(|(name, number)| port(name, number, number))
                    .into(),
            ),
            ..spec(name)
        }),
        status: None,
    }
}

/// What both have.
fn spec(relay: &str) -> ServiceSpec {
    ServiceSpec {
        selector: Some(labels::selector(relay)),
        ip_family_policy: Some("PreferDualStack".to_owned()),
        ..ServiceSpec::default()
    }
}

fn port(name: &str, number: u16, target: u16) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: i32::from(number),
        target_port: Some(IntOrString::Int(i32::from(target))),
        protocol: Some("TCP".to_owned()),
        app_protocol: Some("tcp".to_owned()),
        ..ServicePort::default()
    }
}

/// Linkerd's annotation: ports in which no protocol is looked for.
pub(super) fn opaque_ports(relay: &ValidRelay) -> (String, String) {
    let listeners = relay.listeners.iter();
    let numbers: BTreeSet<_> = listeners
        .flat_map(|listener| [listener.port, listener.container_port()])
        .collect();
    let numbers: Vec<_> = numbers.iter().map(ToString::to_string).collect();
    (labels::OPAQUE_PORTS.to_owned(), numbers.join(","))
}

const fn type_name(kind: ServiceType) -> &'static str {
    match kind {
        ServiceType::ClusterIp => "ClusterIP",
        ServiceType::NodePort => "NodePort",
        ServiceType::LoadBalancer => "LoadBalancer",
    }
}

const fn policy_name(policy: ExternalTrafficPolicy) -> &'static str {
    match policy {
        ExternalTrafficPolicy::Cluster => "Cluster",
        ExternalTrafficPolicy::Local => "Local",
    }
}
