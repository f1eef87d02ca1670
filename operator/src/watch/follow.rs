//! One watch: its events go into a cache, and whom they concern is told.
//!
//! What vanished while nobody watched is found by comparing, and what we wrote ourselves is no news.

use std::{fmt::Debug, hash::Hash};

use futures::StreamExt;
use kube::{
    Api, Resource,
    runtime::{
        WatchStreamExt,
        reflector::{ObjectRef, store::Writer},
        watcher::{self, Event, watcher},
    },
};
use posthouse_api::MailSender;
use tracing::warn;

use super::{Watched, slim::slim};

/// Whether an object of an event is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It is.
    Present,
    /// It is not.
    Gone,
}

/// Follows a watch for ever. A watch that was interrupted begins with everything there is, and what vanished meanwhile
/// is found by comparing.
pub(super) async fn follow<K>(
    api: Api<K>,
    config: watcher::Config,
    mut writer: Writer<K>,
    differs: fn(&K, &K) -> bool,
    concerns: impl Fn(&K, Seen),
) where
    K: Watched,
    K::DynamicType: Default + Debug + Eq + Hash + Clone + Unpin + Send + Sync,
{
    let store = writer.as_reader();
    let mut events = std::pin::pin!(watcher(api, config).default_backoff());
    while let Some(event) = events.next().await {
        let mut event = match event {
            Ok(event) => event,
            Err(error) => {
                warn!(kind = %K::kind(&K::DynamicType::default()), %error, "watch interrupted");
                continue;
            }
        };
        slim(&mut event);
        // What vanished while nobody watched is known only as long as it is in the cache.
        let before = matches!(event, Event::InitDone).then(|| store.state());
        let former = match &event {
            Event::Apply(object) => store.get(&ObjectRef::from_obj(object)),
            _ => None,
        };
        writer.apply_watcher_event(&event);
        match &event {
            Event::Apply(object) => {
                if former.is_none_or(|former| differs(&former, object)) {
                    concerns(object, Seen::Present);
                }
            }
            Event::Delete(object) => concerns(object, Seen::Gone),
            Event::InitDone => {
                for object in before.iter().flatten() {
                    if store.get(&ObjectRef::from_obj(object.as_ref())).is_none() {
                        concerns(object, Seen::Gone);
                    }
                }
                for object in store.state() {
                    concerns(&object, Seen::Present);
                }
            }
            // Told about when all of them are in the cache.
            Event::Init | Event::InitApply(_) => {}
        }
    }
}

/// Whether an object differs in more than its status, which we write ourselves: a look for each of our own writes would
/// come back without end where one of them failed, and a sender's figures would be a look at its relay every minute.
pub(super) fn differs<K: Resource>(former: &K, object: &K) -> bool {
    let (former, object) = (former.meta(), object.meta());
    former.uid != object.uid
        || former.generation != object.generation
        || former.labels != object.labels
        || former.annotations != object.annotations
        || former.finalizers != object.finalizers
        || former.owner_references != object.owner_references
        || former.deletion_timestamp != object.deletion_timestamp
}

/// Of a sender's status the relay goes by the passwords that were handed out.
pub(super) fn sender_differs(former: &MailSender, object: &MailSender) -> bool {
    let credential = |sender: &MailSender| sender.status.as_ref()?.credential.clone();
    differs(former, object) || credential(former) != credential(object)
}

#[cfg(test)]
mod tests {
    use posthouse_config::yaml;
    use serde_json::{Value, json};

    use super::*;

    fn sender(change: &Value) -> MailSender {
        let text = "{ apiVersion: posthouse.dev/v1alpha1, kind: MailSender, \
                    metadata: { name: a, namespace: shop, uid: u1, generation: 1, resourceVersion: '1' }, \
                    spec: { relayRef: { name: outbound, namespace: mail }, from: [shop.example.com] }, \
                    status: { credential: { rotation: 1, keyRotation: 1 } } }";
        let mut object: Value = yaml::from_str(text).unwrap();
        crate::cases::merge(&mut object, change);
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn our_own_status_is_no_news() {
        let former = sender(&json!({}));
        for (change, expected) in [
            (json!({"metadata": {"resourceVersion": "2"}}), false),
            (json!({"status": {"observedGeneration": 1}}), false),
            (json!({"status": {"credential": {"rotation": 2}}}), true),
            (json!({"metadata": {"generation": 2}}), true),
            (json!({"metadata": {"uid": "u2"}}), true),
            (json!({"metadata": {"labels": {"a": "b"}}}), true),
            (json!({"metadata": {"annotations": {"a": "b"}}}), true),
            (json!({"metadata": {"finalizers": ["a/b"]}}), true),
            (
                json!({"metadata": {"deletionTimestamp": "2030-01-01T00:00:00Z"}}),
                true,
            ),
        ] {
            let object = sender(&change);
            assert_eq!(sender_differs(&former, &object), expected, "{change}");
        }
    }
}
