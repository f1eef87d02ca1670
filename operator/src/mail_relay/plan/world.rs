//! Made-up clusters for tests: a relay `outbound` in `mail-system` with what a test puts there.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{ConfigMap, PersistentVolumeClaim, Pod},
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use posthouse_api::{
    MailRelay,
    mail_relay::status::{DrainState, DrainStatus},
};
use posthouse_config::{
    Status,
    status::{DocumentStatus, QueueStatus, SpoolState, SpoolStatus},
    yaml,
};
use serde_json::{Value, json};

use crate::{
    labels,
    mail_relay::{
        ValidRelay,
        facts::{Facts, Heard, LiveChildren, Report},
        validate::{Audience, validate},
    },
    settings::Capabilities,
};

const RELAY: &str = "
apiVersion: posthouse.dev/v1alpha1
kind: MailRelay
metadata: { name: outbound, namespace: mail-system, generation: 1, uid: relay }
spec:
  hostname: mail.example.com
  upstreams: [{ name: isp, provider: Custom, endpoint: { host: smtp.isp.example, port: 465 } }]
  clients: { grants: [{ name: shop, namespaces: { names: [shop] }, senderDomains: [shop.example] }] }
";

/// The time some seconds after a beginning.
pub(in crate::mail_relay) fn at(seconds: i64) -> Timestamp {
    let beginning: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    beginning + SignedDuration::from_secs(seconds)
}

/// A document with a number, replicas and the newest rotation of its relay keys.
pub(in crate::mail_relay) fn document(number: u64, replicas: u32, rotation: u64) -> String {
    format!(
        r#"
format: 1
number: {number}
generation: 1
relay: {{ namespace: mail-system, name: outbound }}
hostname: mail.example.com
replicas: {replicas}
keys: {{ relay: [{{ rotation: {rotation}, path: relay.key }}] }}
listeners:
  - {{ name: plain, protocol: Smtp, address: "127.0.0.1:2525", tls: Disabled }}
upstreams:
  - name: isp
    transport: {{ smtp: {{ host: smtp.example, port: 465, tls: {{ mode: Implicit }} }} }}
routes:
  - {{ name: default, targets: [{{ upstream: isp }}] }}
reports: {{ sender: postmaster@mail.example.com }}
"#
    )
}

/// Facts, and ways to change them.
#[derive(Clone)]
pub(in crate::mail_relay) struct World {
    pub(in crate::mail_relay) facts: Facts,
}

impl World {
    /// A relay that wants so many gateways, and nothing else.
    pub(in crate::mail_relay) fn wanting(replicas: i32) -> Self {
        let mut relay: MailRelay = yaml::from_str(RELAY).unwrap();
        relay.spec.replicas = replicas;
        Self {
            facts: Facts {
                relay: Arc::new(relay),
                now: at(0),
                capabilities: Capabilities::default(),
                is_served: true,
                namespace_is_terminating: false,
                relay_uids: BTreeSet::from(["relay".to_owned()]),
                senders: Vec::new(),
                namespaces: BTreeMap::new(),
                service_accounts: BTreeMap::new(),
                issuers: Vec::new(),
                children: LiveChildren::default(),
                gateways: BTreeMap::new(),
            },
        }
    }

    /// A relay as it is in service: so many gateways, the document of number 7, and empty spools.
    pub(in crate::mail_relay) fn serving(replicas: u32) -> Self {
        let mut world = Self::wanting(replicas.try_into().unwrap());
        world.stateful_set(replicas).document(7, replicas);
        for ordinal in 0..replicas {
            world.claim(ordinal).pod(ordinal);
            world.report(ordinal, 7, 0);
        }
        world
    }

    pub(in crate::mail_relay) fn valid(&self) -> ValidRelay {
        let (findings, valid) = validate(&self.facts.relay, Audience::Cluster);
        valid.unwrap_or_else(|| panic!("{findings:?}"))
    }

    pub(in crate::mail_relay) fn relay(&mut self) -> &mut MailRelay {
        Arc::make_mut(&mut self.facts.relay)
    }

    pub(in crate::mail_relay) fn now(&mut self, seconds: i64) -> &mut Self {
        self.facts.now = at(seconds);
        self
    }

    pub(in crate::mail_relay) fn wants(&mut self, replicas: i32) -> &mut Self {
        self.relay().spec.replicas = replicas;
        self
    }

    pub(in crate::mail_relay) fn skip_drain(&mut self) -> &mut Self {
        let annotations = self.relay().metadata.annotations.get_or_insert_default();
        annotations.insert(labels::SKIP_DRAIN.to_owned(), "true".to_owned());
        self
    }

    pub(in crate::mail_relay) fn deleted(&mut self, seconds: i64) -> &mut Self {
        self.relay().metadata.deletion_timestamp = Some(Time(at(seconds)));
        self
    }

    pub(in crate::mail_relay) fn remembers(
        &mut self,
        ordinal: u32,
        state: DrainState,
        since: i64,
    ) -> &mut Self {
        self.relay().status.get_or_insert_default().drain = Some(DrainStatus {
            gateway: format!("outbound-{ordinal}"),
            state,
            since: Some(Time(at(since))),
            messages: None,
        });
        self
    }

