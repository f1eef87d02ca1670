//! The gateway's document and its senders file.
//!
//! What a MailRelay does not say is the caller's: whoever writes a document knows the one before it, which gateways
//! drain and which keys count. Secret values never come here, only where their files will be.

use posthouse_config::{
    Document, Senders,
    document::{
        Capture, FORMAT, Issuer, Keys, Listener, Relay, RelayKey, SmtpTransport, SpoolSettings,
        Tokens, Transport, Upstream, UpstreamTls, tokens,
    },
    senders::Sender,
    yaml::{self, YamlError},
};
use serde::Serialize;

use super::Place;
use crate::mail_relay::validate::{ValidListener, ValidRelay, ValidTransport, ValidUpstream};

/// What a document says and its MailRelay does not.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms<'a> {
    /// The document's number.
    pub number: u64,
    /// A gateway whose ordinal is not below this drains.
    pub replicas: u32,
    /// How many gateways there are, the draining ones among them; limits are shared by so many.
    pub gateways: u32,
    /// The rotations of the relay key that count, the current one first.
    pub rotations: Vec<u64>,
    /// Whose tokens are believed; none is nobody's.
    pub issuers: &'a [Issuer],
}

impl Terms<'_> {
    /// Those of one gateway that nobody watches.
    pub fn alone(relay: &ValidRelay, number: u64) -> Self {
        Self {
            number,
            replicas: 1,
            gateways: 1,
            rotations: vec![relay.key_rotation],
            issuers: &[],
        }
    }
}

/// The document of a relay's gateways at a place.
pub fn gateway_config(relay: &ValidRelay, place: &Place, terms: &Terms<'_>) -> Document {
    Document {
        format: FORMAT,
        needs: Vec::new(),
        number: terms.number,
        generation: relay.generation,
        relay: Relay {
            namespace: relay.namespace.clone(),
            name: relay.name.clone(),
        },
        hostname: relay.hostname.clone(),
        replicas: terms.replicas,
        gateways: Some(terms.gateways),
        loopback_is_trusted: place.loopback_is_trusted(),
        keys: keys(place, &terms.rotations),
        tokens: tokens(relay, terms.issuers),
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

fn keys(place: &Place, rotations: &[u64]) -> Keys {
    let key = |&rotation: &u64| RelayKey {
        rotation,
        path: place.relay_key(rotation),
    };
    Keys {
        relay: rotations.iter().map(key).collect(),
        link: place.link_key(),
    }
}

fn tokens(relay: &ValidRelay, issuers: &[Issuer]) -> Option<Tokens> {
    (!issuers.is_empty()).then(|| Tokens {
        audience: tokens::audience(&relay.namespace, &relay.name),
        issuers: issuers.to_vec(),
    })
}

/// The document as YAML. `format` comes first, so that people and old readers see it before anything else.
pub fn text(document: &Document) -> Result<String, YamlError> {
    ordered(document)
}

/// The same, for a document of which not every member is known.
pub(super) fn ordered<T: Serialize>(document: &T) -> Result<String, YamlError> {
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
