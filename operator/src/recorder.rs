//! Publishes Events for people: `kubectl describe` shows them, and they go after an hour.
//!
//! An Event is a courtesy. Publishing it is bounded, a failure is one line in the log, and nothing waits for it or fails
//! by it. What must not be lost is a condition.
//!
//! The same words about the same object are published once in six minutes. kube's recorder would count them up as a
//! series, but it goes by reason and action alone: of two volumes with mail on them only the first would be named. So
//! each Event has a recorder of its own, which has nothing to count.
//!
//! Rights: `create` on `events` of `events.k8s.io`.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client, Resource,
    runtime::events::{Event, EventType, Recorder as Publisher, Reporter},
};
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

use crate::{condition::clipped, labels, mail_relay::plan::Notice};

/// How long one Event may take.
const CALL: Duration = Duration::from_secs(5);

/// How many Events of one reconcile are published; the rest is logged.
const AT_ONCE: usize = 16;

/// The most octets of a note, and of reason and action (`events.k8s.io`).
const NOTE_OCTETS: usize = 1_024;

/// See [`NOTE_OCTETS`].
const WORD_OCTETS: usize = 128;

/// For how long the same words are not said again: as long as kube counts a series.
const QUIET: Duration = Duration::from_mins(6);

/// How many Events are remembered; with more, the oldest may be said again.
const REMEMBERED: usize = 1_024;

/// Publishes Events in the operator's name.
#[derive(Clone)]
pub struct Recorder {
    client: Client,
    reporter: Reporter,
    said: Arc<Mutex<VecDeque<(Instant, ObjectReference, Notice)>>>,
}

impl Recorder {
    /// A recorder; `instance` is the operator's pod.
    pub fn new(client: Client, instance: impl Into<String>) -> Self {
        let reporter = Reporter {
            controller: labels::MANAGER.to_owned(),
            instance: Some(instance.into()),
        };
        Self {
            client,
            reporter,
            said: Arc::default(),
        }
    }

    /// Tells of an object. Ends within 80 seconds whatever happens, mostly at once; to be spawned where that matters.
    pub async fn publish<K>(&self, object: &K, notices: Vec<Notice>)
    where
        K: Resource<DynamicType = ()>,
    {
        let reference = object.object_ref(&());
        let mut published = 0;
        for notice in notices {
            if !self.is_new(&reference, &notice) {
                continue;
            }
            published += 1;
            if published <= AT_ONCE {
                self.one(&reference, notice).await;
            } else {
                let (reason, note) = (notice.reason, notice.note);
                warn!(object = reference.name, reason, note, "one event too many");
            }
        }
    }

    /// Whether this was not said lately; from now on it was.
    fn is_new(&self, reference: &ObjectReference, notice: &Notice) -> bool {
        let now = Instant::now();
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.retain(|(at, ..)| now.duration_since(*at) < QUIET);
        if said
            .iter()
            .any(|(_, about, words)| about.uid == reference.uid && words == notice)
        {
            return false;
        }
        if said.len() >= REMEMBERED {
            said.pop_front();
        }
        said.push_back((now, reference.clone(), notice.clone()));
        true
    }

