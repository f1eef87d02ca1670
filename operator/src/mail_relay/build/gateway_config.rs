//! The gateway's document and its senders file.
//!
//! Numbers are the caller's: whoever writes a document knows the one before it. Secret values never come here, only
//! where their files will be.

use posthouse_config::{
    Document, Senders,
    document::{
        Capture, FORMAT, Keys, Listener, Relay, RelayKey, SmtpTransport, SpoolSettings, Transport,
        Upstream, UpstreamTls,
    },
    senders::Sender,
    yaml::{self, YamlError},
};

use super::Place;
use crate::mail_relay::validate::{ValidListener, ValidRelay, ValidTransport, ValidUpstream};

/// The document of a relay's gateways at a place.
pub fn gateway_config(relay: &ValidRelay, place: &Place, number: u64) -> Document {
    let rotation = relay.key_rotation;
    Document {
        format: FORMAT,
        needs: Vec::new(),
        number,
        generation: relay.generation,
        relay: Relay {
            namespace: relay.namespace.clone(),
            name: relay.name.clone(),
        },
        hostname: relay.hostname.clone(),
        replicas: place.replicas(relay),
        loopback_is_trusted: place.loopback_is_trusted(),
        keys: Keys {
            relay: vec![RelayKey {
                rotation,
                path: place.relay_key(rotation),
            }],
            link: None,
        },
        tokens: None,
        listeners: relay
            .listeners
            .iter()
            .map(|given| listener(given, place))
            .collect(),
        anonymous: relay.anonymous.clone(),
        upstreams: relay
            .upstreams
            .iter()
            .map(|given| upstream(given, place))
            .collect(),
        routes: relay.routes.clone(),
        retry: relay.retry.clone(),
        reports: relay.reports.clone(),
        limits: relay.limits.clone(),
        spool: SpoolSettings::default(),
        stop: place.stop(),
        trace: relay.trace,
    }
}

/// The document as YAML. `format` comes first, so that people and old readers see it before anything else.
pub fn text(document: &Document) -> Result<String, YamlError> {
    let text = yaml::to_string(document)?;
    let (format, rest): (Vec<_>, Vec<_>) = text
        .split_inclusive('\n')
        .partition(|line| line.starts_with("format:"));
    Ok(format.into_iter().chain(rest).collect())
}

/// The senders file of a relay.
pub fn senders(relay: &ValidRelay, senders: Vec<Sender>, number: u64) -> Senders {
    Senders {
        format: FORMAT,
        number,
        generation: relay.generation,
        senders,
    }
}

fn listener(given: &ValidListener, place: &Place) -> Listener {
    Listener {
        name: given.name.clone(),
        protocol: given.protocol,
        address: place.address(given),
        tls: given.tls,
        certificate: place.certificate(given),
        plaintext_authentication: given.plaintext_authentication,
        bare_newlines: given.bare_newlines,
        long_lines: given.long_lines,
    }
}

fn upstream(given: &ValidUpstream, place: &Place) -> Upstream {
    Upstream {
        name: given.name.clone(),
        senders: given.senders.clone(),
        transport: transport(&given.name, &given.transport, place),
    }
}

fn transport(upstream: &str, given: &ValidTransport, place: &Place) -> Transport {
    match given {
        ValidTransport::Capture => Transport::Capture(Capture {}),
        ValidTransport::Smtp {
            host,
            port,
            mode,
            server_name,
            ca,
            password,
            limits,
        } => {
            let auth = password
                .as_ref()
                .map(|password| place.password(upstream, &password.secret));
            Transport::Smtp(SmtpTransport {
                host: host.clone(),
                port: *port,
                tls: UpstreamTls {
                    mode: *mode,
                    server_name: server_name.clone(),
                    ca: ca.as_ref().map(|ca| place.authority(upstream, ca)),
                },
                auth,
                limits: limits.clone(),
            })
        }
    }
}

#[cfg(test)]
mod tests;
