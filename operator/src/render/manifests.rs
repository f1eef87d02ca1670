//! `posthouse-operator render`: the children of every MailRelay given, as `run` would make them on an empty cluster.
//!
//! For a diff in review, so the same input gives the same text: uids are zero, numbers 1, times the epoch; there are no
//! token keys, and only the namespaces and ServiceAccounts that were given. What holds a secret, or what only an installation has, is a
//! comment: output can be read by anybody and cannot be applied over what is real. Egress is the platform's, so a
//! comment says where the gateways connect to.

mod facts;
mod print;
mod withheld;

use std::io::{self, Write};

use posthouse_config::yaml::YamlError;
use serde::Serialize;
use serde_json::Value;

use super::chain;
use crate::{
    check::{Checked, check},
    command::{self, Environment, Exit, Output},
    input::Input,
    mail_relay::{
        Audience, ValidRelay,
        build::{self, BuildError, Children, Owners, Reported, Request, Written},
        facts::Facts,
        keys::KeyRotations,
        plan,
        validate::{ValidTransport, ValidUpstream},
    },
    mail_sender::admission::{self, Answer},
    settings::{Capabilities, Settings},
};

/// What is printed of one relay.
#[derive(Debug)]
struct Manifests {
    /// `namespace/name`.
    relay: String,
    objects: Vec<Value>,
    withheld: Vec<withheld::Withheld>,
    destinations: Vec<Destination>,
}

/// Where gateways connect to.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Destination {
    relay: String,
    upstream: String,
    host: String,
    port: u16,
}

/// Why nothing is printed.
#[derive(Debug, thiserror::Error)]
enum ManifestError {
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error("write an object")]
    Encode(#[from] YamlError),
    #[error("read a key")]
    Key(#[from] posthouse_config::credential::KeyLengthError),
}

/// Runs the command.
pub(super) fn run(
    arguments: &command::Render,
    environment: &mut Environment<'_>,
) -> io::Result<Exit> {
    let input = Input::read(&arguments.files.paths, environment.input.as_mut());
    let mut checked = check(&input, Audience::Cluster);
    if input.of_kind("MailRelay").next().is_none() && input.failures.is_empty() {
        let message = "takes at least one MailRelay, none was given";
        checked.report.failure("render", message);
    }
    checked.report.print(Output::Text, &mut environment.err)?;
    if checked.report.has_errors() {
        if arguments.output == Output::Json {
            checked.report.print(Output::Json, &mut environment.out)?;
        }
        return Ok(Exit::Failed);
    }
    let capabilities = capabilities(&arguments.api_versions);
    let manifests =
        all(&input, &checked, capabilities).map_err(|error| io::Error::other(chain(&error)))?;
    let text = match arguments.output {
        Output::Json => print::json(&manifests),
        Output::Text => print::yaml(&manifests).map_err(|error| io::Error::other(chain(&error)))?,
    };
    environment.out.write_all(text.as_bytes())?;
    Ok(Exit::Done)
}

/// What a cluster with these API versions has: `group/version`, or `group/version/Kind` as Helm has it.
fn capabilities(api_versions: &[String]) -> Capabilities {
    let has = |kind: &str| {
        let version = build::service_monitor::API_VERSION;
        let of_kind = format!("{version}/{kind}");
        api_versions
            .iter()
            .any(|given| given == version || *given == of_kind)
    };
    Capabilities {
        service_monitor: has("ServiceMonitor"),
        prometheus_rule: has("PrometheusRule"),
        openshift: api_versions
            .iter()
            .any(|given| given.starts_with("security.openshift.io/")),
    }
}

fn all(
    input: &Input,
    checked: &Checked<'_>,
    capabilities: Capabilities,
) -> Result<Vec<Manifests>, ManifestError> {
    let relays = checked.relays.iter();
    relays
        .map(|(object, valid)| {
            let valid = ValidRelay {
                generation: 1,
                ..valid.clone()
            };
            manifests(&facts::facts(input, object, capabilities)?, &valid)
        })
        .collect()
}

fn manifests(facts: &Facts, valid: &ValidRelay) -> Result<Manifests, ManifestError> {
    let anchor = build::anchor(&facts.relay);
    let admissions = admission::admissions(facts, valid, None);
    let request = Request {
        relay: &facts.relay,
        valid,
        plan: &plan::plan(facts, valid),
        keys: &KeyRotations {
            current: valid.key_rotation,
            previous: None,
            since: facts.now,
        },
        settings: &Settings::default(),
        capabilities: facts.capabilities,
        owners: Owners::of(&facts.relay, &anchor),
        issuers: &facts.issuers,
        senders: admissions.rows,
        authority: None,
        live: &facts.children,
        reported: Reported::of(facts),
        written: Written::default(),
    };
    let accepted = admissions
        .verdicts
        .values()
        .filter_map(|verdict| match &verdict.answer {
            Answer::Accepted(accepted) => Some(&accepted.admitted),
            Answer::Refused(_) => None,
        });
    let mut objects = vec![value(&anchor)?];
    objects.extend(children(&build::children(&request)?)?);
    Ok(Manifests {
        relay: format!("{}/{}", valid.namespace, valid.name),
        objects,
        withheld: withheld::all(&request, accepted)?,
        destinations: destinations(valid),
    })
}

fn children(children: &Children) -> Result<Vec<Value>, YamlError> {
    let Children {
        service_account,
        config,
        senders,
        authority,
        service,
        headless_service,
        stateful_set,
        pod_disruption_budget,
        network_policy,
        service_monitor,
        prometheus_rule,
    } = children;
    let mut all = vec![
        value(service_account)?,
        value(config)?,
        value(senders)?,
        value(service)?,
        value(headless_service)?,
        value(stateful_set)?,
        value(pod_disruption_budget)?,
    ];
    all.extend(authority.as_ref().map(value).transpose()?);
    all.extend(network_policy.as_ref().map(value).transpose()?);
    all.extend(service_monitor.as_ref().map(value).transpose()?);
    all.extend(prometheus_rule.as_ref().map(value).transpose()?);
    Ok(all)
}

fn value<T: Serialize>(object: &T) -> Result<Value, YamlError> {
    serde_json::to_value(object).map_err(YamlError::NotJson)
}

fn destinations(relay: &ValidRelay) -> Vec<Destination> {
    let destination = |upstream: &ValidUpstream| {
        let ValidTransport::Smtp { host, port, .. } = &upstream.transport else {
            return None;
        };
        Some(Destination {
            relay: format!("{}/{}", relay.namespace, relay.name),
            upstream: upstream.name.clone(),
            host: host.clone(),
            port: *port,
        })
    };
    relay.upstreams.iter().filter_map(destination).collect()
}

#[cfg(test)]
mod tests;
