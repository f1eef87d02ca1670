//! The Secrets of a relay: its keys, which can be computed again at any time, and the certificate of its `selfSigned`
//! listeners, which cannot.
//!
//! Neither is ever read. What is in the certificate the gateways say: it is issued again when they miss it, when its
//! names are others, or when a third of its life is left.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use posthouse_config::Status;

use super::ReconcileError;
use crate::{
    certificate,
    context::{Context, RelayMemory},
    installation::Installation,
    mail_relay::{
        build::{self, Request, place},
        facts::{Facts, Heard},
    },
    secret::writer::Created,
};

/// A certificate is not issued again sooner: gateways need two minutes to read a new one.
const ISSUE_AGAIN: SignedDuration = SignedDuration::from_mins(10);

/// What the Secrets of a relay are made from.
pub(super) struct Secrets<'a> {
    pub(super) context: &'a Context,
    pub(super) facts: &'a Facts,
    pub(super) request: &'a Request<'a>,
    pub(super) installation: &'a Installation,
}

impl Secrets<'_> {
    /// Writes both. Nobody watches Secrets, so one that somebody deleted is not missed: running gateways keep the files
    /// they have. But a pod cannot begin without them, so they are put again once for each that has not begun.
    pub(super) async fn write(&self, memory: &mut RelayMemory) -> Result<(), ReconcileError> {
        let waiting = waiting(self.facts);
        let is_pod_new = !waiting.is_subset(&memory.supplied);
        self.keys(is_pod_new).await?;
        if build::wants_issued(self.request.valid) {
            self.certificate(is_pod_new, memory).await?;
        }
        memory.supplied = waiting;
        Ok(())
    }

    async fn keys(&self, is_pod_new: bool) -> Result<(), ReconcileError> {
        let namespace = &self.request.valid.namespace;
        let keys = build::keys_secret(self.request, &self.installation.master);
        let are_missed =
            reports(self.facts).any(|status| misses(status, |path| keys.data.contains_key(path)));
        if is_pod_new || are_missed {
            self.context.secrets.forget(namespace, &keys.name);
        }
        let living = || self.context.owners_of_secrets(namespace);
        Ok(self.context.secrets.keep(&keys, &living).await?)
    }

    async fn certificate(
        &self,
        is_pod_new: bool,
        memory: &mut RelayMemory,
    ) -> Result<(), ReconcileError> {
        let now = self.facts.now;
        let names = build::issued_names(self.request.valid, self.request.settings);
        let is_stale = reports(self.facts).any(|status| is_stale(status, &names, now));
        let may_again = memory
            .issued
            .is_none_or(|at| now.duration_since(at) >= ISSUE_AGAIN);
        let is_first = memory.issued.is_none() || is_pod_new;
        if !(is_first || (is_stale && may_again)) {
            return Ok(());
        }
        let authority = &self.installation.authority;
        let leaf = certificate::issue(authority, &names, now)?;
        let draft = build::issued_secret(self.request, &leaf, &authority.certificate);
        if is_stale && may_again {
            let namespace = &self.request.valid.namespace;
            let living = || self.context.owners_of_secrets(namespace);
            self.context.secrets.put(&draft, &living).await?;
            memory.issued = Some(now);
            return Ok(());
        }
        // The first of this process, or for this pod: one that is there serves.
        match self.context.secrets.create(&draft).await? {
            Created::Made => memory.issued = Some(now),
            Created::Exists => {
                memory.issued.get_or_insert(Timestamp::UNIX_EPOCH);
            }
        }
        Ok(())
    }
}

/// The pods that have not begun.
fn waiting(facts: &Facts) -> BTreeSet<String> {
    let has_begun = |pod: &Pod| {
        let status = pod.status.as_ref();
        let phase = status.and_then(|status| status.phase.as_deref());
        phase.is_some_and(|phase| phase != "Pending")
    };
    let pods = facts.children.pods.values();
    pods.filter(|pod| !has_begun(pod))
        .filter_map(|pod| pod.metadata.uid.clone())
        .collect()
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
