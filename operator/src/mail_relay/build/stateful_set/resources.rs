//! CPU and memory of a gateway: what the user says, and our defaults for the rest.
//!
//! A default never contradicts what was said: the API server refuses a request above its limit, and then there would be
//! no gateway at all.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::ResourceRequirements, apimachinery::pkg::api::resource::Quantity,
};
use posthouse_api::mail_relay::Resources;

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
    default_holds: impl Fn(f64, f64) -> bool,
) {
    let default = Quantity(default.to_owned());
    let compared = other.and_then(|other| Some((other, amount(&default)?, amount(other)?)));
    let value = match compared {
        Some((other, ours, theirs)) if !default_holds(ours, theirs) => other.clone(),
        _ => default,
    };
    to.entry(name.to_owned()).or_insert(value);
}

/// How much a quantity is, near enough to compare two: Kubernetes' suffixes are powers of 1000 and of 1024.
fn amount(quantity: &Quantity) -> Option<f64> {
    const SUFFIXES: [(&str, f64); 15] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("Ei", 1_152_921_504_606_846_976.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
    ];
    let text = quantity.0.as_str();
    let suffix = SUFFIXES.iter().find_map(|(suffix, factor)| {
        let number = text.strip_suffix(suffix)?;
        Some(number.parse::<f64>().ok()? * factor)
    });
    // Without a suffix, perhaps with an exponent.
    suffix
        .or_else(|| text.parse().ok())
        .filter(|amount| amount.is_finite())
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
