//! Which upstreams a message may take, in which order.

use serde::{Deserialize, Serialize};

use super::{Check, Upstream};
use crate::pattern::AddressPattern;

/// One route: what it matches and where that goes. Every given list must match; none given matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// For people.
    pub name: String,
    /// Patterns for the first `From:` address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sender_domains: Vec<AddressPattern>,
    /// Patterns for the recipient.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipient_domains: Vec<AddressPattern>,
    /// Namespaces of the sender; anonymous mail has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// 1–32 targets.
    pub targets: Vec<Target>,
    /// A target that is limited for longer than this is passed over, 0–86,400.
    #[serde(default = "default_spill_seconds")]
    pub spill_seconds: u32,
}

/// An upstream on a route, with the meaning of an SRV record (RFC 2782): the lowest priority that can take mail now is
/// used, spread by weight within it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// The upstream's name.
    pub upstream: String,
    /// 0–1,000; lower is used first.
    #[serde(default)]
    pub priority: u32,
    /// 1–1,000; the share within one priority.
    #[serde(default = "default_weight")]
    pub weight: u32,
}

const fn default_spill_seconds() -> u32 {
    900
}

const fn default_weight() -> u32 {
    1
}

impl Route {
    pub(super) fn check(&self, path: &str, upstreams: &[Upstream], check: &mut Check) {
        check.range(&format!("{path}.targets"), self.targets.len() as u64, 1, 32);
        check.range(
            &format!("{path}.spillSeconds"),
            u64::from(self.spill_seconds),
            0,
            86_400,
        );
        for (i, target) in self.targets.iter().enumerate() {
            let path = format!("{path}.targets[{i}]");
            check.range(
                &format!("{path}.priority"),
                u64::from(target.priority),
                0,
                1000,
            );
            check.range(&format!("{path}.weight"), u64::from(target.weight), 1, 1000);
            let known = upstreams
                .iter()
                .any(|upstream| upstream.name == target.upstream);
            check.require(
                known,
                &format!("{path}.upstream"),
                "must be the name of an upstream",
            );
        }
    }
}
