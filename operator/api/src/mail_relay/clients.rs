//! Who may send: namespaces by grants, networks without authentication.
//!
//! Nobody may by default, not even the MailRelay's own namespace.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::bounds;

/// Who may send.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Clients {
    /// Who may send without authenticating, on listeners of protocol Smtp; absent is nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anonymous: Option<Anonymous>,
    /// Raising it by one renews every password of this relay, with overlap.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1_000_000))]
    #[x_kube(validation = Rule::new("self >= oldSelf").message("must not be lowered"))]
    pub key_rotation: i64,
    /// Who may create a MailSender for this relay; none is nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub grants: Option<Vec<Grant>>,
}

impl Default for Clients {
    fn default() -> Self {
        Self {
            anonymous: None,
            key_rotation: one(),
            grants: None,
        }
    }
}

const fn one() -> i64 {
    1
}

/// Who may send without authenticating.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Anonymous {
    /// Client networks in CIDR notation, at least /8 (IPv4) or /32 (IPv6). Loopback never counts: with a service mesh
    /// every client is loopback.
    #[schemars(schema_with = "bounds::some_networks")]
    pub networks: Vec<String>,
    /// What they may send as: `x`, `*.x` or `*`.
    #[schemars(schema_with = "bounds::some_patterns")]
    pub sender_domains: Vec<String>,
}

/// Lets namespaces have MailSenders for this relay. Of several grants that match a namespace the domains unite and the
/// limits add up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// Unique among the grants.
    #[schemars(schema_with = "bounds::name")]
    pub name: String,
    /// Which namespaces.
    pub namespaces: Namespaces,
    /// What their senders may send as: `x`, `*.x` or `*`.
    #[schemars(schema_with = "bounds::some_patterns")]
    pub sender_domains: Vec<String>,
    /// Bounds for each namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<GrantLimits>,
}

/// Namespaces by name or by label: exactly one of the two.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.names) != has(self.selector)")
        .message("must have exactly one of names and selector")
)]
pub struct Namespaces {
    /// Names; `*` is every namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::object_names")]
    pub names: Option<Vec<String>>,
    /// A selector for the namespaces' labels. Select by name where tenants can label namespaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<Selector>,
}

/// A label selector that is not empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.matchLabels) && size(self.matchLabels) > 0) || (has(self.matchExpressions) && size(self.matchExpressions) > 0)")
        .message("must not be empty: write names: [\"*\"] for every namespace")
)]
pub struct Selector {
    /// Labels that must all be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::labels")]
    pub match_labels: Option<BTreeMap<String, String>>,
    /// Requirements that must all be met.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub match_expressions: Option<Vec<LabelSelectorRequirement>>,
}

/// Bounds for each namespace of a grant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrantLimits {
    /// Mail over this rate is accepted and waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub messages_per_minute: Option<i32>,
    /// With more than this queued, new mail is put off.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub queued_messages: Option<i32>,
    /// MailSenders of one namespace; the oldest stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2000))]
    pub senders: Option<i32>,
}
