//! A model of a relay in a cluster that changes at random: people scale, pods die and come back under older documents,
//! reports are late or lost, operators die between two writes and forget what they heard.
//!
//! It knows what the plan does not: what really is in each spool. Whatever happens, lowering the StatefulSet must
//! remove no gateway with mail or with a client in the middle of a transaction; no claim may be deleted that has mail;
//! and once the cluster is left in peace, the number of gateways becomes the one that is wanted, or the relay ends.

use std::collections::BTreeMap;

use posthouse_api::mail_relay::{Storage, status::DrainStatus, storage::OnDelete};
use posthouse_config::status::SpoolState;
use proptest::{prelude::*, test_runner::Config};
use serde_json::json;

use super::{
    Plan, drain, ending,
    world::{World, at},
};

#[derive(Clone, Copy, Debug)]
enum Event {
    Want(u32),
    /// Somebody deletes the MailRelay and wants its volumes deleted.
    Delete,
    Reconcile,
    /// The operator dies after it wrote the document.
    ReconcileDocumentOnly,
    /// The operator forgets what it heard.
    ForgetReports,
    /// The status is lost.
    ForgetDrain,
    /// The StatefulSet's controller makes what is missing and removes one pod too many.
    Controller,
    /// Somebody deletes the StatefulSet, but not its pods.
    Orphan,
    /// Somebody scales the StatefulSet.
    Scale(u32),
    Bind(u32),
    /// The gateway starts; the kubelet may still have the document before.
    Start(u32, bool),
    Recover(u32),
    /// The kubelet brings the newest document.
    Refresh(u32),
    /// A client begins a transaction, if the gateway takes one.
    Begin(u32),
    /// The transaction ends: the message is spooled.
    Commit(u32),
    Relay(u32),
    Poll(u32),
    Silence(u32),
    /// Somebody deletes the pod, or a rollout does: it is asked until it is gone, and says that it has nothing.
    Stop(u32),
    /// Somebody deletes the pod, or its node is lost.
    Kill(u32),
    /// The process ends and is started again in the same pod.
    Crash(u32),
    /// Ten minutes pass.
    Wait,
}

#[derive(Clone, Debug)]
struct Pod {
    uid: String,
    made: i64,
    is_stopping: bool,
    process: Option<Process>,
}

/// A running gateway.
#[derive(Clone, Copy, Debug)]
struct Process {
    number: u64,
    is_recovered: bool,
    transactions: u64,
}

#[derive(Clone, Debug, Default)]
struct Claim {
    made: i64,
    is_bound: bool,
    is_deleted: bool,
    messages: u64,
}

#[derive(Clone, Debug)]
struct Report {
    uid: String,
    number: u64,
    draining: bool,
    sessions: u64,
    messages: u64,
    state: SpoolState,
    is_silent: bool,
}

#[derive(Clone, Debug, Default)]
struct Cluster {
    time: i64,
    most: u32,
    wanted: u32,
    replicas: Option<u32>,
    /// `replicas` of each document there was; the newest counts. Its number is its position, from 1.
    documents: Vec<u32>,
    pods: BTreeMap<u32, Pod>,
    claims: BTreeMap<u32, Claim>,
    reports: BTreeMap<u32, Report>,
    drain: Option<DrainStatus>,
    deleted: Option<i64>,
    is_over: bool,
    pods_made: u32,
    removed: u32,
}

impl Cluster {
    fn newest(&self) -> u64 {
        self.documents.len() as u64
    }

    fn drains(&self, ordinal: u32, process: Process) -> bool {
        self.documents[usize::try_from(process.number).unwrap() - 1] <= ordinal
    }

