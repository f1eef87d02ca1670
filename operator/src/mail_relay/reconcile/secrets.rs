//! The Secrets of a relay: its keys, which can be computed again at any time, and the certificate of its `selfSigned`
//! listeners, which cannot.
//!
//! Neither is ever read. What is in the certificate the gateways say, and by which authority it is the ConfigMap beside
//! it: it is issued again when a gateway misses it, when its names or its authority are others, or when a third of its
//! life is left. A pod cannot start without either Secret, and says nothing then: so both are made sure of now and then.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ConfigMap, PodSpec};
use posthouse_config::Status;
use tracing::warn;

use super::ReconcileError;
use crate::{
    certificate::{self, Certified},
    context::{Context, Issued},
    installation::Installation,
    mail_relay::{
        build::{self, Request, place},
        facts::{Facts, Heard},
    },
    names,
    problem::chain,
    secret::writer::Created,
};

/// A certificate is not issued again sooner: gateways need two minutes to read a new one.
const ISSUE_AGAIN: SignedDuration = SignedDuration::from_mins(10);

/// Both Secrets are made sure of this often.
const ASK_AGAIN: SignedDuration = SignedDuration::from_hours(1);

/// And this often while a pod says nothing: it may be waiting for one of them.
const ASK_AGAIN_FOR_PODS: SignedDuration = SignedDuration::from_secs(20);

/// Writes both; the answer is what is to be remembered of the certificate, if that changed.
pub(super) async fn write(
    context: &Context,
    facts: &Facts,
    request: &Request<'_>,
    installation: &Installation,
    issued: Option<Issued>,
) -> Result<Option<Issued>, ReconcileError> {
    let namespace = &request.valid.namespace;
    let living = || context.owners_of_secrets(namespace);
    let issued = issued.unwrap_or_default();
    let is_due = is_due(facts, issued.asked);
    let keys = build::keys_secret(request, &installation.master);
    let is_missed =
        reports(facts).any(|status| misses(status, |path| keys.data.contains_key(path)));
    if is_missed || (is_due && has_mute_pod(facts)) {
        context.secrets.forget(namespace, &keys.name);
    }
    context.secrets.keep(&keys, &living).await?;
    if !build::wants_issued(request.valid) {
        return Ok(remove(context, facts, request, issued).await);
    }
    let names = build::issued_names(request.valid, request.settings);
    let authority = &installation.authority;
    let config_maps = &context.stores.config_maps;
    let beside = config_maps.find(namespace, &names::ca_config_map(&request.valid.name));
    let is_other = !is_of(authority, beside.as_deref());
    let Some(step) = step(facts, &names, is_other, issued) else {
        return Ok(None);
    };
    let leaf = certificate::issue(authority, &names, facts.now)?;
    let draft = build::issued_secret(request, &leaf, &authority.certificate);
    let made = match step {
        Step::Issue => {
            context.secrets.put(&draft, &living).await?;
            Some(facts.now)
        }
        Step::Ensure => match context.secrets.ensure(&draft, &living).await? {
            Created::Made => Some(facts.now),
            Created::Exists => issued.made,
        },
    };
    Ok(Some(Issued {
        made,
        asked: Some(facts.now),
        is_removed: false,
    }))
}

/// What is to be done about the certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Write another one, whatever is there.
    Issue,
    /// Write one where there is none.
    Ensure,
}

/// `is_other` says that the one that is there may be of another authority.
fn step(facts: &Facts, names: &[String], is_other: bool, issued: Issued) -> Option<Step> {
    let is_stale = is_other || reports(facts).any(|status| is_stale(status, names, facts.now));
    let may_again = issued
        .made
        .is_none_or(|at| facts.now.duration_since(at) >= ISSUE_AGAIN);
    if is_stale && may_again {
        return Some(Step::Issue);
    }
    is_due(facts, issued.asked).then_some(Step::Ensure)
}

/// No listener wants the certificate: it goes when no pod has it among its files, so that somebody else's may have its
/// name. One that cannot be deleted harms nobody, and is tried again.
async fn remove(
    context: &Context,
    facts: &Facts,
    request: &Request<'_>,
    issued: Issued,
) -> Option<Issued> {
    let name = names::issued(&request.valid.name);
    if issued.is_removed || is_mounted(facts, &name) {
        return None;
    }
    let nothing = Certified {
        certificate: String::new(),
        key: String::new(),
    };
    let draft = build::issued_secret(request, &nothing, "");
    match context.secrets.remove(&draft).await {
        Ok(()) => Some(Issued {
            is_removed: true,
            ..Issued::default()
        }),
        Err(error) => {
            let namespace = &request.valid.namespace;
            warn!(
                namespace,
                name,
                error = chain(&error),
                "a Secret that nobody needs stays"
            );
            None
        }
    }
}

/// Whether a pod of the relay, or one that will be made, has a Secret among its files.
fn is_mounted(facts: &Facts, secret: &str) -> bool {
    let children = &facts.children;
    let pods = children.pods.values().filter_map(|pod| pod.spec.as_ref());
    let set = children.stateful_set.as_ref();
    let template = set.and_then(|set| set.spec.as_ref()?.template.spec.as_ref());
    pods.chain(template).any(|spec| mounts(spec, secret))
}

fn mounts(spec: &PodSpec, secret: &str) -> bool {
    let projected = spec
        .volumes
        .iter()
        .flatten()
        .filter_map(|volume| volume.projected.as_ref());
    projected
        .flat_map(|projected| projected.sources.iter().flatten())
        .filter_map(|source| source.secret.as_ref())
        .any(|source| source.name == secret)
}

/// Whether it is time to make sure of both Secrets.
fn is_due(facts: &Facts, asked: Option<Timestamp>) -> bool {
    let again = if has_mute_pod(facts) {
        ASK_AGAIN_FOR_PODS
    } else {
        ASK_AGAIN
    };
    asked.is_none_or(|asked| facts.now.duration_since(asked) >= again)
}

/// Whether a pod says nothing: one that lacks a Secret never starts, so it cannot say so.
fn has_mute_pod(facts: &Facts) -> bool {
    let is_mute = |pod| facts.gateways.get(pod).and_then(Heard::report).is_none();
    facts.children.pods.keys().any(is_mute)
}

/// Whether the certificate was issued by this authority. That is published only after the certificate was written, and
/// so tells by whom without anybody reading it.
fn is_of(authority: &Certified, published: Option<&ConfigMap>) -> bool {
    let data = published.and_then(|map| map.data.as_ref());
    data.and_then(|data| data.get(names::CA_KEY)) == Some(&authority.certificate)
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

#[cfg(test)]
mod tests;
