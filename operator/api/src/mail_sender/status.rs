//! What the operator reports about a MailSender.
//!
//! `credential` and `binding.name` are memory: if they are lost, the previous password counts as expired and the
//! Secret goes with its MailSender.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::bounds;

/// The observed state of a MailSender.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MailSenderStatus {
    /// The generation this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The Secret, once it is written (a provisioned service of the Service Binding specification).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binding: Option<Binding>,
    /// The audience to ask for in projected tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::text")]
    pub audience: Option<String>,
    /// The password that is valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialStatus>,
    /// Its mail that waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<SenderQueueStatus>,
    /// Its mail that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failures: Option<FailuresStatus>,
    /// Accepted, Programmed, Ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// The Secret of a sender.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Binding {
    /// Its name.
    #[schemars(schema_with = "bounds::object_name")]
    pub name: String,
}

/// The password that is valid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CredentialStatus {
    /// The rotation that was written.
    pub rotation: i64,
    /// When it was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written_time: Option<Time>,
    /// Until when the previous password is valid too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_valid_until: Option<Time>,
}

/// A sender's mail that waits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SenderQueueStatus {
    /// Messages.
    pub messages: i64,
    /// Messages that wait for a cause to be fixed.
    pub held: i64,
}

/// A sender's mail that failed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailuresStatus {
    /// When the last message failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_time: Option<Time>,
    /// How many failed.
    pub count: i64,
}
