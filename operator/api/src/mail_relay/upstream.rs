//! Where mail goes: an account at a provider, any submission server, or a folder.
//!
//! A provider is a preset of host, port, TLS, mechanism, limits and the meaning of its replies. `Custom` presets
//! nothing, `Capture` relays nothing.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use super::auth::Auth;
use crate::{bounds, reference::CaRef};

/// One way out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.name != 'none'")
        .message("name must not be \"none\", which stands for mail without an upstream"),
    validation = Rule::new("self.provider != 'Custom' || has(self.endpoint)")
        .message("endpoint must be given with provider Custom"),
    validation = Rule::new("self.provider == 'Custom' || !has(self.endpoint)")
        .message("endpoint must not be given with another provider than Custom"),
    validation = Rule::new("self.provider != 'Capture' || (!has(self.auth) && !has(self.rewrite) && !has(self.limits))")
        .message("auth, limits and rewrite must not be given with provider Capture, which relays nothing"),
    validation = Rule::new("self.provider == 'AmazonSes' || !has(self.region)")
        .message("region must not be given with another provider than AmazonSes"),
    validation = Rule::new("!has(self.auth) || !has(self.endpoint) || !has(self.endpoint.tls) || !has(self.endpoint.tls.mode) || self.endpoint.tls.mode != 'None'")
        .message("auth must not be given with endpoint.tls.mode None: the password would go in clear"),
    validation = Rule::new("!has(self.rewrite) || has(self.senders)")
        .message("senders must be given with rewrite: they say which addresses need none")
)]
pub struct Upstream {
    /// Unique among the upstreams; "none" is reserved.
    #[schemars(schema_with = "bounds::name")]
    pub name: String,
    /// What kind of server it is.
    pub provider: Provider,
    /// The region of an AmazonSes account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::object_name")]
    pub region: Option<String>,
    /// What this account may send for: `user@x`, `x`, `*.x` or `*`. Absent is whatever this relay admits, and for a
    /// provider with one mailbox that mailbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::some_patterns")]
    pub senders: Option<Vec<String>>,
    /// The server, with provider Custom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
    /// How we authenticate; absent is not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// How mail is changed that this account could not send as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rewrite: Option<Rewrite>,
    /// Bounds on our use of it; absent members are the provider's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<UpstreamLimits>,
}

/// The kind of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::bounds::undescribed)]
pub enum Provider {
    /// Microsoft 365 (Exchange Online).
    Microsoft365,
    /// Amazon Simple Email Service.
    AmazonSes,
    /// Twilio SendGrid.
    SendGrid,
    /// Any submission server.
    Custom,
    /// Keeps every message as a file for people to look at; never relays.
    Capture,
}

/// A server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// A host name or an address.
    #[schemars(schema_with = "bounds::host")]
    pub host: String,
    /// Its port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// TLS; absent is Implicit on port 465, else StartTls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<EndpointTls>,
}

/// TLS to a server. There is no way to skip verification.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointTls {
    /// When TLS starts; absent is Implicit on port 465, else StartTls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<TlsMode>,
    /// The name to verify instead of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::host")]
    pub server_name: Option<String>,
    /// Authorities that replace the system's for this upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<CaRef>,
}

/// When TLS starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::bounds::undescribed)]
pub enum TlsMode {
    /// From the first octet (RFC 8314 §3.3).
    Implicit,
    /// After STARTTLS, which must succeed (RFC 3207).
    StartTls,
    /// Never. Not with `auth`.
    None,
}

/// How mail is changed that the account could not send as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rewrite {
    /// The envelope sender to use; may contain `{queueId}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::address")]
    pub reverse_path: Option<String>,
    /// When the From field is changed; absent is Never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<RewriteFrom>,
    /// The address to send as instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::address")]
    pub address: Option<String>,
}

/// When the From field is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::bounds::undescribed)]
pub enum RewriteFrom {
    /// Never.
    Never,
    /// When the address is not covered by `senders`.
    WhenForeign,
}

/// Bounds on our use of an upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamLimits {
    /// Quotas in sliding windows, shared by all gateways.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub windows: Option<Vec<Window>>,
    /// Connections of all gateways together.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_connections: Option<i32>,
    /// Messages on one connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub messages_per_connection: Option<i32>,
    /// The longest age of a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 3600))]
    pub connection_seconds: Option<i32>,
    /// Recipients in one transaction; larger messages are split.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub recipients_per_message: Option<i32>,
    /// Octets of one message as relayed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1024, max = 157_286_400))]
    pub message_bytes: Option<i64>,
}

/// One quota.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    /// What is counted.
    pub unit: WindowUnit,
    /// How many.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub count: i32,
    /// In how long a time.
    #[schemars(range(min = 1, max = 2_678_400))]
    pub seconds: i32,
}

/// What a quota counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::bounds::undescribed)]
pub enum WindowUnit {
    /// Messages.
    Messages,
    /// Recipients.
    Recipients,
}
