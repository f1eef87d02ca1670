//! Two operators and an API server that compares and swaps; time is paused, so nothing here waits.

use std::{
    pin::pin,
    sync::{Arc, Mutex},
};

use http::{Method, Request, Response};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tower_test::mock;

use super::*;

/// The one Lease, and what was done to it.
#[derive(Default)]
struct Store {
    object: Option<Value>,
    version: u64,
    /// `POST a 201`, `PUT b 409`: method, who asked, code.
    log: Vec<String>,
}

impl Store {
    fn answer(&mut self, who: &str, method: &Method, body: Value) -> (u16, Value) {
        let (code, answer) = match (method, self.object.clone()) {
            (&Method::GET, Some(object)) => (200, object),
            (&Method::GET | &Method::PUT, None) => (404, failure(404, "NotFound")),
            (&Method::POST, Some(_)) => (409, failure(409, "AlreadyExists")),
            (&Method::POST, None) => (201, self.store(body)),
            (&Method::PUT, Some(object)) => {
                let versions =
                    [&body, &object].map(|object| object["metadata"]["resourceVersion"].clone());
                if versions[0] == versions[1] {
                    (200, self.store(body))
                } else {
                    (409, failure(409, "Conflict"))
                }
            }
            _ => panic!("{method}"),
        };
        if method != Method::GET {
            self.log.push(format!("{method} {who} {code}"));
        }
        (code, answer)
    }

    fn store(&mut self, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.object = Some(object.clone());
        object
    }

    fn holder(&self) -> String {
        let object = self.object.as_ref().unwrap();
        object["spec"]["holderIdentity"]
            .as_str()
            .unwrap()
            .to_owned()
    }
}

fn failure(code: u16, reason: &str) -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "", "reason": reason, "code": code })
}

/// What the way to the API server does to one operator's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Open,
    /// No answer, and nothing was done.
    Hangs,
    /// Writes are done, and the answer is lost.
    LosesAnswers,
    /// 503.
    Busy,
}

#[derive(Clone)]
struct Operator {
    store: Arc<Mutex<Store>>,
    way: Arc<Mutex<Way>>,
    name: &'static str,
}

impl Operator {
    fn of(store: &Arc<Mutex<Store>>, name: &'static str) -> Self {
        Self {
            store: Arc::clone(store),
            way: Arc::new(Mutex::new(Way::Open)),
            name,
        }
    }

    fn goes(&self, way: Way) {
        *self.way.lock().unwrap() = way;
    }

    fn lease(&self) -> Lease {
        let (service, handle) = mock::pair::<Request<Body>, Response<Body>>();
        let this = self.clone();
        tokio::spawn(async move {
            let mut handle = pin!(handle);
            let mut unanswered = Vec::new();
            while let Some((request, send)) = handle.next_request().await {
                let way = *this.way.lock().unwrap();
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
                let is_write = parts.method != Method::GET;
                let (code, answer) = match way {
                    Way::Hangs => {
                        unanswered.push(send);
                        continue;
                    }
                    Way::Busy => (503, failure(503, "ServiceUnavailable")),
                    Way::Open | Way::LosesAnswers => {
                        let mut store = this.store.lock().unwrap();
                        store.answer(this.name, &parts.method, body)
                    }
                };
                if way == Way::LosesAnswers && is_write {
                    unanswered.push(send);
                    continue;
                }
                let mut response = Response::new(Body::from(answer.to_string().into_bytes()));
                *response.status_mut() = code.try_into().unwrap();
                send.send_response(response);
            }
        });
        Lease::new(
            Client::new(service, "default"),
            "posthouse-system",
            "posthouse-operator",
            self.name,
        )
    }

    /// Acquires, and renews until it is lost; the handle resolves to when that was.
    fn lead(&self) -> JoinHandle<Instant> {
        let mut lease = self.lease();
        tokio::spawn(async move {
            lease.acquire().await;
            lease.lost().await;
            Instant::now()
        })
    }
}

fn store() -> Arc<Mutex<Store>> {
    Arc::default()
}

