//! Every reason of the API's table, the queue that never looks shorter, and what is worth a write.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{apps::v1::StatefulSet, core::v1::PersistentVolumeClaim, core::v1::Pod},
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};
use posthouse_api::{MailRelay, mail_relay::status::*};
use posthouse_config::{Status, reason::UpstreamState, status::SpoolState, yaml::from_str};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{status as compute, *};
use crate::{
    condition::find,
    mail_relay::{
        Audience,
        facts::{Heard, LiveChildren, Report},
        plan::Rollout,
        validate,
    },
    settings::Capabilities,
};

const RELAY: &str = "
apiVersion: posthouse.dev/v1alpha1
kind: MailRelay
metadata: { name: outbound, namespace: mail-system, uid: u, generation: 3 }
spec:
  hostname: mail.example.com
  listeners:
    - { name: submission, protocol: Submission, port: 587, tls: { secretRef: { name: cert } } }
    - { name: submissions, protocol: Submissions, port: 465, tls: { selfSigned: true } }
    - { name: plain, protocol: Smtp, port: 25, tls: { policy: Disabled }, plaintextAuthentication: Allow }
  clients: { grants: [{ name: a, namespaces: { names: ['*'] }, senderDomains: ['*'] }] }
  upstreams:
    - name: isp
      provider: Custom
      endpoint: { host: smtp.isp.example, port: 465, tls: { mode: Implicit, caRef: { kind: ConfigMap, name: isp-ca, key: ca.crt } } }
      auth: { password: { secretRef: { name: isp-account } } }
    - { name: other, provider: Custom, endpoint: { host: 192.0.2.1, port: 25, tls: { mode: None } } }
  routes:
    - { name: shop, match: { senderDomains: [shop.example.com] }, targets: [{ upstream: isp }] }
    - { name: rest, targets: [{ upstream: isp }, { upstream: other, priority: 10 }] }
";

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn ago(seconds: i64) -> Timestamp {
    now() - SignedDuration::from_secs(seconds)
}

fn of<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// A made-up cluster, changed by each test.
struct World {
    facts: Facts,
    live: Vec<(Reason, String)>,
    plan: Plan,
    applied: ApplyOutcome,
}

impl World {
    /// Two gateways, ready for an hour, that say nothing is wrong.
    fn healthy() -> Self {
        let mut children = LiveChildren {
            stateful_set: Some(Arc::new(of::<StatefulSet>(json!({
                "spec": { "replicas": 2, "selector": {}, "serviceName": "outbound-pods", "template": {} },
                "status": { "replicas": 2, "updateRevision": "new" },
            })))),
            ..LiveChildren::default()
        };
        let mut gateways = BTreeMap::new();
        for n in 0..2 {
            let (name, pod) = pod(n);
            gateways.insert(name.clone(), Heard::Report(Arc::new(report())));
            children.pods.insert(name, Arc::new(pod));
            let (name, claim) = claim(n);
            children.claims.insert(name, Arc::new(claim));
        }
        Self {
            facts: Facts {
                relay: Arc::new(from_str(RELAY).unwrap()),
                now: now(),
                capabilities: Capabilities::default(),
                is_served: true,
                namespace_is_terminating: false,
                relay_uids: BTreeSet::new(),
                senders: Vec::new(),
                namespaces: BTreeMap::new(),
                service_accounts: BTreeMap::new(),
                issuers: Vec::new(),
                children,
                gateways,
            },
            live: Vec::new(),
            plan: plan(),
            applied: ApplyOutcome::Applied {
                document_number: 7,
                senders_number: 4,
                generation: 3,
                senders: 12,
            },
        }
    }

    fn status(&self) -> MailRelayStatus {
        let (findings, valid) = validate(&self.facts.relay, Audience::Cluster);
        compute(&Observed {
            facts: &self.facts,
            findings: &findings,
            live: &self.live,
            valid: valid.as_ref(),
            plan: Some(&self.plan),
            applied: &self.applied,
        })
    }

