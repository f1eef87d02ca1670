//! Whether a MailRelay can be honoured, and what it says in the types of the gateway's document.
//!
//! Pure. Everything wrong is found at once, with field paths: the structure once more, the twins of the CEL rules,
//! what no schema can say, and what is not supported yet. What passes is a [`ValidRelay`], in which nothing needs to
//! be checked or parsed again.

mod clients;
mod coverage;
mod listeners;
mod reports;
mod routes;
mod upstreams;
mod workload;

use posthouse_api::MailRelay;
use posthouse_config::{
    document::{self, Anonymous, Limits, Reports, Retry, Route, Trace},
    pattern::{comparable_domain, is_domain_name},
};

use super::dereference::{self, ObjectKind};
use crate::{
    grant::Grant,
    input::DEFAULT_NAMESPACE,
    names,
    problem::{Findings, quoted},
    schema::Schema,
    unsupported,
};
pub use listeners::{CertificateSource, ValidListener};
pub(crate) use reports::report_to;
pub use upstreams::{Password, ValidTransport, ValidUpstream};
pub(crate) use workload::{annotations, labels};

/// For whom a MailRelay is validated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Gateways in a cluster.
    Cluster,
    /// One gateway on this machine, that trusts loopback: passwords may go without TLS where both ends are here.
    Local,
}

/// A MailRelay that can be honoured.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidRelay {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its `metadata.generation`; 0 where no API server has given one.
    pub generation: i64,
    /// In its comparable form.
    pub hostname: String,
    /// 1–32.
    pub replicas: u32,
    /// `clients.keyRotation`.
    pub key_rotation: u64,
    /// At least one.
    pub listeners: Vec<ValidListener>,
    /// Who may send without authenticating.
    pub anonymous: Option<Anonymous>,
    /// Who may have MailSenders.
    pub grants: Vec<Grant>,
    /// At least one.
    pub upstreams: Vec<ValidUpstream>,
    /// At least one: without `routes` all mail goes to the one upstream.
    pub routes: Vec<Route>,
    /// With every default.
    pub retry: Retry,
    /// With a sender, unless reports go to nobody.
    pub reports: Reports,
    /// With every default.
    pub limits: Limits,
    /// How much of the client goes into `Received`.
    pub trace: Trace,
}

/// Everything found in a MailRelay, and what it says if nothing makes it unusable.
pub fn validate(relay: &MailRelay, audience: Audience) -> (Findings, Option<ValidRelay>) {
    let mut findings = Findings::default();
    structure("MailRelay", relay, &mut findings);
    object_name(relay.metadata.name.as_deref(), &mut findings);
    let valid = assemble(relay, audience, &mut findings);
    if audience == Audience::Cluster {
        own_secrets(relay, &mut findings);
    }
    let is_valid = findings.problems.is_empty();
    (findings, is_valid.then_some(valid))
}

/// What we write beside a relay cannot be what a user refers to.
fn own_secrets(relay: &MailRelay, findings: &mut Findings) {
    let name = relay.metadata.name.as_deref().unwrap_or_default();
    let ours = [names::keys(name), names::issued(name)];
    for reference in dereference::references(relay) {
        findings.require(
            reference.kind != ObjectKind::Secret || !ours.contains(&reference.name),
            reference.path,
            format!(
                "must not be {}: the operator keeps a Secret of that name for this relay",
                quoted(&reference.name)
            ),
        );
    }
}

/// What the schema says, and what is not supported yet, of an object of ours.
pub(crate) fn structure<T: serde::Serialize>(kind: &str, object: &T, findings: &mut Findings) {
    let Ok(value) = serde_json::to_value(object) else {
        return;
    };
    if let Some(schema) = Schema::of(kind) {
        findings.extend(schema.problems(&value));
    }
    unsupported::refuse(kind, &value, findings);
}