async fn seconds(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn the_first_acts_and_the_second_waits_for_as_long_as_it_renews() {
    let store = store();
    let mut first = Operator::of(&store, "a").lease();
    first.acquire().await;
    let second = Operator::of(&store, "b").lead();
    {
        let lost = first.lost();
        assert!(
            timeout(Duration::from_hours(1), lost).await.is_err(),
            "it is renewed for an hour"
        );
    }
    assert!(!second.is_finished());
    let store = store.lock().unwrap();
    assert_eq!(store.holder(), "a");
    assert!(store.version > 300, "{}", store.version);
    assert!(
        store.log.iter().all(|line| !line.contains(" b ")),
        "{:?}",
        store.log
    );
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_dropped_and_begun_again_renews_all_the_same() {
    let store = store();
    let mut lease = Operator::of(&store, "a").lease();
    lease.acquire().await;
    for _ in 0..100 {
        let lost = lease.lost();
        assert!(timeout(Duration::from_secs(3), lost).await.is_err());
    }
    let writes = store.lock().unwrap().version;
    assert!((20..=31).contains(&writes), "{writes}");
}

#[tokio::test(start_paused = true)]
async fn of_two_that_ask_at_once_one_gets_it() {
    let store = store();
    let (a, b) = (Operator::of(&store, "a"), Operator::of(&store, "b"));
    // Both read "no record" before either writes.
    let (mut first, mut second) = (a.lease(), b.lease());
    let (none, also_none) = (first.read().await.unwrap(), second.read().await.unwrap());
    assert!(none.is_none() && also_none.is_none());
    first.write(none, "a").await.unwrap();
    assert!(matches!(
        second.write(also_none, "b").await,
        Err(LeaseError::Raced)
    ));
    // Both read the same version.
    let (one, same) = (first.read().await.unwrap(), second.read().await.unwrap());
    second.write(same, "b").await.unwrap();
    assert!(matches!(
        first.write(one, "a").await,
        Err(LeaseError::Raced)
    ));
    first.round().await;
    second.round().await;
    assert!(matches!(first.state, State::Candidate { .. }));
    assert!(matches!(second.state, State::Leader { .. }));
    assert_eq!(
        store.lock().unwrap().log,
        [
            "POST a 201",
            "POST b 409",
            "PUT b 200",
            "PUT a 409",
            "PUT b 200"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_renew_stops_before_another_starts() {
    for way in [Way::Hangs, Way::Busy] {
        let store = store();
        let first = Operator::of(&store, "a");
        let leading = first.lead();
        seconds(25).await;
        let mut second = Operator::of(&store, "b").lease();
        first.goes(way);
        let cut = Instant::now();
        second.acquire().await;
        let taken = Instant::now();
        assert!(leading.is_finished(), "{way:?}");
        let stopped = leading.await.unwrap();
        assert!(
            taken - stopped >= Duration::from_secs(15),
            "{way:?}: {:?}",
            taken - stopped
        );
        // It renewed at most ten seconds before.
        assert!(
            stopped - cut <= Duration::from_secs(45),
            "{way:?}: {:?}",
            stopped - cut
        );
        assert!(
            taken - cut <= Duration::from_secs(80),
            "{way:?}: {:?}",
            taken - cut
        );
        assert_eq!(store.lock().unwrap().holder(), "b");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_shorter_than_the_deadline_costs_nothing() {
    let store = store();
    let first = Operator::of(&store, "a");
    let leading = first.lead();
    let second = Operator::of(&store, "b").lead();
    for _ in 0..5 {
        seconds(60).await;
        first.goes(Way::Hangs);
        seconds(20).await;
        first.goes(Way::Open);
    }
    seconds(60).await;
    assert!(!leading.is_finished() && !second.is_finished());
    assert_eq!(store.lock().unwrap().holder(), "a");
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_our_own_write_is_recognised() {
    let store = store();
    let operator = Operator::of(&store, "a");
    operator.goes(Way::LosesAnswers);
    let mut lease = operator.lease();
    assert!(
        timeout(Duration::from_secs(12), lease.acquire())
            .await
            .is_err()
    );
    assert_eq!(store.lock().unwrap().holder(), "a", "it was done");
    assert!(
        matches!(lease.state, State::Candidate { .. }),
        "and must not be believed"
    );
    operator.goes(Way::Open);
    let before = Instant::now();
    lease.acquire().await;
    assert!(before.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn whoever_finds_another_name_stops_at_once() {
    let store = store();
    let leading = Operator::of(&store, "a").lead();
    seconds(1).await;
    {
        let mut store = store.lock().unwrap();
        let mut object = store.object.clone().unwrap();
        object["spec"]["holderIdentity"] = json!("b");
        store.store(object);
    }
    let before = Instant::now();
    let stopped = leading.await.unwrap();
    assert!(stopped - before <= RETRY);
    assert_eq!(store.lock().unwrap().holder(), "b");
}

#[tokio::test(start_paused = true)]
async fn a_record_someone_else_touched_is_still_ours() {
    let store = store();
    let leading = Operator::of(&store, "a").lead();
    for _ in 0..20 {
        seconds(7).await;
        let mut store = store.lock().unwrap();
        let mut object = store.object.clone().unwrap();
        object["metadata"]["annotations"] = json!({ "seen": "yes" });
        store.store(object);
    }
    assert!(!leading.is_finished());
    // And what was added stays.
    seconds(10).await;
    let store = store.lock().unwrap();
    assert_eq!(
        store.object.as_ref().unwrap()["metadata"]["annotations"]["seen"],
        "yes"
    );
}

#[tokio::test(start_paused = true)]
async fn a_deleted_record_is_written_anew() {
    let store = store();
    let leading = Operator::of(&store, "a").lead();
    seconds(1).await;
    store.lock().unwrap().object = None;
    seconds(10).await;
    assert!(!leading.is_finished());
    assert_eq!(store.lock().unwrap().holder(), "a");
}

#[tokio::test(start_paused = true)]
async fn released_it_goes_to_the_next_at_once() {
    let store = store();
    let mut first = Operator::of(&store, "a").lease();
    first.acquire().await;
    first.release().await;
    let object = store.lock().unwrap().object.clone().unwrap();
    assert_eq!(object["spec"]["holderIdentity"], "");
    let before = Instant::now();
    let mut second = Operator::of(&store, "b").lease();
    second.acquire().await;
    assert!(before.elapsed() < Duration::from_secs(1));
    let object = store.lock().unwrap().object.clone().unwrap();
    assert_eq!(object["spec"]["leaseTransitions"], 1);
    assert_eq!(object["spec"]["leaseDurationSeconds"], 60);
    // Too late, and by someone whose it is not any more: nothing is written.
    first.release().await;
    assert_eq!(store.lock().unwrap().holder(), "b");
}

#[tokio::test(start_paused = true)]
async fn a_release_ends_even_without_an_answer() {
    let store = store();
    let operator = Operator::of(&store, "a");
    let mut lease = operator.lease();
    lease.acquire().await;
    operator.goes(Way::Hangs);
    let before = Instant::now();
    lease.release().await;
    assert!(before.elapsed() <= CALL);
    assert!(
        timeout(Duration::from_secs(1), lease.lost()).await.is_ok(),
        "it leads no more"
    );
}

#[tokio::test(start_paused = true)]
async fn clocks_in_the_record_mean_nothing() {
    for renewed in ["1990-01-01T00:00:00.000000Z", "2090-01-01T00:00:00.000000Z"] {
        let store = store();
        store.lock().unwrap().store(json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": { "name": "posthouse-operator", "namespace": "posthouse-system" },
            "spec": { "holderIdentity": "gone", "renewTime": renewed, "acquireTime": renewed, "leaseDurationSeconds": 60 },
        }));
        let before = Instant::now();
        let mut lease = Operator::of(&store, "a").lease();
        lease.acquire().await;
        let waited = before.elapsed().as_secs();
        assert!((60..=61).contains(&waited), "{renewed}: {waited}");
    }
}
