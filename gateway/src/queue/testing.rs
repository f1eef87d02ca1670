//! Values for the tests of queue, routing and reports.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use posthouse_config::{
    Document, Senders, Snapshot,
    reason::{Phase, Reason, UpstreamState},
};
use posthouse_smtp::{Mailbox, ReversePath};
use tempfile::TempDir;
use tokio::{sync::watch, task::JoinHandle};

use super::{
    Figures, QueueHandle, QueueParts, Recovered,
    deliver::{Attempt, AttemptReport, Deliver, Evidence, UpstreamView, Upstreams, Verdict},
    queue,
};
use crate::{
    clock::{Clock, ManualClock},
    inbound::Intake,
    mail::{
        Body, Content, ContentFacts, Edits, Kind, Message, Origin, QueueId, Queued, Recipient,
        Redactor, SenderIdentity, Timestamp, redact::AddressStyle,
    },
    metrics::Metrics,
    shutdown::{Shutdown, Stage},
    spool::{OpenError, Spool, SpoolOptions},
};

/// A document with these upstreams, some YAML list items of further ones, and routes (empty: everything to all).
pub(crate) fn document(upstreams: &[&str], more: &str, routes: &str) -> Arc<Document> {
    let list: Vec<String> = upstreams.iter().map(|name| format!("  - {{ name: {name}, transport: {{ smtp: {{ host: {name}.example, port: 465, tls: {{ mode: Implicit }} }} }} }}\n")).collect();
    let list = list.concat();
    let targets: Vec<String> = upstreams
        .iter()
        .map(|name| format!("{{ upstream: {name} }}"))
        .collect();
    let routes = if routes.is_empty() {
        format!(
            "routes: [{{ name: default, targets: [{}] }}]\n",
            targets.join(", ")
        )
    } else {
        routes.to_owned()
    };
    let text = format!(
        "format: 1\nnumber: 1\ngeneration: 1\nrelay: {{ namespace: mail-system, name: outbound }}\nhostname: mail.example.com\nreplicas: 1\nlisteners:\n  - {{ name: plain, protocol: Smtp, address: \"127.0.0.1:2525\", tls: Disabled }}\nreports: {{ sender: postmaster@mail.example.com }}\nretry: {{ initialSeconds: 60, maximumSeconds: 7200, expirySeconds: 432000, heldExpirySeconds: 1209600 }}\nupstreams:\n{list}{more}{routes}"
    );
    Arc::new(Document::parse(&text).unwrap())
}

/// When messages of the tests were accepted: the manual clock's start.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// A message of `sender` (`name.namespace`) as an address to some recipients.
pub(crate) fn message(sequence: u64, sender: &str, from: &str, recipients: &[&str]) -> Message {
    let (name, namespace) = sender.rsplit_once('.').unwrap();
    let from = Mailbox::parse(from).unwrap();
    Message {
        id: QueueId::new(1, sequence),
        generation: 0,
        kind: Kind::Mail,
        accepted: START,
        expiry_seconds: None,
        listener: "plain".into(),
        sender: SenderIdentity::Sender {
            namespace: namespace.into(),
            name: name.into(),
        },
        client: None,
        reverse_path: ReversePath::Mailbox(from.clone()),
        envid: None,
        return_full: false,
        body: Body::Unspecified,
        smtputf8: false,
        recipients: recipients
            .iter()
            .map(|address| Recipient {
                forward_path: Mailbox::parse(address).unwrap(),
                orcpt: None,
                notify: None,
                progress: crate::mail::Progress::default(),
            })
            .collect(),
        from: vec![from],
        message_id: format!("<{sequence}@test.example>").into(),
        facts: ContentFacts {
            length: 100,
            ..ContentFacts::default()
        },
        edits: Edits::default(),
        origin: Origin::Here,
    }
}

/// How the double of relaying answers an attempt.
type Script = Box<dyn FnMut(&Attempt) -> AttemptReport + Send>;

/// A double of relaying: answers by a script and remembers what was offered.
pub(crate) struct ScriptedDeliver {
    script: Mutex<Script>,
    upstreams: watch::Sender<Arc<Upstreams>>,
    offered: watch::Sender<Vec<(String, QueueId, Vec<u32>)>>,
    probed: Mutex<Vec<String>>,
    /// Whether attempts come to their end.
    ends: watch::Sender<bool>,
}