    pub(in crate::mail_relay) fn stateful_set(&mut self, replicas: u32) -> &mut Self {
        let set: StatefulSet = typed(json!({
            "metadata": { "name": "outbound", "generation": 1 },
            "spec": {
                "replicas": replicas, "serviceName": "outbound-pods", "selector": {},
                "template": { "spec": { "containers": [{ "name": "gateway", "image": "gateway:1" }] } },
            },
            "status": { "replicas": replicas, "observedGeneration": 1, "updateRevision": "new" },
        }));
        self.facts.children.stateful_set = Some(Arc::new(set));
        self
    }

    /// Changes the StatefulSet by a merge patch.
    pub(in crate::mail_relay) fn patch_stateful_set(&mut self, patch: &Value) -> &mut Self {
        patched(self.facts.children.stateful_set.as_mut().unwrap(), patch);
        self
    }

    pub(in crate::mail_relay) fn document(&mut self, number: u64, replicas: u32) -> &mut Self {
        self.document_text(document(number, replicas, 1))
    }

    pub(in crate::mail_relay) fn document_text(&mut self, text: String) -> &mut Self {
        let config = ConfigMap {
            data: Some(BTreeMap::from([("gateway.yaml".to_owned(), text)])),
            ..ConfigMap::default()
        };
        self.facts.children.config = Some(Arc::new(config));
        self
    }

    /// A pod of the new revision that has been ready for long, made long after its claim.
    pub(in crate::mail_relay) fn pod(&mut self, ordinal: u32) -> &mut Self {
        let pod: Pod = typed(json!({
            "metadata": {
                "name": format!("outbound-{ordinal}"), "uid": format!("pod-{ordinal}"),
                "creationTimestamp": at(-9_000), "labels": { "controller-revision-hash": "new" },
            },
            "spec": { "containers": [{ "name": "gateway", "image": "gateway:1" }] },
            "status": {
                "phase": "Running", "startTime": at(-8_995),
                "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": at(-8_900) }],
            },
        }));
        let name = format!("outbound-{ordinal}");
        self.facts.children.pods.insert(name, Arc::new(pod));
        self
    }

    /// Changes a pod by a merge patch.
    pub(in crate::mail_relay) fn patch_pod(&mut self, ordinal: u32, patch: &Value) -> &mut Self {
        let name = format!("outbound-{ordinal}");
        patched(self.facts.children.pods.get_mut(&name).unwrap(), patch);
        self
    }

    pub(in crate::mail_relay) fn without_pod(&mut self, ordinal: u32) -> &mut Self {
        let name = format!("outbound-{ordinal}");
        self.facts.children.pods.remove(&name);
        self
    }

    /// A bound claim of 10Gi.
    pub(in crate::mail_relay) fn claim(&mut self, ordinal: u32) -> &mut Self {
        let name = format!("spool-outbound-{ordinal}");
        let claim: PersistentVolumeClaim = typed(json!({
            "metadata": { "name": name, "uid": format!("claim-{ordinal}"), "creationTimestamp": at(-99_000) },
            "spec": { "resources": { "requests": { "storage": "10Gi" } } },
            "status": { "phase": "Bound", "capacity": { "storage": "10Gi" } },
        }));
        self.facts.children.claims.insert(name, Arc::new(claim));
        self
    }

    /// Changes a claim by a merge patch.
    pub(in crate::mail_relay) fn patch_claim(&mut self, ordinal: u32, patch: &Value) -> &mut Self {
        let name = format!("spool-outbound-{ordinal}");
        patched(self.facts.children.claims.get_mut(&name).unwrap(), patch);
        self
    }

    /// What a pod says now: which document it goes by, and how many messages it has. It drains if its ordinal is not
    /// below the replicas of the live document.
    pub(in crate::mail_relay) fn report(
        &mut self,
        ordinal: u32,
        number: u64,
        messages: u64,
    ) -> &mut Self {
        let draining = super::gateway::document(&self.facts)
            .is_some_and(|document| ordinal >= document.replicas && number >= document.number);
        self.report_of(ordinal, |status| {
            status.document.number = number;
            status.queue.messages = messages;
            status.draining = draining;
        })
    }

    /// What a pod says now.
    pub(in crate::mail_relay) fn report_of(
        &mut self,
        ordinal: u32,
        change: impl FnOnce(&mut Status),
    ) -> &mut Self {
        let mut status = Status {
            pod_uid: format!("pod-{ordinal}"),
            document: DocumentStatus::default(),
            queue: QueueStatus::default(),
            spool: SpoolStatus {
                state: SpoolState::Ready,
                ..SpoolStatus::default()
            },
            ..Status::default()
        };
        change(&mut status);
        let received = self.facts.now;
        let report = Heard::Report(Arc::new(Report { status, received }));
        self.facts
            .gateways
            .insert(format!("outbound-{ordinal}"), report);
        self
    }

    /// Its last answer gets old.
    pub(in crate::mail_relay) fn silent(&mut self, ordinal: u32) -> &mut Self {
        let heard = self.facts.gateways.get_mut(&format!("outbound-{ordinal}"));
        if let Some(heard) = heard
            && let Heard::Report(last) = heard.clone()
        {
            let since = last.received;
            *heard = Heard::Silent { since, last };
        }
        self
    }
}

fn typed<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn patched<T>(object: &mut Arc<T>, patch: &Value)
where
    T: serde::Serialize + serde::de::DeserializeOwned,
{
    let mut value = serde_json::to_value(&**object).unwrap();
    crate::cases::merge(&mut value, patch);
    *object = Arc::new(typed(value));
}