    fn facts(&self, base: &World) -> World {
        let mut world = base.clone();
        world.now(self.time);
        if let Some(deleted) = self.deleted {
            world.deleted(deleted);
        }
        if let Some(replicas) = self.replicas {
            world.stateful_set(replicas);
        }
        if let Some(replicas) = self.documents.last() {
            world.document(self.newest(), *replicas);
        }
        for (ordinal, claim) in &self.claims {
            let phase = if claim.is_bound { "Bound" } else { "Pending" };
            let deleted = claim.is_deleted.then(|| at(claim.made));
            let patch = json!({
                "metadata": { "creationTimestamp": at(claim.made), "deletionTimestamp": deleted },
                "status": { "phase": phase },
            });
            world.claim(*ordinal).patch_claim(*ordinal, &patch);
        }
        for (ordinal, pod) in &self.pods {
            let phase = if pod.process.is_some() {
                "Running"
            } else {
                "Pending"
            };
            let stopped = pod.is_stopping.then(|| at(self.time + 60));
            let patch = json!({
                "metadata": { "uid": pod.uid, "creationTimestamp": at(pod.made), "deletionTimestamp": stopped },
                "status": { "phase": phase },
            });
            world.pod(*ordinal).patch_pod(*ordinal, &patch);
        }
        for (ordinal, report) in &self.reports {
            world.report_of(*ordinal, |status| {
                status.pod_uid.clone_from(&report.uid);
                status.document.number = report.number;
                status.draining = report.draining;
                status.sessions = report.sessions;
                status.queue.messages = report.messages;
                status.spool.state = report.state;
            });
            if report.is_silent {
                world.silent(*ordinal);
            }
        }
        if let Some(drain) = &self.drain {
            world.relay().status.get_or_insert_default().drain = Some(drain.clone());
        }
        world
    }

    fn write_document(&mut self, replicas: u32) {
        if self.documents.last() != Some(&replicas) {
            self.documents.push(replicas);
        }
    }

    /// Lowers or raises the StatefulSet: what it removes must be empty.
    fn scale(&mut self, replicas: u32) {
        let removed = self.pods.keys().filter(|ordinal| {
            **ordinal >= replicas && self.replicas.is_none_or(|live| **ordinal < live)
        });
        for ordinal in removed {
            self.must_be_empty(*ordinal);
            self.removed += 1;
        }
        self.replicas = Some(replicas);
    }

    fn must_be_empty(&self, ordinal: u32) {
        let messages = self.claims.get(&ordinal).map_or(0, |claim| claim.messages);
        assert_eq!(messages, 0, "{ordinal} has mail: {self:?}");
        let process = self.pods.get(&ordinal).and_then(|pod| pod.process);
        let transactions = process.map_or(0, |process| process.transactions);
        assert_eq!(transactions, 0, "{ordinal} has clients: {self:?}");
    }

    fn reconcile(&mut self, base: &World) {
        let facts = self.facts(base).facts;
        if self.deleted.is_some() {
            self.end(&ending(&facts));
            return;
        }
        let course = drain::course(&facts, self.wanted);
        self.write_document(course.document_replicas);
        self.scale(course.replicas);
        self.drain = course.drain;
    }

    /// What is done for a relay that is being deleted; mail may stay, but not unsaid.
    fn end(&mut self, plan: &Plan) {
        if !self.documents.is_empty() {
            self.write_document(0);
        }
        for claim in &plan.delete_claims {
            let ordinal = claim.name.rsplit_once('-').unwrap().1.parse().unwrap();
            self.must_be_empty(ordinal);
            self.claims.get_mut(&ordinal).unwrap().is_deleted = true;
        }
        if let Some(live) = self.replicas
            && plan.replicas < live
        {
            assert_eq!(plan.replicas, 0, "{plan:?}");
            for ordinal in self.pods.keys().filter(|ordinal| **ordinal < live) {
                let claim = format!("spool-outbound-{ordinal} ");
                let said = |note: &String| format!("{note} ").replace(',', " ").contains(&claim);
                let is_said = plan.notices.iter().any(|notice| said(&notice.note));
                assert!(
                    is_said || self.claims[ordinal].messages == 0,
                    "{ordinal}: {plan:?} {self:?}"
                );
            }
            self.replicas = Some(0);
        }
        self.is_over = plan.is_over;
        self.drain.clone_from(&plan.drain);
    }