    /// What the next reconcile sees: this one's status was written, and time passed.
    fn later(&mut self, seconds: i64) -> MailRelayStatus {
        let status = self.status();
        self.relay().status = Some(status.clone());
        self.facts.now += SignedDuration::from_secs(seconds);
        status
    }

    fn relay(&mut self) -> &mut MailRelay {
        Arc::make_mut(&mut self.facts.relay)
    }

    fn pod(&mut self, n: u32) -> &mut Pod {
        let pod = self.facts.children.pods.get_mut(&names::pod("outbound", n));
        Arc::make_mut(pod.unwrap())
    }

    /// What a gateway says.
    fn says(&mut self, n: u32) -> &mut Status {
        match self.facts.gateways.get_mut(&names::pod("outbound", n)) {
            Some(Heard::Report(report)) => &mut Arc::make_mut(report).status,
            other => panic!("{other:?}"),
        }
    }

    fn hear(&mut self, n: u32, heard: Heard) {
        self.facts.gateways.insert(names::pod("outbound", n), heard);
    }

    fn all_say(&mut self, say: impl Fn(&mut Status)) {
        (0..2).for_each(|n| say(self.says(n)));
    }

    fn upstream(&mut self, n: u32, name: &str, state: UpstreamState) {
        let upstreams = &mut self.says(n).upstreams;
        let upstream = upstreams.iter_mut().find(|row| row.name == name).unwrap();
        upstream.state = state;
        upstream.reply = Some("535 5.7.139 \"no\"".to_owned());
        upstream.remedy = Some("renew the password".to_owned());
    }

    fn silent(&mut self, n: u32) {
        let last = Arc::new(Report {
            status: self.says(n).clone(),
            received: ago(300),
        });
        let since = ago(300);
        self.hear(n, Heard::Silent { since, last });
    }

    fn previously(&mut self, type_: &str, status: &str, seconds: i64) {
        self.relay().status = Some(MailRelayStatus {
            conditions: vec![Condition {
                type_: type_.to_owned(),
                status: status.to_owned(),
                reason: "Pending".to_owned(),
                message: String::new(),
                observed_generation: Some(3),
                last_transition_time: Time(ago(seconds)),
            }],
            ..MailRelayStatus::default()
        });
    }
}

fn pod(n: u32) -> (String, Pod) {
    let name = names::pod("outbound", n);
    let pod = of(json!({
        "metadata": { "name": name, "labels": { "controller-revision-hash": "new" } },
        "spec": { "nodeName": format!("node-{n}"), "containers": [] },
        "status": {
            "startTime": ago(3600),
            "conditions": [{ "type": "Ready", "status": "True" }],
        },
    }));
    (name, pod)
}

fn claim(n: u32) -> (String, PersistentVolumeClaim) {
    let name = names::claim("outbound", n);
    let claim = of(json!({
        "metadata": { "name": name, "annotations": { "volume.kubernetes.io/selected-node": format!("node-{n}") } },
        "spec": { "volumeName": format!("pv-{n}") },
        "status": { "phase": "Bound" },
    }));
    (name, claim)
}

fn report() -> Report {
    let upstream = |name| json!({ "name": name, "state": "Ready", "since": "2026-03-01T10:00:00Z", "lastRelayedTime": "2026-03-01T11:59:00Z" });
    Report {
        status: of(json!({
            "document": { "number": 7, "generation": 3 },
            "queue": { "messages": 6, "held": 0, "bytes": 600, "oldestMessageTime": "2026-03-01T11:50:00Z" },
            "spool": { "state": "Ready" },
            "upstreams": [upstream("isp"), upstream("other")],
        })),
        received: ago(3),
    }
}

fn plan() -> Plan {
    Plan {
        document_replicas: 2,
        replicas: 2,
        draining: 0,
        drain: None,
        restart: None,
        rollout: Rollout::Done,
        resize: Vec::new(),
        delete_claims: Vec::new(),
        not_expanded: None,
        is_over: false,
        notices: Vec::new(),
    }
}

fn condition<'a>(status: &'a MailRelayStatus, type_: &str) -> &'a Condition {
    find(&status.conditions, type_).unwrap()
}

