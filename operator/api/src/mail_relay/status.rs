//! What the operator reports about a MailRelay.
//!
//! Conditions are computed afresh from what is observed. Figures are written at most once a minute, states and
//! conditions at once; times never cause a write of their own.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bounds;

/// The observed state of a MailRelay.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MailRelayStatus {
    /// The generation this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Gateways that exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Gateways that take mail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,
    /// Selects the gateways' pods; for autoscalers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::sentence")]
    pub selector: Option<String>,
    /// Whether mail is flowing: the reason of the condition that is worst.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::text")]
    pub mail: Option<String>,
    /// Healthy upstreams and all upstreams, as in 2/3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::text")]
    pub upstream_summary: Option<String>,
    /// Where applications connect.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub endpoints: Vec<EndpointStatus>,
    /// Mail in all gateways together; of a silent one the last known figure counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueStatus>,
    /// Each gateway.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub gateways: Vec<GatewayStatus>,
    /// Each upstream.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub upstreams: Vec<UpstreamStatus>,
    /// MailSenders that may send.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub senders: Option<i32>,
    /// The gateway that is being emptied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainStatus>,
    /// Accepted, ResolvedRefs, Programmed, Ready, UpstreamsHealthy, QueueHealthy, Stalled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// Where applications connect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointStatus {
    /// The listener.
    #[schemars(schema_with = "bounds::name")]
    pub name: String,
    /// The Service's name inside the cluster.
    #[schemars(schema_with = "bounds::host")]
    pub host: String,
    /// Its port.
    pub port: i32,
    /// When TLS starts.
    pub tls: EndpointTlsStatus,
}

/// When TLS starts on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::bounds::undescribed)]
pub enum EndpointTlsStatus {
    /// Never.
    None,
    /// After STARTTLS.
    StartTls,
    /// From the first octet.
    Implicit,
}

/// Mail that waits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueueStatus {
    /// Messages.
    pub messages: i64,
    /// Messages that wait for a cause to be fixed.
    pub held: i64,
    /// Octets in the spools.
    pub bytes: i64,
    /// When the oldest message was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_message_time: Option<Time>,
}

/// One gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayStatus {
    /// The pod.
    #[schemars(schema_with = "bounds::object_name")]
    pub name: String,
    /// What it does.
    pub state: GatewayState,
    /// Messages in its spool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages: Option<i64>,
    /// Messages that wait for a cause to be fixed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<i64>,
    /// When its oldest message was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_message_time: Option<Time>,
    /// Since when it has not answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silent_since: Option<Time>,
}

/// What a gateway does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::bounds::undescribed)]
pub enum GatewayState {
    /// Recovers its spool.
    Starting,
    /// Takes mail.
    Ready,
    /// Takes no new mail, relays what it has.
    Draining,
    /// Does not answer.
    Silent,
}

/// One upstream, as the gateway that knows worst of it reports it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamStatus {
    /// Its name.
    #[schemars(schema_with = "bounds::name")]
    pub name: String,
    /// Its state, as in Ready or AuthenticationFailed.
    #[schemars(schema_with = "bounds::text")]
    pub state: String,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// The server's last reply that led here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::sentence")]
    pub reply: Option<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::sentence")]
    pub remedy: Option<String>,
    /// When it last took mail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_relayed_time: Option<Time>,
}

/// A gateway that is being emptied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrainStatus {
    /// The pod.
    #[schemars(schema_with = "bounds::object_name")]
    pub gateway: String,
    /// How far it is.
    pub state: DrainState,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Messages it still has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages: Option<i64>,
}

/// How far a drain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::bounds::undescribed)]
pub enum DrainState {
    /// The gateway has to be told.
    Telling,
    /// It relays what it has.
    Draining,
    /// It hands the rest to another.
    HandingOver,
    /// Nothing goes on without a person.
    Stuck,
}
