//! `ResolvedRefs`: whether what the MailRelay refers to is there, as its gateways see it.
//!
//! The operator reads no Secret of a user, so it can only say which *files* a gateway misses. A file stands for one
//! key of one object: all keys of a Secret missing reads as no Secret. Only pods of the current revision count, since
//! older ones have no volume for a new reference.
//!
//! A file may be late, not missing: the kubelet fills a volume from each object's own cache, about once a minute. It is
//! `Pending` until its pod has run for three minutes, and until the condition has been Unknown for three minutes; a
//! condition that is False already stays so. Files that are there and unusable are not late.

mod files;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;

use super::{
    Observed,
    gateways::Gateway,
    reason::{Reason, Verdict},
};
use crate::{
    condition::{self, ConditionStatus},
    mail_relay::dereference::ObjectKind,
};
use files::File;

/// For how long a file may be late.
const LATE: SignedDuration = SignedDuration::from_mins(3);

pub(super) fn resolved_refs(observed: &Observed, gateways: &[Gateway]) -> Verdict {
    let Some(valid) = observed.valid else {
        return Verdict::unknown(Reason::Pending, "waits for a valid spec");
    };
    let current: Vec<_> = gateways
        .iter()
        .filter(|gateway| gateway.is_current)
        .filter_map(|gateway| Some((gateway, gateway.report()?)))
        .collect();
    if current.is_empty() {
        return Verdict::unknown(
            Reason::Pending,
            "no gateway of the current revision has reported yet",
        );
    }
    let files = files::of_user(&observed.facts.relay, valid);
    let mut late: BTreeSet<String> = BTreeSet::new();
    let mut missing = BTreeSet::new();
    let mut unusable = BTreeMap::new();
    for (gateway, report) in current {
        let pods_files = &report.status.files;
        if gateway
            .pod
            .is_some_and(|pod| is_young(pod, observed.facts.now))
        {
            late.extend(pods_files.missing.iter().cloned());
        } else {
            missing.extend(pods_files.missing.iter().cloned());
        }
        unusable.extend(pods_files.invalid.iter().filter_map(|text| named(text)));
    }
    // What a gateway misses it cannot use either, and says both.
    unusable.retain(|path, _| !missing.contains(path) && !late.contains(path));
    let is_due = !missing.is_empty() && is_due(observed);
    if !is_due {
        late.append(&mut missing);
    }
    let mut found = Found::default();
    found.missing(&files, &missing);
    found.unusable(&files, &unusable);
    found.verdict(&files, &late)
}

/// What is wrong, for people, by reason.
#[derive(Default)]
struct Found {
    problems: BTreeMap<Reason, Vec<String>>,
}

impl Found {
    fn missing(&mut self, files: &[File], missing: &BTreeSet<String>) {
        let objects: BTreeSet<_> = files
            .iter()
            .filter(|file| missing.contains(&file.path))
            .map(|file| (file.kind, file.object.as_str()))
            .collect();
        for (kind, object) in objects {
            let of_object: Vec<_> = files
                .iter()
                .filter(|file| (file.kind, file.object.as_str()) == (kind, object))
                .collect();
            let (gone, there): (Vec<&File>, Vec<&File>) = of_object
                .into_iter()
                .partition(|file| missing.contains(&file.path));
            let reason = match kind {
                ObjectKind::ConfigMap => Reason::ConfigMapNotFound,
                ObjectKind::Secret if there.is_empty() => Reason::SecretNotFound,
                ObjectKind::Secret => Reason::SecretKeyMissing,
            };
            let fields = listed(gone.iter().map(|file| file.field.as_str()));
            let keys = listed(gone.iter().map(|file| file.key.as_str()));
            let kind = kind.as_str();
            let what = if there.is_empty() {
                format!("{kind} {object:?}, or each of its keys {keys}, is not there")
            } else {
                format!("{kind} {object:?} lacks {keys}")
            };
            self.add(reason, format!("{fields}: {what}"));
        }
    }

    fn unusable(&mut self, files: &[File], unusable: &BTreeMap<String, String>) {
        for file in files {
            let Some(why) = unusable.get(&file.path) else {
                continue;
            };
            let reason = if file.is_certificate {
                Reason::InvalidCertificate
            } else {
                Reason::SecretKeyMissing
            };
            let (kind, object, key) = (file.kind.as_str(), &file.object, &file.key);
            let text = format!("{}: key {key} of {kind} {object:?}: {why}", file.field);
            self.add(reason, text);
        }
    }

    fn add(&mut self, reason: Reason, problem: String) {
        self.problems.entry(reason).or_default().push(problem);
    }

    /// The first reason, and all problems. Files that are none of the user's objects are not looked at: those are
    /// ours to write.
    fn verdict(self, files: &[File], late: &BTreeSet<String>) -> Verdict {
        if let Some(&reason) = self.problems.keys().next() {
            let all: Vec<_> = self.problems.into_values().flatten().collect();
            return Verdict::fails(reason, all.join("; "));
        }
        let awaited: Vec<_> = files
            .iter()
            .filter(|file| late.contains(&file.path))
            .map(|file| {
                let (kind, object) = (file.kind.as_str(), &file.object);
                format!("key {} of {kind} {object:?}", file.key)
            })
            .collect();
        if awaited.is_empty() {
            Verdict::holds(Reason::ResolvedRefs, "everything referred to is there")
        } else {
            let text = format!("gateways wait for {}", awaited.join(", "));
            Verdict::unknown(Reason::Pending, text)
        }
    }
}

/// Whether the condition has waited long enough for what is missing.
fn is_due(observed: &Observed) -> bool {
    let before = observed
        .facts
        .relay
        .status
        .as_ref()
        .and_then(|status| condition::find(&status.conditions, condition::RESOLVED_REFS));
    before.is_some_and(|before| {
        let waited = observed
            .facts
            .now
            .duration_since(before.last_transition_time.0);
        before.status == ConditionStatus::False.as_str()
            || (before.status == ConditionStatus::Unknown.as_str() && waited >= LATE)
    })
}

/// Whether a pod's volume may still be filled for the first time. Its container starts after its image is pulled, and
/// the volume is looked after from then on; a container that was restarted says nothing about the volume.
fn is_young(pod: &Pod, now: Timestamp) -> bool {
    let Some(status) = &pod.status else {
        return true;
    };
    let first_start = status
        .container_statuses
        .iter()
        .flatten()
        .filter(|container| container.restart_count == 0)
        .filter_map(|container| {
            container
                .state
                .as_ref()?
                .running
                .as_ref()?
                .started_at
                .as_ref()
        });
    let started = first_start.chain(&status.start_time).map(|time| time.0);
    started
        .max()
        .is_none_or(|started| now.duration_since(started) < LATE)
}

/// The path at the beginning of a text such as `tls/plain/tls.crt cannot be used: …`, and the rest.
fn named(text: &str) -> Option<(String, String)> {
    let (path, rest) = text.split_once([' ', ':'])?;
    Some((path.to_owned(), rest.trim().to_owned()))
}

fn listed<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let words: BTreeSet<_> = words.collect();
    words.into_iter().collect::<Vec<_>>().join(", ")
}