    fn control(&mut self) {
        let Some(replicas) = self.replicas else {
            return;
        };
        self.pods.retain(|_, pod| !pod.is_stopping);
        for ordinal in 0..replicas {
            if self.pods.contains_key(&ordinal) {
                continue;
            }
            let made = self.time;
            self.claims.entry(ordinal).or_insert_with(|| Claim {
                made,
                ..Claim::default()
            });
            self.pods_made += 1;
            let uid = format!("uid-{}", self.pods_made);
            self.pods.insert(
                ordinal,
                Pod {
                    uid,
                    made,
                    is_stopping: false,
                    process: None,
                },
            );
        }
        let beyond = self.pods.keys().rev().find(|ordinal| **ordinal >= replicas);
        if let Some(beyond) = beyond.copied() {
            self.pods.remove(&beyond);
        }
    }

    fn start(&mut self, ordinal: u32, is_stale: bool) {
        let newest = self.newest();
        let is_bound = self
            .claims
            .get(&ordinal)
            .is_some_and(|claim| claim.is_bound);
        if let Some(pod) = self.pods.get_mut(&ordinal)
            && pod.process.is_none()
            && is_bound
            && newest > 0
        {
            pod.process = Some(Process {
                number: newest.saturating_sub(u64::from(is_stale)).max(1),
                is_recovered: false,
                transactions: 0,
            });
        }
    }

    fn process(&mut self, ordinal: u32) -> Option<&mut Process> {
        self.pods.get_mut(&ordinal)?.process.as_mut()
    }

    fn poll(&mut self, ordinal: u32) {
        let Some(pod) = self.pods.get(&ordinal) else {
            return;
        };
        let Some(process) = pod.process else {
            return;
        };
        let messages = self.claims[&ordinal].messages;
        let (state, messages) = if process.is_recovered {
            // As of releases whose queue has ended.
            (
                SpoolState::Ready,
                if pod.is_stopping { 0 } else { messages },
            )
        } else {
            (SpoolState::Starting, 0)
        };
        let report = Report {
            uid: pod.uid.clone(),
            number: process.number,
            draining: self.drains(ordinal, process),
            sessions: process.transactions,
            messages,
            state,
            is_silent: false,
        };
        self.reports.insert(ordinal, report);
    }

    fn begin(&mut self, ordinal: u32) {
        let Some(process) = self.process(ordinal).copied() else {
            return;
        };
        if process.is_recovered && !self.drains(ordinal, process) {
            self.process(ordinal).unwrap().transactions += 1;
        }
    }

    fn commit(&mut self, ordinal: u32) {
        if let Some(process) = self.process(ordinal)
            && process.transactions > 0
        {
            process.transactions -= 1;
            let claim = self.claims.get_mut(&ordinal).unwrap();
            assert!(!claim.is_deleted, "{ordinal} takes mail");
            claim.messages += 1;
        }
    }

    fn relay(&mut self, ordinal: u32) {
        if self
            .process(ordinal)
            .is_some_and(|process| process.is_recovered)
        {
            let claim = self.claims.get_mut(&ordinal).unwrap();
            claim.messages = claim.messages.saturating_sub(1);
        }
    }