    async fn one(&self, reference: &ObjectReference, notice: Notice) {
        let event = event(notice);
        let publisher = Publisher::new(self.client.clone(), self.reporter.clone());
        debug!(object = reference.name, reason = event.reason, "event");
        match timeout(CALL, publisher.publish(&event, reference)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                warn!(object = reference.name, reason = event.reason, %error, "event not published");
            }
            Err(_) => {
                warn!(
                    object = reference.name,
                    reason = event.reason,
                    "event not published: no answer"
                );
            }
        }
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

fn event(notice: Notice) -> Event {
    Event {
        type_: if notice.is_warning {
            EventType::Warning
        } else {
            EventType::Normal
        },
        reason: clipped(notice.reason, WORD_OCTETS),
        note: Some(clipped(notice.note, NOTE_OCTETS)),
        action: clipped(notice.action, WORD_OCTETS),
        secondary: None,
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use http::{Request, Response};
    use http_body_util::BodyExt;
    use kube::client::Body;
    use posthouse_api::MailRelay;
    use serde_json::{Value, json};
    use tokio::{sync::mpsc, time::Instant};
    use tower_test::mock;

    use super::*;

    /// What an API server was sent; it answers with a code, or never.
    fn api_server(code: Option<u16>) -> (Client, mpsc::UnboundedReceiver<(String, Value)>) {
        let (service, handle) = mock::pair::<Request<Body>, Response<Body>>();
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut handle = pin!(handle);
            let mut unanswered = Vec::new();
            while let Some((request, send)) = handle.next_request().await {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let body: Value = serde_json::from_slice(&body).unwrap();
                sender
                    .send((
                        format!("{} {}", parts.method, parts.uri.path()),
                        body.clone(),
                    ))
                    .unwrap();
                let Some(code) = code else {
                    unanswered.push(send);
                    continue;
                };
                let answer = if code == 201 {
                    body
                } else {
                    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "", "reason": "Forbidden", "code": code })
                };
                let mut response = Response::new(Body::from(answer.to_string().into_bytes()));
                *response.status_mut() = code.try_into().unwrap();
                send.send_response(response);
            }
        });
        (Client::new(service, "default"), receiver)
    }

    fn relay() -> MailRelay {
        serde_json::from_value(json!({
            "apiVersion": "posthouse.dev/v1alpha1", "kind": "MailRelay",
            "metadata": { "name": "outbound", "namespace": "mail-system", "uid": "u" },
            "spec": { "hostname": "mail.example.com", "upstreams": [] },
        }))
        .unwrap()
    }

    fn notice(reason: &str) -> Notice {
        Notice {
            is_warning: true,
            reason: reason.to_owned(),
            action: "Relay".to_owned(),
            note: "ä".repeat(1_000),
        }
    }

    #[tokio::test]
    async fn an_event_is_about_the_relay_and_fits() {
        let (client, mut sent) = api_server(Some(201));
        let recorder = Recorder::new(client, "posthouse-operator-0");
        let refused = || vec![notice("Refused")];
        recorder.publish(&relay(), refused()).await;
        let (line, body) = sent.recv().await.unwrap();
        assert_eq!(
            line,
            "POST /apis/events.k8s.io/v1/namespaces/mail-system/events"
        );
        assert_eq!(body["type"], "Warning");
        assert_eq!(body["reason"], "Refused");
        assert_eq!(body["action"], "Relay");
        assert!(body["note"].as_str().unwrap().len() <= 1_024);
        assert_eq!(body["reportingController"], "posthouse-operator");
        assert_eq!(body["regarding"]["kind"], "MailRelay");
        assert_eq!(body["regarding"]["uid"], "u");
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_words_are_said_once_others_each() {
        let (client, mut sent) = api_server(Some(201));
        let recorder = Recorder::new(client, "posthouse-operator-0");
        let volume = |n: u32| Notice {
            note: format!("volume {n} has mail"),
            ..notice("MailLeft")
        };
        let mut count = async |notices| {
            recorder.publish(&relay(), notices).await;
            std::iter::from_fn(|| sent.try_recv().ok()).count()
        };
        assert_eq!(count(vec![volume(1), volume(2), volume(1)]).await, 2);
        assert_eq!(count(vec![volume(2), volume(3)]).await, 1);
        tokio::time::advance(QUIET).await;
        assert_eq!(count(vec![volume(2)]).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn neither_a_refusal_nor_silence_nor_a_flood_stops_anything() {
        for code in [Some(403), None] {
            let (client, mut sent) = api_server(code);
            let recorder = Recorder::new(client, "posthouse-operator-0");
            let notices = (0..20).map(|n| notice(&format!("Reason{n}"))).collect();
            let before = Instant::now();
            recorder.publish(&relay(), notices).await;
            assert!(
                before.elapsed() <= Duration::from_secs(80),
                "{:?}",
                before.elapsed()
            );
            let mut count = 0;
            while sent.try_recv().is_ok() {
                count += 1;
            }
            assert_eq!(count, AT_ONCE);
        }
    }
}
