//! The gateways' pods and the objects around them.
//!
//! `podTemplate` is a true subset of PodTemplateSpec. Keys that are ours or Argo CD's are reserved wherever users may
//! add labels or annotations.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Affinity, LocalObjectReference, Toleration, TopologySpreadConstraint},
    apimachinery::pkg::api::resource::Quantity,
};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bounds;

/// CPU and memory of a gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// What is reserved.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub requests: BTreeMap<String, Quantity>,
    /// What must not be exceeded.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub limits: BTreeMap<String, Quantity>,
}

/// What is added to the gateways' pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodTemplate {
    /// Labels and annotations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<PodMetadata>,
    /// Where the pods run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<PodSpec>,
}

/// Labels and annotations of the pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodMetadata {
    /// Labels. Keys of posthouse.dev/ and argocd.argoproj.io/ and app.kubernetes.io/name, instance and managed-by are
    /// reserved.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "bounds::labels")]
    #[x_kube(validation = Rule::new("self.all(k, !k.startsWith('posthouse.dev/') && !k.startsWith('argocd.argoproj.io/') && !(k in ['app.kubernetes.io/name', 'app.kubernetes.io/instance', 'app.kubernetes.io/managed-by']))")
        .message("must not have keys of posthouse.dev/ or argocd.argoproj.io/, or app.kubernetes.io/name, instance or managed-by"))]
    pub labels: BTreeMap<String, String>,
    /// Annotations. Keys of posthouse.dev/ and argocd.argoproj.io/ are reserved.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "bounds::annotations")]
    #[x_kube(validation = Rule::new("self.all(k, !k.startsWith('posthouse.dev/') && !k.startsWith('argocd.argoproj.io/'))")
        .message("must not have keys of posthouse.dev/ or argocd.argoproj.io/"))]
    pub annotations: BTreeMap<String, String>,
}

/// Where the pods run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodSpec {
    /// Labels a node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "bounds::labels")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints the pods bear.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub tolerations: Vec<Toleration>,
    /// Nodes and neighbours that are preferred or required; absent is a preference for different hosts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// How the pods are spread; absent is a spread over zones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// Their priority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::host")]
    pub priority_class_name: Option<String>,
    /// Credentials for the image's registry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub image_pull_secrets: Vec<LocalObjectReference>,
}

/// What is added to the gateways' ServiceAccount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccount {
    /// Annotations. Keys of posthouse.dev/ and argocd.argoproj.io/ are reserved.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "bounds::annotations")]
    #[x_kube(validation = Rule::new("self.all(k, !k.startsWith('posthouse.dev/') && !k.startsWith('argocd.argoproj.io/'))")
        .message("must not have keys of posthouse.dev/ or argocd.argoproj.io/"))]
    pub annotations: BTreeMap<String, String>,
}

/// The Service applications connect to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// Absent is ClusterIP.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<ServiceType>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "bounds::annotations")]
    pub annotations: BTreeMap<String, String>,
    /// Whether the clients' addresses are kept (Local); absent is the cluster's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_traffic_policy: Option<ExternalTrafficPolicy>,
}

/// The type of a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::bounds::undescribed)]
pub enum ServiceType {
    /// Inside the cluster.
    #[serde(rename = "ClusterIP")]
    ClusterIp,
    /// On a port of every node.
    NodePort,
    /// Behind a load balancer.
    LoadBalancer,
}

/// Whether clients' addresses are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::bounds::undescribed)]
pub enum ExternalTrafficPolicy {
    /// Traffic goes to every node, and clients get a node's address.
    Cluster,
    /// Traffic goes to nodes with a gateway, and clients keep their addresses.
    Local,
}

/// Who may reach the gateways over the network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkPolicy {
    /// Absent is Managed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<NetworkPolicyMode>,
    /// Networks in CIDR notation that may connect besides granted namespaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "bounds::networks")]
    pub from: Vec<String>,
    /// Namespaces that may read metrics; none is all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "bounds::object_names")]
    pub metrics_from: Vec<String>,
}

/// Whether there is a NetworkPolicy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::bounds::undescribed)]
pub enum NetworkPolicyMode {
    /// The operator keeps one.
    Managed,
    /// The platform has its own.
    None,
}

/// Objects of the Prometheus operator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Monitoring {
    /// Absent is Auto.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_monitor: Option<MonitoringMode>,
    /// Absent is Auto.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prometheus_rule: Option<MonitoringMode>,
}

/// When an object of the Prometheus operator is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::bounds::undescribed)]
pub enum MonitoringMode {
    /// When its kind exists.
    Auto,
    /// Never.
    Never,
}
