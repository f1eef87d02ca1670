//! What this process applied, and how the API server answered: what makes a second apply of the same needless.
//!
//! Lost with the process, and then everything is applied once more, which changes nothing. An object counts as untouched
//! while its resourceVersion is the one that was answered. Controllers write into the status of some kinds all the time;
//! of a kind that has a generation it is enough that generation, labels, annotations and owners stayed.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aws_lc_rs::digest;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;
use tokio::time::Instant;

use super::{Live, wire::Place};

/// How long an apply is believed of an object that nobody watches.
const BELIEVED: Duration = Duration::from_hours(1);

/// SHA-256.
pub(super) type Digest = Vec<u8>;

/// The digest of an object, its resourceVersion left out: that is a precondition and no content.
pub(super) fn digest(object: &Value) -> Digest {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("resourceVersion");
    }
    digest::digest(&digest::SHA256, object.to_string().as_bytes())
        .as_ref()
        .to_vec()
}

/// Everything that was applied and is still of use.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<HashMap<Key, Entry>>);

#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    /// With its group.
    kind: String,
    namespace: String,
    name: String,
}

impl From<Place<'_>> for Key {
    fn from(place: Place<'_>) -> Self {
        Self {
            kind: format!("{}/{}", place.resource.group, place.resource.kind),
            namespace: place.namespace.to_owned(),
            name: place.name.to_owned(),
        }
    }
}

#[derive(Debug)]
struct Entry {
    relay: String,
    known: Known,
}

#[derive(Debug)]
enum Known {
    /// It is not there, or not ours.
    Absent,
    /// It was applied.
    Applied {
        digest: Digest,
        answer: Box<ObjectMeta>,
        at: Instant,
    },
}

impl Memory {
    /// The object's metadata, if it was applied with this digest and nobody touched it since, as far as that is known.
    pub(super) fn settled(
        &self,
        place: Place<'_>,
        digest: &Digest,
        live: Live<'_>,
    ) -> Option<ObjectMeta> {
        let entries = self.entries();
        let Known::Applied {
            digest: applied,
            answer,
            at,
        } = &entries.get(&place.into())?.known
        else {
            return None;
        };
        let settled = match live {
            Live::Watched(live) => live.filter(|live| is_untouched(answer, live))?,
            Live::Unwatched if at.elapsed() < BELIEVED => answer,
            Live::Unwatched => return None,
        };
        (applied == digest).then(|| settled.clone())
    }

    /// Whether the object was not there, or not ours, when it was last looked for.
    pub(super) fn is_absent(&self, place: Place<'_>) -> bool {
        let entries = self.entries();
        let entry = entries.get(&place.into());
        entry.is_some_and(|entry| matches!(entry.known, Known::Absent))
    }

    pub(super) fn remember(
        &self,
        place: Place<'_>,
        relay: &str,
        digest: Digest,
        mut answer: ObjectMeta,
    ) {
        // Larger than all the rest of it, and compared with nothing.
        answer.managed_fields = None;
        let applied = Known::Applied {
            digest,
            answer: Box::new(answer),
            at: Instant::now(),
        };
        self.insert(place, relay, applied);
    }

    pub(super) fn remember_absence(&self, place: Place<'_>, relay: &str) {
        self.insert(place, relay, Known::Absent);
    }

    pub(super) fn forget(&self, namespace: &str, relay: &str) {
        self.entries()
            .retain(|key, entry| key.namespace != namespace || entry.relay != relay);
    }

    fn insert(&self, place: Place<'_>, relay: &str, known: Known) {
        let relay = relay.to_owned();
        self.entries().insert(place.into(), Entry { relay, known });
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_untouched(answer: &ObjectMeta, live: &ObjectMeta) -> bool {
    let is_same_spec = answer.generation.is_some()
        && answer.generation == live.generation
        && answer.labels == live.labels
        && answer.annotations == live.annotations
        && answer.owner_references == live.owner_references
        && answer.finalizers == live.finalizers;
    answer.uid.is_some()
        && answer.uid == live.uid
        && (answer.resource_version == live.resource_version || is_same_spec)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn meta(value: Value) -> ObjectMeta {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_precondition_is_no_content() {
        let object = json!({"metadata": {"name": "a", "resourceVersion": "7"}, "data": {"k": "v"}});
        let later = json!({"metadata": {"name": "a", "resourceVersion": "8"}, "data": {"k": "v"}});
        let other = json!({"metadata": {"name": "a", "resourceVersion": "7"}, "data": {"k": "w"}});
        assert_eq!(digest(&object), digest(&later));
        assert_ne!(digest(&object), digest(&other));
    }

    #[test]
    fn status_alone_does_not_touch_a_kind_with_a_generation() {
        let answer = meta(
            json!({"uid": "u", "resourceVersion": "7", "generation": 2, "labels": {"a": "b"}}),
        );
        for (live, expected) in [
            (
                json!({"uid": "u", "resourceVersion": "9", "generation": 2, "labels": {"a": "b"}}),
                true,
            ),
            (
                json!({"uid": "u", "resourceVersion": "9", "generation": 3, "labels": {"a": "b"}}),
                false,
            ),
            (
                json!({"uid": "u", "resourceVersion": "9", "generation": 2, "labels": {"a": "c"}}),
                false,
            ),
            (
                json!({"uid": "v", "resourceVersion": "7", "generation": 2, "labels": {"a": "b"}}),
                false,
            ),
        ] {
            assert_eq!(
                is_untouched(&answer, &meta(live.clone())),
                expected,
                "{live}"
            );
        }
        // ConfigMaps have no generation.
        let answer = meta(json!({"uid": "u", "resourceVersion": "7"}));
        let same = meta(json!({"uid": "u", "resourceVersion": "7"}));
        let later = meta(json!({"uid": "u", "resourceVersion": "8"}));
        assert!(is_untouched(&answer, &same) && !is_untouched(&answer, &later));
    }
}
