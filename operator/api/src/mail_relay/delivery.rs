//! Retries, reports, draining and limits: what happens to mail that cannot be relayed at once.
//!
//! Absent members are the operator's defaults, shown by `posthouse-operator render`.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bounds;

/// When to try again and when to give up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// The first wait; it doubles with every attempt. Absent is 60.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3600))]
    pub initial_seconds: Option<i32>,
    /// The longest wait. Absent is 7200.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86_400))]
    pub maximum_seconds: Option<i32>,
    /// When deferred mail expires. Absent is 432000, five days.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 60, max = 2_592_000))]
    pub expiry_seconds: Option<i32>,
    /// When held mail expires. Absent is 1209600, two weeks.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 60, max = 7_776_000))]
    pub held_expiry_seconds: Option<i32>,
    /// When the sender is told that mail is late; 0 or absent is never.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_592_000))]
    pub delay_notice_seconds: Option<i32>,
}

/// Who is told about mail that failed or expired.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.to) && self.to == 'Address') == has(self.address)")
        .message("address must be given exactly with to: Address")
)]
pub struct Reports {
    /// To whom reports go; absent is ReversePath.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<ReportTo>,
    /// The From address of reports; absent is the first of postmaster at the hostname, postmaster at an exact domain
    /// of an upstream's `senders`, and an address there that the routes have an eligible target for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::address")]
    pub sender: Option<String>,
    /// The recipient of reports with `to: Address`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::address")]
    pub address: Option<String>,
}

/// To whom reports go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::bounds::undescribed)]
pub enum ReportTo {
    /// To the envelope sender (RFC 3461 §6).
    ReversePath,
    /// To one address.
    Address,
    /// To nobody; failures are counted, logged and shown in status.
    Nobody,
}

/// How a gateway is emptied before it goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    /// How long it may relay before the rest is handed over. Absent is 600.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 86_400))]
    pub timeout_seconds: Option<i32>,
}

/// Bounds on what applications may hand over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Octets of one message. Absent is 36700160, 35 MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1024, max = 157_286_400))]
    pub message_bytes: Option<i64>,
    /// Recipients of one message. Absent is 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub recipients_per_message: Option<i32>,
    /// Sessions of one gateway at once. Absent is 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 50_000))]
    pub sessions: Option<i32>,
}

/// How much of the client goes into the Received field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::bounds::undescribed)]
pub enum Trace {
    /// Nothing of the client.
    Minimal,
    /// Its address and the name it gave.
    Full,
}
