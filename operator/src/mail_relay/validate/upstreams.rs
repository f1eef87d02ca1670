//! Upstreams: what each provider needs and takes, and that no password goes in clear.
//!
//! Each rule of an upstream stands in one table, in the words of its CEL twin. Only a gateway on this machine may talk
//! without TLS, and only to this machine.

use posthouse_api::{
    MailRelaySpec,
    mail_relay::upstream::{self, Endpoint, Provider, TlsMode, Upstream},
    reference::CaRef,
};
use posthouse_config::{
    AddressPattern,
    document::{NO_UPSTREAM, UpstreamLimits, UpstreamTlsMode},
    pattern::is_domain_name,
};

use super::{Audience, unsigned};
use crate::{
    address::{Accepts, patterns},
    problem::{Findings, quoted},
};

/// An upstream that can be honoured.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidUpstream {
    /// Unique among the upstreams.
    pub name: String,
    /// What it may send for; absent is everything this relay admits.
    pub senders: Option<Vec<AddressPattern>>,
    /// How mail is handed over.
    pub transport: ValidTransport,
}

/// How mail is handed over.
#[derive(Clone, Debug, PartialEq)]
pub enum ValidTransport {
    /// To a submission server.
    Smtp {
        /// A host name or an address.
        host: String,
        /// Its port.
        port: u16,
        /// When TLS starts.
        mode: UpstreamTlsMode,
        /// The name to verify instead of the host.
        server_name: Option<String>,
        /// The authorities to trust instead of the system's.
        ca: Option<CaRef>,
        /// How we authenticate.
        password: Option<Password>,
        /// Bounds on our use of it.
        limits: UpstreamLimits,
    },
    /// Into files.
    Capture,
}

/// A user name and a password in a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Password {
    /// The Secret's name.
    pub secret: String,
}

impl ValidUpstream {
    /// Whether it may send for an address.
    pub fn may_send_for(&self, local: &str, domain: &str) -> bool {
        let matches = |senders: &Vec<AddressPattern>| {
            senders.iter().any(|pattern| pattern.matches(local, domain))
        };
        self.senders.as_ref().is_none_or(matches)
    }
}

pub(super) fn validate(
    spec: &MailRelaySpec,
    audience: Audience,
    findings: &mut Findings,
) -> Vec<ValidUpstream> {
    let upstreams = spec.upstreams.iter().enumerate();
    upstreams
        .map(|(i, upstream)| {
            let path = format!("spec.upstreams[{i}]");
            rules(&path, upstream, audience, findings);
            enough_connections(&path, upstream, spec.replicas, findings);
            valid(&path, upstream, findings)
        })
        .collect()
}

/// The twins of the CEL rules on an upstream.
fn rules(path: &str, upstream: &Upstream, audience: Audience, findings: &mut Findings) {
    let is = |provider| upstream.provider == provider;
    let has_endpoint = upstream.endpoint.is_some();
    let has_extras =
        upstream.auth.is_some() || upstream.rewrite.is_some() || upstream.limits.is_some();
    for (holds, message) in [
        (
            upstream.name != NO_UPSTREAM,
            "name must not be \"none\", which stands for mail without an upstream",
        ),
        (
            !is(Provider::Custom) || has_endpoint,
            "endpoint must be given with provider Custom",
        ),
        (
            is(Provider::Custom) || !has_endpoint,
            "endpoint must not be given with another provider than Custom",
        ),
        (
            !is(Provider::Capture) || !has_extras,
            "auth, limits and rewrite must not be given with provider Capture, which relays nothing",
        ),
        (
            is(Provider::AmazonSes) || upstream.region.is_none(),
            "region must not be given with another provider than AmazonSes",
        ),
        (
            !goes_in_clear(upstream, audience),
            "auth must not be given with endpoint.tls.mode None: the password would go in clear",
        ),
        (
            upstream.rewrite.is_none() || upstream.senders.is_some(),
            "senders must be given with rewrite: they say which addresses need none",
        ),
    ] {
        findings.require(holds, path, message);
    }
    auth(&format!("{path}.auth"), upstream, findings);
}

fn auth(path: &str, upstream: &Upstream, findings: &mut Findings) {
    let Some(auth) = &upstream.auth else { return };
    let given = [
        auth.password.is_some(),
        auth.oauth2.is_some(),
        auth.aws_access_key.is_some(),
    ];
    findings.require(
        exactly_one(&given),
        path,
        "must have exactly one of password, oauth2 and awsAccessKey",
    );
    let Some(oauth2) = &auth.oauth2 else { return };
    let grants = [
        oauth2.client_credentials.is_some(),
        oauth2.refresh_token.is_some(),
        oauth2.service_account_key.is_some(),
    ];
    findings.require(
        exactly_one(&grants),
        format!("{path}.oauth2"),
        "must have exactly one of clientCredentials, refreshToken and serviceAccountKey",
    );
    let Some(client) = &oauth2.client_credentials else {
        return;
    };
    let proofs = [
        client.client_secret_ref.is_some(),
        client.certificate_ref.is_some(),
        client.federated_token.is_some(),
    ];
    findings.require(
        exactly_one(&proofs),
        format!("{path}.oauth2.clientCredentials"),
        "must have exactly one of clientSecretRef, certificateRef and federatedToken",
    );
}