fn message<'a>(status: &'a MailRelayStatus, type_: &str) -> &'a str {
    &condition(status, type_).message
}

fn spool(world: &mut World, change: impl Fn(&mut posthouse_config::status::SpoolStatus)) {
    change(&mut world.says(1).spool);
}

type Change = fn(&mut World);

fn missing(world: &mut World, paths: &[&str]) {
    world.previously("ResolvedRefs", "Unknown", 180);
    world.says(0).files.missing = paths.iter().map(ToString::to_string).collect();
}

fn kept() -> ApplyOutcome {
    ApplyOutcome::Applied {
        document_number: 6,
        senders_number: 4,
        generation: 2,
        senders: 1,
    }
}

fn unready(world: &mut World) {
    for n in 0..2 {
        world.pod(n).status.as_mut().unwrap().conditions = None;
    }
}

fn untried(world: &mut World) {
    world.all_say(|status| {
        for upstream in &mut status.upstreams {
            upstream.state = UpstreamState::Untried;
        }
    });
}

fn hold(world: &mut World, reason: &str) {
    let queue = &mut world.says(0).queue;
    queue.held = 2;
    queue.held_reasons = of(json!([{ "reason": reason, "upstream": "isp", "messages": 2 }]));
}

#[test]
fn a_healthy_relay_in_full() {
    let status = World::healthy().status();
    let value = serde_json::to_value(&status).unwrap();
    assert_eq!(value["observedGeneration"], 3);
    assert_eq!(value["replicas"], 2);
    assert_eq!(value["readyReplicas"], 2);
    assert_eq!(
        value["selector"],
        "app.kubernetes.io/name=posthouse-gateway,posthouse.dev/relay=outbound"
    );
    assert_eq!(value["mail"], "Flowing");
    assert_eq!(value["upstreamSummary"], "2/2");
    assert_eq!(
        value["endpoints"],
        json!([
            { "name": "submission", "host": "outbound.mail-system.svc", "port": 587, "tls": "StartTls" },
            { "name": "submissions", "host": "outbound.mail-system.svc", "port": 465, "tls": "Implicit" },
            { "name": "plain", "host": "outbound.mail-system.svc", "port": 25, "tls": "None" },
        ])
    );
    assert_eq!(
        value["queue"],
        json!({ "messages": 12, "held": 0, "bytes": 1200, "oldestMessageTime": "2026-03-01T11:50:00Z" })
    );
    assert_eq!(
        value["gateways"][1],
        json!({ "name": "outbound-1", "state": "Ready", "messages": 6, "held": 0, "oldestMessageTime": "2026-03-01T11:50:00Z" })
    );
    assert_eq!(value["upstreams"][0]["state"], "Ready");
    assert_eq!(value["senders"], 12);
    let types: Vec<_> = status
        .conditions
        .iter()
        .map(|condition| condition.type_.as_str())
        .collect();
    assert_eq!(
        types,
        [
            "Accepted",
            "ResolvedRefs",
            "Programmed",
            "Ready",
            "UpstreamsHealthy",
            "QueueHealthy"
        ]
    );
}

#[test]
fn the_column_mail_shows_the_worst_reason() {
    let rows: [(Change, &str); 6] = [
        (
            |w| {
                spool(w, |s| s.state = SpoolState::Failed);
                w.upstream(0, "isp", UpstreamState::Refused);
            },
            "SpoolFailed",
        ),
        (
            |w| {
                unready(w);
                w.upstream(0, "isp", UpstreamState::Refused);
            },
            "NoReadyGateway",
        ),
        (
            |w| {
                hold(w, "Poison");
                w.upstream(0, "isp", UpstreamState::Refused);
            },
            "Refused",
        ),
        (|w| hold(w, "Poison"), "Held"),
        (|w| w.silent(0), "NoReport"),
        (untried, "Untried"),
    ];
    for (change, expected) in rows {
        let mut world = World::healthy();
        change(&mut world);
        assert_eq!(world.status().mail.as_deref(), Some(expected));
    }
}

mod memory;
mod messages;
mod reasons;
mod references;
mod writes;