    fn happen(&mut self, event: Event, base: &World) {
        if self.is_over {
            return;
        }
        self.protect();
        self.time += 10;
        let newest = self.newest();
        match event {
            Event::Want(wanted) => self.wanted = wanted,
            Event::Reconcile => self.reconcile(base),
            Event::ReconcileDocumentOnly => {
                let course = drain::course(&self.facts(base).facts, self.wanted);
                let replicas = self.deleted.map_or(course.document_replicas, |_| 0);
                self.write_document(replicas);
            }
            Event::Delete => {
                self.deleted.get_or_insert(self.time);
            }
            Event::Wait => self.time += 600,
            Event::ForgetReports => self.reports.clear(),
            Event::ForgetDrain => self.drain = None,
            Event::Controller => self.control(),
            Event::Orphan => self.replicas = None,
            Event::Scale(more) => self.replicas = self.replicas.map(|live| live.max(more)),
            Event::Bind(ordinal) => {
                if let Some(claim) = self.claims.get_mut(&ordinal) {
                    claim.is_bound = true;
                }
            }
            Event::Start(ordinal, is_stale) => self.start(ordinal, is_stale),
            Event::Recover(ordinal) => {
                if let Some(process) = self.process(ordinal) {
                    process.is_recovered = true;
                }
            }
            Event::Refresh(ordinal) => {
                if let Some(process) = self.process(ordinal) {
                    process.number = newest;
                }
            }
            Event::Begin(ordinal) => self.begin(ordinal),
            Event::Commit(ordinal) => self.commit(ordinal),
            Event::Relay(ordinal) => self.relay(ordinal),
            Event::Poll(ordinal) => self.poll(ordinal),
            Event::Silence(ordinal) => {
                if let Some(report) = self.reports.get_mut(&ordinal) {
                    report.is_silent = true;
                }
            }
            Event::Stop(ordinal) => {
                if let Some(pod) = self.pods.get_mut(&ordinal) {
                    pod.is_stopping = true;
                }
            }
            Event::Kill(ordinal) => {
                self.pods.remove(&ordinal);
            }
            Event::Crash(ordinal) => {
                if let Some(pod) = self.pods.get_mut(&ordinal)
                    && pod.process.take().is_some()
                {
                    self.start(ordinal, false);
                }
            }
        }
    }

    /// A claim that is deleted stays while a pod uses it.
    fn protect(&mut self) {
        let pods = &self.pods;
        self.claims
            .retain(|ordinal, claim| !claim.is_deleted || pods.contains_key(ordinal));
    }

    /// Nothing fails any more, and clients go away.
    fn peace(&mut self, base: &World) {
        for _ in 0..4 * self.most {
            self.happen(Event::Reconcile, base);
            self.happen(Event::Controller, base);
            for ordinal in 0..self.most {
                for event in [
                    Event::Bind(ordinal),
                    Event::Start(ordinal, false),
                    Event::Recover(ordinal),
                    Event::Refresh(ordinal),
                ] {
                    self.happen(event, base);
                }
                if let Some(process) = self.process(ordinal) {
                    process.transactions = 0;
                }
                if let Some(claim) = self.claims.get_mut(&ordinal) {
                    claim.messages = 0;
                }
                self.happen(Event::Poll(ordinal), base);
            }
        }
    }
}

fn event(most: u32) -> impl Strategy<Value = Event> {
    // The highest ordinal is where things happen.
    let ordinal = || prop_oneof![1 => 0..most, 4 => Just(most - 1)];
    prop_oneof![
        2 => (1..=most).prop_map(Event::Want),
        8 => Just(Event::Reconcile),
        1 => Just(Event::ReconcileDocumentOnly),
        1 => Just(Event::Wait),
        1 => Just(Event::ForgetReports),
        1 => Just(Event::ForgetDrain),
        4 => Just(Event::Controller),
        1 => Just(Event::Orphan),
        1 => (1..=most).prop_map(Event::Scale),
        2 => ordinal().prop_map(Event::Bind),
        3 => (ordinal(), any::<bool>()).prop_map(|(ordinal, stale)| Event::Start(ordinal, stale)),
        3 => ordinal().prop_map(Event::Recover),
        5 => ordinal().prop_map(Event::Refresh),
        4 => ordinal().prop_map(Event::Begin),
        4 => ordinal().prop_map(Event::Commit),
        4 => ordinal().prop_map(Event::Relay),
        8 => ordinal().prop_map(Event::Poll),
        1 => ordinal().prop_map(Event::Silence),
        1 => ordinal().prop_map(Event::Stop),
        1 => ordinal().prop_map(Event::Kill),
        1 => ordinal().prop_map(Event::Crash),
    ]
}