fn exactly_one(given: &[bool]) -> bool {
    given.iter().filter(|given| **given).count() == 1
}

/// A password without TLS, except from a gateway on this machine to a server on this machine.
fn goes_in_clear(upstream: &Upstream, audience: Audience) -> bool {
    let Some(endpoint) = upstream
        .endpoint
        .as_ref()
        .filter(|_| upstream.auth.is_some())
    else {
        return false;
    };
    let stays_here = audience == Audience::Local && is_loopback(&endpoint.host);
    mode(endpoint) == UpstreamTlsMode::None && !stays_here
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Absent is TLS from the first octet on its own port (RFC 8314 §7.3), else STARTTLS, which must succeed.
fn mode(endpoint: &Endpoint) -> UpstreamTlsMode {
    match endpoint.tls.as_ref().and_then(|tls| tls.mode) {
        Some(TlsMode::Implicit) => UpstreamTlsMode::Implicit,
        Some(TlsMode::None) => UpstreamTlsMode::None,
        None if endpoint.port == 465 => UpstreamTlsMode::Implicit,
        Some(TlsMode::StartTls) | None => UpstreamTlsMode::StartTls,
    }
}

/// Every gateway needs a connection of its own.
fn enough_connections(path: &str, upstream: &Upstream, replicas: i32, findings: &mut Findings) {
    let maximum = limits(upstream.limits.as_ref()).max_connections;
    findings.require(
        upstream.provider == Provider::Capture || unsigned(replicas) <= maximum,
        "spec.replicas",
        format!("must not be more than {path}.limits.maxConnections ({maximum}): every gateway needs a connection of its own"),
    );
}

fn limits(given: Option<&upstream::UpstreamLimits>) -> UpstreamLimits {
    let defaults = UpstreamLimits::default();
    let Some(given) = given else { return defaults };
    UpstreamLimits {
        max_connections: given
            .max_connections
            .map_or(defaults.max_connections, unsigned),
        messages_per_connection: given
            .messages_per_connection
            .map_or(defaults.messages_per_connection, unsigned),
        connection_seconds: given
            .connection_seconds
            .map_or(defaults.connection_seconds, unsigned),
        recipients_per_message: given
            .recipients_per_message
            .map_or(defaults.recipients_per_message, unsigned),
        message_bytes: given.message_bytes.map_or(defaults.message_bytes, |bytes| {
            u64::try_from(bytes).unwrap_or_default()
        }),
    }
}

fn valid(path: &str, upstream: &Upstream, findings: &mut Findings) -> ValidUpstream {
    let senders = upstream.senders.as_ref().map(|senders| {
        patterns(
            senders,
            &format!("{path}.senders"),
            Accepts::Addresses,
            findings,
        )
    });
    let transport = upstream
        .endpoint
        .as_ref()
        .map_or(ValidTransport::Capture, |endpoint| {
            smtp(&format!("{path}.endpoint"), upstream, endpoint, findings)
        });
    ValidUpstream {
        name: upstream.name.clone(),
        senders,
        transport,
    }
}

fn smtp(
    path: &str,
    upstream: &Upstream,
    endpoint: &Endpoint,
    findings: &mut Findings,
) -> ValidTransport {
    host(&format!("{path}.host"), &endpoint.host, findings);
    let tls = endpoint.tls.as_ref();
    let server_name = tls.and_then(|tls| tls.server_name.clone());
    if let Some(name) = &server_name {
        host(&format!("{path}.tls.serverName"), name, findings);
    }
    let password = upstream
        .auth
        .as_ref()
        .and_then(|auth| auth.password.as_ref());
    ValidTransport::Smtp {
        host: endpoint.host.clone(),
        port: u16::try_from(endpoint.port).unwrap_or_default(),
        mode: mode(endpoint),
        server_name,
        ca: tls.and_then(|tls| tls.ca_ref.clone()),
        password: password.map(|password| Password {
            secret: password.secret_ref.name.clone(),
        }),
        limits: limits(upstream.limits.as_ref()),
    }
}

fn host(path: &str, host: &str, findings: &mut Findings) {
    let is_address = host.parse::<std::net::IpAddr>().is_ok();
    findings.require(
        is_address || is_domain_name(host),
        path,
        format!("must be a host name or an address, is {}", quoted(host)),
    );
}