/// The rule for names of both kinds: they become parts of Services, labels and user names.
pub(crate) fn object_name(name: Option<&str>, findings: &mut Findings) {
    let name = name.unwrap_or("");
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let holds = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() <= 40
        && name.chars().all(inner)
        && !name.ends_with('-');
    findings.require(
        holds,
        "",
        "metadata.name must begin with a letter and have at most 40 lower-case letters, digits and hyphens",
    );
}

fn assemble(relay: &MailRelay, audience: Audience, findings: &mut Findings) -> ValidRelay {
    let spec = &relay.spec;
    let listeners = listeners::validate(relay, audience, findings);
    let upstreams = upstreams::validate(spec, audience, findings);
    let routes = routes::validate(spec, &upstreams, findings);
    let hostname = hostname(&spec.hostname, findings);
    let reports = reports::validate(spec, &hostname, &upstreams, &routes, findings);
    let anonymous = clients::anonymous(spec, findings);
    let grants = clients::grants(spec, findings);
    coverage::warn(&grants, anonymous.as_ref(), &upstreams, &routes, findings);
    workload::validate(spec, findings);
    let metadata = &relay.metadata;
    ValidRelay {
        namespace: metadata
            .namespace
            .clone()
            .unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()),
        name: metadata.name.clone().unwrap_or_default(),
        generation: metadata.generation.unwrap_or_default(),
        replicas: unsigned(spec.replicas),
        key_rotation: u64::try_from(spec.clients.key_rotation).unwrap_or_default(),
        retry: retry(spec, findings),
        limits: limits(spec),
        trace: match spec.trace {
            Some(posthouse_api::mail_relay::Trace::Full) => Trace::Full,
            Some(posthouse_api::mail_relay::Trace::Minimal) | None => Trace::Minimal,
        },
        anonymous,
        grants,
        hostname,
        listeners,
        upstreams,
        routes,
        reports,
    }
}

fn hostname(text: &str, findings: &mut Findings) -> String {
    findings.require(
        is_domain_name(text) && text.contains('.'),
        "spec.hostname",
        format!(
            "must be a fully qualified name such as \"mail.example.com\", is {}",
            quoted(text)
        ),
    );
    comparable_domain(text)
}

fn retry(spec: &posthouse_api::MailRelaySpec, findings: &mut Findings) -> Retry {
    let defaults = Retry::default();
    let Some(given) = &spec.retry else {
        return defaults;
    };
    let initial_seconds = given
        .initial_seconds
        .map_or(defaults.initial_seconds, unsigned);
    let maximum_seconds = given
        .maximum_seconds
        .map_or(defaults.maximum_seconds.max(initial_seconds), unsigned);
    findings.require(
        maximum_seconds >= initial_seconds,
        "spec.retry.maximumSeconds",
        format!("must not be less than initialSeconds ({initial_seconds})"),
    );
    Retry {
        initial_seconds,
        maximum_seconds,
        expiry_seconds: given
            .expiry_seconds
            .map_or(defaults.expiry_seconds, unsigned),
        held_expiry_seconds: given
            .held_expiry_seconds
            .map_or(defaults.held_expiry_seconds, unsigned),
    }
}

fn limits(spec: &posthouse_api::MailRelaySpec) -> document::Limits {
    let defaults = document::Limits::default();
    let Some(given) = &spec.limits else {
        return defaults;
    };
    document::Limits {
        message_bytes: given.message_bytes.map_or(defaults.message_bytes, |bytes| {
            u64::try_from(bytes).unwrap_or_default()
        }),
        recipients_per_message: given
            .recipients_per_message
            .map_or(defaults.recipients_per_message, unsigned),
        sessions: given.sessions.map_or(defaults.sessions, unsigned),
    }
}

/// A label of RFC 1123, as every namespace's name is.
pub(crate) fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// A number whose bounds the schema has: what is negative has been refused already.
pub(crate) fn unsigned(number: i32) -> u32 {
    u32::try_from(number).unwrap_or_default()
}

#[cfg(test)]
mod tests;
