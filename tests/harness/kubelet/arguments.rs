//! The command line and environment of a pod's process: what Kubernetes expands, and what stands in for a container's
//! own files and network.
//!
//! There is no container, so the paths of its mounts become the folders behind them, and where the process would bind
//! "every address of the pod" it binds the pod's one address: every argument that is an unspecified address with a port
//! is rewritten, and each listener of the document gets a `--listen`. One difference shows: a gateway refuses a document
//! that no longer has a listener its `--listen` names, while in a pod it would go on and be replaced by its StatefulSet.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use k8s_openapi::api::core::v1::{Container, Pod};
use posthouse_config::Document;

use super::volume::field;

/// Where a folder is in the container, and where it really is.
pub(super) type Mount = (String, PathBuf);

/// The environment of a container: its own variables, later ones may use earlier ones.
pub(super) fn environment(container: &Container, pod: &Pod) -> Vec<(String, String)> {
    let mut known = Vec::new();
    if let Some(name) = &pod.metadata.name {
        known.push(("HOSTNAME".to_owned(), name.clone()));
    }
    for variable in container.env.iter().flatten() {
        let given = variable.value.as_ref().map(|text| expand(text, &known));
        let source = || field(variable.value_from.as_ref()?.field_ref.as_ref()?, pod);
        if let Some(value) = given.or_else(source) {
            known.push((variable.name.clone(), value));
        }
    }
    known
}

/// The arguments of a container in a pod of this address.
pub(super) fn arguments(
    container: &Container,
    environment: &[(String, String)],
    mounts: &[Mount],
    address: Ipv4Addr,
) -> Vec<String> {
    let arguments = container.args.iter().flatten();
    arguments
        .map(|argument| expand(argument, environment))
        .map(|argument| match argument.split_once('=') {
            Some((flag, value)) if flag.starts_with("--") => {
                format!("{flag}={}", translate(value, mounts, address))
            }
            _ => translate(&argument, mounts, address),
        })
        .collect()
}

/// A `--listen` for each listener of the document that binds every address.
pub(super) fn listeners(document: &str, address: Ipv4Addr) -> Vec<String> {
    // One that cannot be read is for the gateway to complain about.
    let Ok(document) = Document::parse(document) else {
        return Vec::new();
    };
    let bound = document.listeners.iter().filter_map(|listener| {
        let bound = specified(listener.address, address)?;
        Some(["--listen".to_owned(), format!("{}={bound}", listener.name)])
    });
    bound.flatten().collect()
}

fn translate(argument: &str, mounts: &[Mount], address: Ipv4Addr) -> String {
    if let Some(bound) = argument
        .parse()
        .ok()
        .and_then(|given| specified(given, address))
    {
        return bound.to_string();
    }
    for (inside, outside) in mounts {
        let rest = argument.strip_prefix(inside.as_str());
        if let Some(rest) = rest.filter(|rest| rest.is_empty() || rest.starts_with('/')) {
            return format!("{}{rest}", outside.display());
        }
    }
    argument.to_owned()
}

/// The pod's address instead of all addresses.
fn specified(given: SocketAddr, address: Ipv4Addr) -> Option<SocketAddr> {
    let all = given.ip().is_unspecified();
    all.then(|| SocketAddr::new(IpAddr::V4(address), given.port()))
}

/// `$(NAME)` becomes the variable's value, `$$` a dollar; an unknown name stays as it is (`third_party/forked/golang/expansion`).
fn expand(text: &str, variables: &[(String, String)]) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            expanded.push('$');
            rest = after;
            continue;
        }
        rest = after;
        let Some((name, after)) = rest.strip_prefix('(').and_then(|rest| rest.split_once(')'))
        else {
            expanded.push('$');
            continue;
        };
        match variables.iter().rev().find(|(known, _)| known == name) {
            Some((_, value)) => expanded.push_str(value),
            None => expanded.extend(["$(", name, ")"]),
        }
        rest = after;
    }
    expanded + rest
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const POD: Ipv4Addr = Ipv4Addr::new(127, 9, 8, 7);

    #[test]
    fn variables_are_expanded() {
        let variables = [
            ("A".to_owned(), "1".to_owned()),
            ("B".to_owned(), "$2".to_owned()),
        ];
        for (text, expected) in [
            ("$(A)", "1"),
            ("x$(A)$(B)y", "x1$2y"),
            ("$$(A)", "$(A)"),
            ("$(NONE)", "$(NONE)"),
            ("a$", "a$"),
            ("$(A", "$(A"),
        ] {
            assert_eq!(expand(text, &variables), expected, "{text}");
        }
    }

    #[test]
    fn paths_and_addresses_are_those_of_the_pod() {
        let container = serde_json::from_value(json!({"name": "gateway", "args": [
            "run", "--config", "/etc/posthouse", "--spool=/var/spool/posthouse/x",
            "--admin", "[::]:8080", "--status=0.0.0.0:8443", "--to", "127.0.0.1:25", "/etc/posthouses",
        ]}));
        let mounts = [
            ("/etc/posthouse".to_owned(), PathBuf::from("/p/config")),
            ("/var/spool/posthouse".to_owned(), PathBuf::from("/p/spool")),
        ];
        assert_eq!(
            arguments(&container.unwrap(), &[], &mounts, POD),
            [
                "run",
                "--config",
                "/p/config",
                "--spool=/p/spool/x",
                "--admin",
                "127.9.8.7:8080",
                "--status=127.9.8.7:8443",
                "--to",
                "127.0.0.1:25",
                "/etc/posthouses",
            ]
        );
    }

    #[test]
    fn fields_of_the_pod_are_in_the_environment() {
        let container = serde_json::from_value(json!({"name": "gateway", "env": [
            {"name": "UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
            {"name": "BOTH", "value": "$(UID)/$(LATER)"},
            {"name": "LATER", "value": "x"},
        ]}));
        let pod = serde_json::from_value(json!({"metadata": {"name": "p-0", "uid": "u"}})).unwrap();
        let environment = environment(&container.unwrap(), &pod);
        let expected = [
            ("HOSTNAME", "p-0"),
            ("UID", "u"),
            ("BOTH", "u/$(LATER)"),
            ("LATER", "x"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(environment, expected);
    }
}