/// Events, and what people and nodes often do in one go; by chance alone some of it would hardly ever come together.
fn events(most: u32) -> impl Strategy<Value = Vec<Event>> {
    let last = most - 1;
    let serve = [
        Event::Recover(last),
        Event::Begin(last),
        Event::Commit(last),
    ];
    let shrink = [
        Event::Want(1),
        Event::Reconcile,
        Event::Refresh(last),
        Event::Poll(last),
    ];
    let cancel = [Event::Want(most), Event::Reconcile, Event::Refresh(last)];
    let again = [
        Event::Want(1),
        Event::ReconcileDocumentOnly,
        Event::Reconcile,
    ];
    let replace = [
        Event::Kill(last),
        Event::Controller,
        Event::Start(last, true),
    ];
    let stop = [Event::Stop(last), Event::Poll(last), Event::Reconcile];
    let hear = (0..most).flat_map(|ordinal| [Event::Refresh(ordinal), Event::Poll(ordinal)]);
    let hear: Vec<_> = hear.chain([Event::Reconcile]).collect();
    prop_oneof![
        12 => event(most).prop_map(|event| vec![event]),
        1 => Just(shrink.to_vec()),
        1 => Just(hear),
        1 => Just([&cancel[..], &serve[..]].concat()),
        1 => Just(again.to_vec()),
        1 => Just(stop.to_vec()),
        1 => Just([&replace[..], &serve[..]].concat()),
    ]
}

/// A relay in service.
fn in_service(most: u32, base: &World) -> Cluster {
    let mut cluster = Cluster {
        most,
        wanted: most,
        ..Cluster::default()
    };
    cluster.peace(base);
    cluster
}

/// A relay whose volumes are to go with it.
fn base() -> World {
    let mut world = World::wanting(1);
    world.relay().spec.storage = Some(Storage {
        volume_claim: None,
        on_delete: Some(OnDelete::Delete),
    });
    world
}

/// What the model asserts at each step, and how it ends.
fn run(most: u32, cases: u32, extra: &[Event]) {
    let base = base();
    let start = in_service(most, &base);
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    proptest!(config, |(before in prop::collection::vec(events(most), 0..40), after in prop::collection::vec(events(most), 0..30))| {
        let mut cluster = start.clone();
        let happens = before.into_iter().flatten().chain(extra.iter().copied());
        for event in happens.chain(after.into_iter().flatten()) {
            cluster.happen(event, &base);
        }
        cluster.peace(&base);
        if cluster.deleted.is_some() {
            prop_assert!(cluster.is_over, "{:?}", cluster);
        } else {
            prop_assert_eq!(cluster.replicas, Some(cluster.wanted), "{:?}", cluster);
            prop_assert_eq!(cluster.documents.last(), Some(&cluster.wanted));
            prop_assert_eq!(cluster.drain, None);
        }
    });
}

#[test]
fn one_gateway_that_comes_and_goes_is_never_removed_with_mail() {
    run(2, 256, &[]);
}

#[test]
fn of_many_gateways_none_is_removed_with_mail() {
    run(4, 64, &[]);
}

#[test]
fn a_deleted_relay_ends_and_no_claim_with_mail_is_deleted() {
    run(2, 192, &[Event::Delete, Event::Reconcile]);
}

#[test]
fn the_model_removes_gateways_once_they_are_empty() {
    let base = base();
    let mut cluster = in_service(4, &base);
    for event in [
        Event::Want(1),
        Event::Begin(3),
        Event::Reconcile,
        Event::Refresh(3),
        Event::Poll(3),
        Event::Reconcile,
    ] {
        cluster.happen(event, &base);
    }
    assert_eq!((cluster.replicas, cluster.removed), (Some(4), 0));
    cluster.peace(&base);
    assert_eq!((cluster.replicas, cluster.removed), (Some(1), 3));
}