impl ScriptedDeliver {
    /// A double that relays everything, with every named upstream ready.
    pub(crate) fn new(upstreams: &[&str]) -> Arc<Self> {
        let views = upstreams
            .iter()
            .map(|name| (Arc::from(*name), view(UpstreamState::Ready, 20)))
            .collect();
        Arc::new(Self {
            script: Mutex::new(Box::new(|attempt| {
                all(attempt, || Verdict::Relayed(evidence("250 2.0.0 taken")))
            })),
            upstreams: watch::Sender::new(Arc::new(views)),
            offered: watch::Sender::new(Vec::new()),
            probed: Mutex::default(),
            ends: watch::Sender::new(true),
        })
    }

    /// From now on answers so.
    pub(crate) fn answers(&self, script: impl FnMut(&Attempt) -> AttemptReport + Send + 'static) {
        *self.script.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(script);
    }

    /// From now on an upstream is in this state.
    pub(crate) fn set(&self, name: &str, view: UpstreamView) {
        self.upstreams.send_modify(|upstreams| {
            Arc::make_mut(upstreams).insert(name.into(), view);
        });
    }

    /// Whether attempts come to their end, from now on.
    pub(crate) fn ends(&self, ends: bool) {
        self.ends.send_replace(ends);
    }

    /// What was offered so far, where.
    pub(crate) fn offered(&self) -> Vec<(String, QueueId, Vec<u32>)> {
        self.offered.borrow().clone()
    }

    /// Waits until so many attempts were made.
    pub(crate) async fn attempts(&self, count: usize) {
        let mut offered = self.offered.subscribe();
        in_time(
            "attempts",
            offered.wait_for(|offered| offered.len() >= count),
        )
        .await
        .unwrap();
    }

    /// The upstreams a probe was asked of.
    pub(crate) fn probed(&self) -> Vec<String> {
        self.probed.lock().unwrap().clone()
    }
}

impl Deliver for ScriptedDeliver {
    fn attempt(&self, attempt: Attempt) -> Pin<Box<dyn Future<Output = AttemptReport> + Send>> {
        // A script that panics is one of the tests.
        let mut script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
        let report = script(&attempt);
        drop(script);
        self.offered.send_modify(|offered| {
            offered.push((
                attempt.upstream.to_string(),
                attempt.message.id,
                attempt.recipients.clone(),
            ));
        });
        let mut ends = self.ends.subscribe();
        Box::pin(async move {
            let _ = ends.wait_for(|ends| *ends).await;
            report
        })
    }

    fn probe(&self, upstream: &str) {
        self.probed.lock().unwrap().push(upstream.to_owned());
    }

    fn upstreams(&self) -> watch::Receiver<Arc<Upstreams>> {
        self.upstreams.subscribe()
    }
}

/// An upstream in a state.
pub(crate) fn view(state: UpstreamState, capacity: u32) -> UpstreamView {
    UpstreamView {
        state,
        since: START,
        retry_at: None,
        capacity,
        reply: None,
        remedy: None,
        last_relayed: None,
        last_failure: None,
    }
}

/// What an upstream said.
pub(crate) fn evidence(reply: &str) -> Evidence {
    Evidence {
        phase: Phase::Final,
        reply: reply.into(),
    }
}

/// The same verdict for every recipient.
pub(crate) fn all(attempt: &Attempt, verdict: impl Fn() -> Verdict) -> AttemptReport {
    AttemptReport {
        verdicts: attempt.recipients.iter().map(|&i| (i, verdict())).collect(),
        hold_reverse_path: false,
    }
}

/// A transient verdict.
pub(crate) fn deferred(reason: Reason) -> Verdict {
    Verdict::Deferred {
        reason,
        evidence: evidence("451 4.3.0 later"),
        wait: Duration::ZERO,
        refused: false,
        lost: false,
    }
}

/// Waits for something that must happen soon.
pub(crate) async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(20), future).await {
        Ok(value) => value,
        Err(elapsed) => panic!("waited in vain for {what}: {elapsed}"),
    }
}

/// The content of every accepted message of a [`Bench`].
pub(crate) const CONTENT: &[u8] = b"From: u@x.example\r\nSubject: s\r\n\r\nbody\r\n";

/// A queue over a real spool, with time and relaying in the test's hand.
pub(crate) struct Bench {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) deliver: Arc<ScriptedDeliver>,
    pub(crate) spool: Spool,
    pub(crate) handle: QueueHandle,
    pub(crate) metrics: Metrics,
    pub(crate) snapshots: watch::Sender<Arc<Snapshot>>,
    pub(crate) stage: watch::Sender<Stage>,
    task: JoinHandle<()>,
    folder: TempDir,
}

