//! How manifests look: a YAML stream for people and diffs, with comments for what is no object, or one JSON value.

use posthouse_config::yaml::{self, YamlError};
use serde_json::json;

use super::{Destination, Manifests, withheld::Withheld};
use crate::mail_relay::build::place::HAND_OVER_PORT;

/// One JSON value.
pub(super) fn json(manifests: &[Manifests]) -> String {
    let objects: Vec<_> = manifests.iter().flat_map(|of| &of.objects).collect();
    let withheld: Vec<_> = manifests.iter().flat_map(|of| &of.withheld).collect();
    let destinations: Vec<_> = manifests.iter().flat_map(|of| &of.destinations).collect();
    let all = json!({ "objects": objects, "withheld": withheld, "destinations": destinations });
    format!("{all:#}\n")
}

/// A YAML stream.
pub(super) fn yaml(manifests: &[Manifests]) -> Result<String, YamlError> {
    let mut text = String::new();
    for of_relay in manifests {
        for line in heading(of_relay) {
            text.push_str("# ");
            text.push_str(&line);
            text.push('\n');
        }
        for object in &of_relay.objects {
            text.push_str("---\n");
            text.push_str(&yaml::to_string(object)?);
        }
    }
    Ok(text)
}

/// What is no object. Names and hosts were validated: none has a line break that would end the comment.
fn heading(manifests: &Manifests) -> Vec<String> {
    let mut lines = vec![format!("MailRelay {}", manifests.relay)];
    lines.extend(manifests.withheld.iter().map(withheld));
    lines.extend(manifests.destinations.iter().map(destination));
    lines.push(format!(
        "connects to the other gateways on port {HAND_OVER_PORT}, and to DNS"
    ));
    lines
}

fn withheld(object: &Withheld) -> String {
    let Withheld {
        kind,
        namespace,
        name,
        secret_type,
        keys,
    } = object;
    let of_type = secret_type.map_or_else(String::new, |of| format!(" of type {of}"));
    let keys = keys.join(", ");
    format!("{kind} {namespace}/{name}{of_type}, not printed: {keys}")
}

fn destination(to: &Destination) -> String {
    let Destination {
        upstream,
        host,
        port,
        ..
    } = to;
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.clone()
    };
    format!("connects to {host}:{port} for upstream {upstream}")
}
