//! The Secrets of a relay: its keys, which can be computed again at any time, and the certificate of its `selfSigned`
//! listeners, which cannot.
//!
//! Neither is ever read. What is in the certificate the gateways say: it is issued again when they miss it, when its
//! names are others, or when a third of its life is left.

use jiff::{SignedDuration, Timestamp};
use posthouse_config::Status;

use super::ReconcileError;
use crate::{
    certificate,
    context::Context,
    installation::Installation,
    mail_relay::{
        build::{self, Request, place},
        facts::{Facts, Heard},
    },
    secret::writer::Created,
};

/// A certificate is not issued again sooner: gateways need two minutes to read a new one.
const ISSUE_AGAIN: SignedDuration = SignedDuration::from_mins(10);

/// Writes both; the answer is when a certificate was issued, if one was.
pub(super) async fn write(
    context: &Context,
    facts: &Facts,
    request: &Request<'_>,
    installation: &Installation,
    issued: Option<Timestamp>,
) -> Result<Option<Timestamp>, ReconcileError> {
    let namespace = &request.valid.namespace;
    let living = || context.owners_of_secrets(namespace);
    let keys = build::keys_secret(request, &installation.master);
    if reports(facts).any(|status| misses(status, |path| keys.data.contains_key(path))) {
        context.secrets.forget(namespace, &keys.name);
    }
    context.secrets.keep(&keys, &living).await?;
    if !build::wants_issued(request.valid) {
        return Ok(None);
    }
    let names = build::issued_names(request.valid, request.settings);
    let is_first = issued.is_none();
    let is_stale = reports(facts).any(|status| is_stale(status, &names, facts.now));
    let may_again = issued.is_none_or(|at| facts.now.duration_since(at) >= ISSUE_AGAIN);
    if !(is_first || (is_stale && may_again)) {
        return Ok(None);
    }
    let leaf = certificate::issue(&installation.authority, &names, facts.now)?;
    let draft = build::issued_secret(request, &leaf, &installation.authority.certificate);
    if is_stale {
        context.secrets.put(&draft, &living).await?;
        return Ok(Some(facts.now));
    }
    // The first of this process: one that is there serves.
    match context.secrets.create(&draft).await? {
        Created::Made => Ok(Some(facts.now)),
        Created::Exists => Ok(Some(Timestamp::UNIX_EPOCH)),
    }
}

fn reports(facts: &Facts) -> impl Iterator<Item = &Status> {
    let heard = facts.gateways.values().filter_map(Heard::report);
    heard.map(|report| &report.status)
}

fn misses(status: &Status, is: impl Fn(&str) -> bool) -> bool {
    status.files.missing.iter().any(|path| is(path))
}

/// Whether a gateway has no good certificate of ours.
fn is_stale(status: &Status, names: &[String], now: Timestamp) -> bool {
    let is_ours = |path: &str| path == place::ISSUED_CERTIFICATE || path == place::ISSUED_KEY;
    let serves =
        |certificate: &&posthouse_config::status::CertificateStatus| is_ours(&certificate.path);
    misses(status, is_ours)
        || status
            .certificates
            .iter()
            .filter(serves)
            .any(|certificate| {
                let has_names = names.iter().all(|name| certificate.names.contains(name));
                let ends = certificate.not_after.parse::<Timestamp>();
                !has_names || ends.is_ok_and(|ends| certificate::is_due(ends.as_second(), now))
            })
}