impl Bench {
    /// A queue of a document, over an empty spool.
    pub(crate) async fn new(document: Arc<Document>, deliver: Arc<ScriptedDeliver>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::over(folder, Arc::new(ManualClock::new()), 0, document, deliver).await
    }

    async fn over(
        folder: TempDir,
        clock: Arc<ManualClock>,
        deaths: u8,
        document: Arc<Document>,
        deliver: Arc<ScriptedDeliver>,
    ) -> Self {
        let snapshot = Arc::new(snapshot(document));
        let metrics = Metrics::new("0.0.0").unwrap();
        let mut recovered = Recovered::new(Arc::clone(&snapshot), &*clock);
        let options = SpoolOptions {
            path: folder.path().join("spool"),
            segment_bytes: 1 << 20,
        };
        let spool = in_time("the spool's lock", async {
            loop {
                // Jobs of the last run may still be writing.
                let visit = &mut |queued| recovered.add(Queued { deaths, ..queued });
                match Spool::open(options.clone(), clock.clone(), metrics.clone(), visit) {
                    Err(OpenError::Locked(_)) => tokio::task::yield_now().await,
                    opened => return opened.unwrap(),
                }
            }
        })
        .await;
        let (stage, shutdown) = Shutdown::channel();
        let (snapshots, receiver) = watch::channel(snapshot);
        let parts = QueueParts {
            spool: spool.clone(),
            deliver: deliver.clone(),
            snapshots: receiver,
            clock: clock.clone(),
            metrics: metrics.clone(),
            redactor: Arc::new(Redactor::new(AddressStyle::Full)),
            shutdown,
        };
        let (task, handle) = queue(parts, recovered);
        let task = tokio::spawn(task.run());
        Self {
            clock,
            deliver,
            spool,
            handle,
            metrics,
            snapshots,
            stage,
            task,
            folder,
        }
    }

    /// Accepts a message as a session would. Its queue id is the spool's.
    pub(crate) async fn accept(&self, message: Message) -> QueueId {
        self.accept_with(message, CONTENT).await
    }

    /// Accepts a message with this content.
    pub(crate) async fn accept_with(
        &self,
        mut message: Message,
        content: impl Into<Bytes>,
    ) -> QueueId {
        message.id = self.spool.next_id();
        message.accepted = self.clock.wall();
        let content = content.into();
        message.facts.length = content.len() as u64;
        message.facts.header_length = 33;
        let id = message.id;
        let queued = self
            .spool
            .commit(message, Content::Inline(content))
            .await
            .unwrap();
        self.handle.accepted(queued);
        id
    }

    /// Waits until the queue's figures are so.
    pub(crate) async fn until(&self, what: &str, fits: impl Fn(&Figures) -> bool) -> Figures {
        in_time(what, async {
            loop {
                let figures = self.handle.figures().await.unwrap();
                if fits(&figures) {
                    return figures;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }

    /// Moves time on, in steps no task can miss: each waits for the queue to have seen it.
    pub(crate) async fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.handle.figures().await.unwrap();
    }

    /// What is stored of a message; `None` if it is settled.
    pub(crate) async fn stored(&self, id: QueueId) -> Option<Arc<Message>> {
        self.spool.read(id).await.ok().map(|stored| stored.message)
    }

    /// Uses another document from now on.
    pub(crate) fn reconfigure(&self, document: Arc<Document>) {
        self.snapshots.send_replace(Arc::new(snapshot(document)));
    }

    /// Stops in order.
    pub(crate) async fn stop(self) {
        self.stage.send_replace(Stage::Stopping);
        in_time("the queue's end", self.task).await.unwrap();
        self.spool.close().await;
    }

    /// Dies, and starts again over the same spool.
    pub(crate) async fn crash(
        self,
        document: Arc<Document>,
        deliver: Arc<ScriptedDeliver>,
    ) -> Self {
        self.crash_often(0, document, deliver).await
    }

    /// The same, where every message is said to have been in flight at so many deaths.
    pub(crate) async fn crash_often(
        self,
        deaths: u8,
        document: Arc<Document>,
        deliver: Arc<ScriptedDeliver>,
    ) -> Self {
        self.task.abort();
        let _ = self.task.await;
        drop((self.handle, self.spool, self.deliver));
        Self::over(self.folder, self.clock, deaths, document, deliver).await
    }
}

fn snapshot(document: Arc<Document>) -> Snapshot {
    Snapshot::new(
        document,
        Arc::new(Senders::default()),
        std::collections::BTreeMap::default(),
    )
}
