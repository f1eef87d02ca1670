//! CPU and memory of a gateway: what the user says, and our defaults for the rest.
//!
//! A default never contradicts what was said: the API server refuses a request above its limit, and then there would be
//! no gateway at all.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::ResourceRequirements, apimachinery::pkg::api::resource::Quantity,
};
use posthouse_api::mail_relay::Resources;

use crate::quantity::{self, Amount};

/// Reserved where nothing is said.
const REQUESTS: [(&str, &str); 2] = [("cpu", "100m"), ("memory", "64Mi")];

/// Not to be exceeded where nothing is said. No limit of CPU: it would only make mail slow.
const LIMITS: [(&str, &str); 1] = [("memory", "512Mi")];

/// The resources of a gateway.
pub fn resources(given: Option<&Resources>) -> ResourceRequirements {
    let given = given.cloned().unwrap_or_default();
    let (mut requests, mut limits) = (given.requests.clone(), given.limits.clone());
    for (name, default) in LIMITS {
        // Of two, the larger: a request above our limit raises it.
        add(
            &mut limits,
            name,
            default,
            given.requests.get(name),
            |a, b| a >= b,
        );
    }
    for (name, default) in REQUESTS {
        add(
            &mut requests,
            name,
            default,
            given.limits.get(name),
            |a, b| a <= b,
        );
    }
    ResourceRequirements {
        requests: Some(requests),
        limits: Some(limits),
        claims: None,
    }
}

/// Adds a default, or instead the user's word on the other side where that one must win.
fn add(
    to: &mut BTreeMap<String, Quantity>,
    name: &str,
    default: &str,
    other: Option<&Quantity>,
    default_holds: impl Fn(Amount, Amount) -> bool,
) {
    let default = Quantity(default.to_owned());
    let compared = other.and_then(|other| {
        Some((
            other,
            quantity::parse(&default.0)?,
            quantity::parse(&other.0)?,
        ))
    });
    let value = match compared {
        Some((other, ours, theirs)) if !default_holds(ours, theirs) => other.clone(),
        _ => default,
    };
    to.entry(name.to_owned()).or_insert(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, Quantity> {
        let pairs = pairs.iter();
        pairs
            .map(|(name, amount)| ((*name).to_owned(), Quantity((*amount).to_owned())))
            .collect()
    }

    #[test]
    fn a_default_never_contradicts_what_was_said() {
        type Pairs = &'static [(&'static str, &'static str)];
        let table: [(Pairs, Pairs, Pairs, Pairs); 6] = [
            (
                &[],
                &[],
                &[("cpu", "100m"), ("memory", "64Mi")],
                &[("memory", "512Mi")],
            ),
            (
                &[("memory", "1Gi")],
                &[],
                &[("cpu", "100m"), ("memory", "1Gi")],
                &[("memory", "1Gi")],
            ),
            (
                &[("memory", "64M"), ("cpu", "2")],
                &[],
                &[("cpu", "2"), ("memory", "64M")],
                &[("memory", "512Mi")],
            ),
            (
                &[],
                &[("memory", "32Mi"), ("cpu", "0.05")],
                &[("cpu", "0.05"), ("memory", "32Mi")],
                &[("memory", "32Mi"), ("cpu", "0.05")],
            ),
            (
                &[],
                &[("memory", "1e9"), ("cpu", "1")],
                &[("cpu", "100m"), ("memory", "64Mi")],
                &[("memory", "1e9"), ("cpu", "1")],
            ),
            (
                &[("ephemeral-storage", "1Gi")],
                &[],
                &[
                    ("cpu", "100m"),
                    ("memory", "64Mi"),
                    ("ephemeral-storage", "1Gi"),
                ],
                &[("memory", "512Mi")],
            ),
        ];
        for (requests, limits, all_requests, all_limits) in table {
            let given = Resources {
                requests: map(requests),
                limits: map(limits),
            };
            let made = resources(Some(&given));
            assert_eq!(made.requests, Some(map(all_requests)), "{given:?}");
            assert_eq!(made.limits, Some(map(all_limits)), "{given:?}");
        }
    }
}
