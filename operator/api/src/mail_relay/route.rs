//! Which upstreams a message may take.
//!
//! The order of routes is their meaning, so the list is atomic: with a list-map a second applier would reorder it.
//! Targets have the meaning of SRV records (RFC 2782).

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::bounds;

/// What it matches, and where that goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// Unique among the routes.
    #[schemars(schema_with = "bounds::name")]
    pub name: String,
    /// What it matches: all that is given. Absent is everything.
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    pub matches: Option<Match>,
    /// Where that goes: the lowest priority that can take mail now, spread by weight within it.
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub targets: Vec<Target>,
    /// A target that is limited for longer than this is passed over; absent is 900.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 86_400))]
    pub spill_seconds: Option<i32>,
}

/// What a route matches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Match {
    /// Patterns for the address in the From field: `x`, `*.x` or `*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::some_patterns")]
    pub sender_domains: Option<Vec<String>>,
    /// Patterns for the recipient: `x`, `*.x` or `*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::some_patterns")]
    pub recipient_domains: Option<Vec<String>>,
    /// Namespaces of the MailSender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::object_names")]
    pub namespaces: Option<Vec<String>>,
}

/// An upstream on a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// The upstream's name.
    #[schemars(schema_with = "bounds::name")]
    pub upstream: String,
    /// Lower is used first; absent is 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub priority: Option<i32>,
    /// The share within one priority; absent is 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub weight: Option<i32>,
}
