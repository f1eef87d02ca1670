//! What can change without a restart does: the document gets another number, every gateway goes by it, and the pods are
//! those they were. What cannot, a new listener, replaces one pod at a time, and mail is taken all the while.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use posthouse_config::{Document, Senders};
use posthouse_tests::{
    Installation, Relay,
    cluster::ready,
    relay::{Binding, RELAY, START, is},
    wait,
};
use serde_json::{Value, json};

/// Waits until all gateways go by the document of a generation; its number.
fn wait_document(relay: &Relay, generation: i64, gateways: u32) -> Document {
    let found = wait::until("the document is of this generation", START, || {
        let document = relay.document();
        (document.generation == generation).then_some(document)
    });
    for ordinal in 0..gateways {
        let gateway = relay.gateway(ordinal);
        wait::until("the gateway goes by it", START, || {
            let status = gateway.status()?;
            (status.document.number == found.number).then_some(())
        });
        let problems = gateway.status().unwrap().document.problems;
        assert!(problems.is_empty(), "{problems:?}");
    }
    found
}

/// What is changed, and how.
type Edit = (&'static str, fn(&mut Value));

fn senders(relay: &Relay) -> Senders {
    let config = relay
        .namespace()
        .get::<ConfigMap>(&format!("{RELAY}-senders"));
    Senders::parse(&config.data.unwrap()["senders.json"]).unwrap()
}

#[test]
fn values_routes_limits_grants_senders_and_replicas() {
    let Some(cluster) = Installation::shared() else {
        return;
    };
    let relay = Relay::start(&cluster);
    let pods = relay.pods();
    let mut number = relay.document().number;
    let edits: [Edit; 4] = [
        ("an upstream's value", |spec| {
            spec["upstreams"][0]["limits"] =
                json!({"maxConnections": 7, "messagesPerConnection": 5});
        }),
        ("an upstream and a route", |spec| {
            let upstreams = spec["upstreams"].as_array_mut().unwrap();
            upstreams.push(json!({"name": "mailbox", "provider": "Capture"}));
            spec["routes"] = json!([
                {"name": "kept", "match": {"recipientDomains": ["kept.example"]}, "targets": [{"upstream": "mailbox"}]},
                {"name": "all", "targets": [{"upstream": "provider"}]},
            ]);
        }),
        ("limits", |spec| {
            spec["limits"] = json!({"messageBytes": 100_000});
        }),
        ("grants", |spec| {
            let grants = spec["clients"]["grants"].as_array_mut().unwrap();
            grants[0]["senderDomains"] = json!(["shop.example", "other.example"]);
        }),
    ];
    for (what, edit) in edits {
        let generation = relay.edit(edit);
        let document = wait_document(&relay, generation, 2);
        assert!(document.number > number, "{what}");
        number = document.number;
        assert_eq!(relay.pods(), pods, "{what}");
    }
    relay.wait("the status says so", |relay| {
        is(relay, "Programmed", "True")
    });
    let reply = Binding::of(&relay.namespace().get(posthouse_tests::relay::BINDING));
    let hello = reply.unwrap().log_in(&relay.gateway(0)).hello();
    assert!(
        hello.offers("SIZE") && hello.text().contains("SIZE 100000"),
        "{}",
        hello.text()
    );
    relay.relay(0, "one");

    let before = senders(&relay);
    relay.apply_sender("newsletter");
    relay.namespace().wait_longer_for::<Secret, _>(
        "the new application's Secret",
        "newsletter-smtp",
        START,
        |secret| Binding::of(secret?),
    );
    let after = senders(&relay);
    assert!(after.number > before.number);
    assert_eq!(after.senders.len(), 2);
    assert_eq!(
        relay.document().number,
        number,
        "the document has no senders"
    );
    assert_eq!(relay.pods(), pods);

    let generation = relay.edit(|spec| spec["replicas"] = json!(3));
    let document = wait_document(&relay, generation, 3);
    assert_eq!(document.replicas, 3);
    relay.relay(2, "two");
    assert_eq!(relay.pods()[..2], pods, "the others stay");
}

/// Mail that is handed in all the time, at whichever gateway takes it.
struct Stream {
    stop: Arc<AtomicBool>,
    taken: Arc<Mutex<BTreeSet<String>>>,
    refused: Arc<Mutex<Vec<String>>>,
}

impl Stream {
    /// Begins; a message that no gateway takes is on record.
    fn start(relay: &Arc<Relay>) -> Self {
        let stream = Self {
            stop: Arc::default(),
            taken: Arc::default(),
            refused: Arc::default(),
        };
        let (stop, taken) = (Arc::clone(&stream.stop), Arc::clone(&stream.taken));
        let (refused, relay) = (Arc::clone(&stream.refused), Arc::clone(relay));
        let binding = relay.binding();
        thread::spawn(move || {
            for n in 0.. {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let subject = format!("stream-{n}");
                match hand_in(&relay, &binding, &subject, n) {
                    Ok(()) => drop(taken.lock().unwrap().insert(subject)),
                    Err(why) => refused.lock().unwrap().push(why),
                }
            }
        });
        stream
    }

    fn taken(&self) -> BTreeSet<String> {
        self.taken.lock().unwrap().clone()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

/// As a Service does: whichever gateway answers, only those that are ready.
fn hand_in(relay: &Relay, binding: &Binding, subject: &str, n: usize) -> Result<(), String> {
    let namespace = relay.namespace();
    let pods = namespace.list::<Pod>("posthouse.dev/relay=outbound");
    let mut ready: Vec<_> = pods.iter().filter(|pod| ready(pod)).collect();
    let turn = n % ready.len().max(1);
    ready.rotate_left(turn);
    let mut told = vec![format!(
        "{subject}: {} of {} are ready",
        ready.len(),
        pods.len()
    )];
    for pod in ready {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let Some(gateway) = namespace.cluster().kubelet().pod(namespace.name(), name) else {
            continue;
        };
        match binding.try_send(&gateway, subject) {
            Ok(true) => return Ok(()),
            Ok(false) => told.push(format!("{name}: refused")),
            Err(error) => told.push(format!("{name}: {error}")),
        }
    }
    Err(told.join("; "))
}

#[test]
fn a_new_listener_replaces_one_pod_at_a_time() {
    let Some(cluster) = Installation::shared() else {
        return;
    };
    let relay = Arc::new(Relay::start(&cluster));
    let before = relay.pods();
    let stream = Stream::start(&relay);
    wait::until("mail flows", START, || {
        (stream.taken().len() > 3).then_some(())
    });
    relay.edit(|spec| {
        spec["listeners"] = json!([
            {"name": "submission", "protocol": "Submission", "port": 587, "tls": {"selfSigned": true}},
            {"name": "submissions", "protocol": "Submissions", "port": 465, "tls": {"selfSigned": true}},
        ]);
    });
    let old: BTreeSet<_> = before.iter().map(|(_, uid, _)| uid.clone()).collect();
    let mut fewest = before.len();
    wait::until("every pod is another", START * 2, || {
        let pods = relay
            .namespace()
            .list::<Pod>("posthouse.dev/relay=outbound");
        fewest = fewest.min(pods.iter().filter(|pod| ready(pod)).count());
        let is_new = |pod: &&Pod| {
            let uid = pod.metadata.uid.as_ref();
            uid.is_some_and(|uid| !old.contains(uid)) && ready(pod)
        };
        (pods.iter().filter(is_new).count() == 2).then_some(())
    });
    assert_eq!(fewest, 1, "one at a time");
    relay.wait("it is programmed", |relay| {
        let endpoints = relay.status.as_ref().map(|status| status.endpoints.len());
        is(relay, "Programmed", "True") && is(relay, "Ready", "True") && endpoints == Some(2)
    });
    let count = stream.taken().len();
    wait::until("mail still flows", START, || {
        (stream.taken().len() > count + 3).then_some(())
    });
    stream.stop.store(true, Ordering::SeqCst);
    let refused = stream.refused.lock().unwrap().clone();
    assert!(refused.is_empty(), "{refused:#?}");
    let taken = stream.taken();
    wait::until("all of it is relayed", START, || {
        let subjects: BTreeSet<_> = relay.provider().subjects().into_keys().collect();
        taken.is_subset(&subjects).then_some(())
    });
    let twice = relay.provider().subjects();
    assert!(twice.values().all(|&count| count == 1), "{twice:?}");
}
