//! A document with one upstream or more, a message, and an [`Outbound`] between them.

use std::{collections::BTreeMap, sync::Arc};

use posthouse_config::{
    Document, Senders, Snapshot,
    reason::{Reason, UpstreamState},
};
use posthouse_smtp::{Mailbox, ReversePath};
use tokio::sync::watch;

use super::super::*;
use crate::{
    clock::ManualClock,
    mail::{
        Body, Content, ContentFacts, Edits, Kind, Message, Origin, Progress, QueueId, Recipient,
        SenderIdentity,
    },
    queue::deliver::UpstreamView,
};

/// Everything of one test.
pub(in super::super) struct Fixture {
    pub(in super::super) outbound: Arc<Outbound>,
    pub(in super::super) clock: Arc<ManualClock>,
    pub(in super::super) metrics: Metrics,
    pub(in super::super) folder: tempfile::TempDir,
    snapshot: watch::Sender<Arc<Snapshot>>,
    stage: watch::Sender<Stage>,
    shutdown: Shutdown,
    run: tokio::task::JoinHandle<()>,
}

/// The YAML of an upstream at a port, in clear; `more` goes into `smtp`.
pub(in super::super) fn upstream(name: &str, port: u16, more: &str) -> String {
    let tls = if more.contains("tls:") {
        ""
    } else {
        "tls: { mode: None }"
    };
    let separator = if more.is_empty() || tls.is_empty() {
        ""
    } else {
        ", "
    };
    format!(
        "  - {{ name: {name}, transport: {{ smtp: {{ host: 127.0.0.1, port: {port}, {tls}{separator}{more} }} }} }}\n"
    )
}

fn snapshot(upstreams: &str, files: &[(&str, &str)]) -> Arc<Snapshot> {
    let first = upstreams
        .split_once("name: ")
        .and_then(|(_, rest)| rest.split_once(','))
        .map_or("a", |(name, _)| name);
    let text = format!(
        "format: 1\nnumber: 1\ngeneration: 1\nrelay: {{ namespace: n, name: r }}\nhostname: mail.example.com\nreplicas: 1\n\
         loopbackIsTrusted: true\nlisteners:\n  - {{ name: plain, protocol: Smtp, address: \"127.0.0.1:0\", tls: Disabled }}\n\
         upstreams:\n{upstreams}routes:\n  - {{ name: default, targets: [{{ upstream: {first} }}] }}\nreports: {{ sender: p@mail.example.com }}\n"
    );
    let files: BTreeMap<String, Arc<[u8]>> = files
        .iter()
        .map(|(path, text)| ((*path).to_owned(), text.as_bytes().into()))
        .collect();
    Arc::new(Snapshot::new(
        Arc::new(Document::parse(&text).unwrap()),
        Arc::new(Senders::default()),
        files,
    ))
}

impl Fixture {
    /// Runs an outbound on a document with these upstreams and files.
    pub(in super::super) fn new(upstreams: &str, files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new());
        let metrics = Metrics::new("test").unwrap();
        let (sender, receiver) = watch::channel(snapshot(upstreams, files));
        let outbound = Outbound::new(
            receiver,
            folder.path().join("captured"),
            0,
            Arc::clone(&clock) as Arc<dyn Clock>,
            metrics.clone(),
        );
        let (stage, shutdown) = Shutdown::channel();
        let run = tokio::spawn(Arc::clone(&outbound).run(shutdown.clone()));
        Self {
            outbound,
            clock,
            metrics,
            folder,
            snapshot: sender,
            stage,
            shutdown,
            run,
        }
    }

    /// An outbound with one upstream `a` in clear, once its probe went through.
    pub(in super::super) async fn ready(port: u16) -> Self {
        let fixture = Self::new(&upstream("a", port, ""), &[]);
        fixture.until("a", UpstreamState::Ready).await;
        fixture
    }

    /// Another document.
    pub(in super::super) fn change(&self, upstreams: &str, files: &[(&str, &str)]) {
        self.snapshot.send_replace(snapshot(upstreams, files));
    }

    /// Moves the stage of the shutdown.
    pub(in super::super) fn stop(&self, stage: Stage) {
        self.stage.send_replace(stage);
    }

    /// Waits for the end of what runs until the stop.
    pub(in super::super) async fn ended(self) {
        let deadline = std::time::Duration::from_secs(20);
        let ended = tokio::time::timeout(deadline, self.run).await;
        ended.expect("it does not end").unwrap();
    }

    /// Waits until an upstream is in a state.
    pub(in super::super) async fn until(&self, name: &str, state: UpstreamState) -> UpstreamView {
        let mut views = self.outbound.upstreams();
        let is_there = |all: &Arc<Upstreams>| all.get(name).is_some_and(|view| view.state == state);
        let deadline = std::time::Duration::from_secs(20);
        let found = tokio::time::timeout(deadline, views.wait_for(is_there)).await;
        let Ok(found) = found else {
            panic!("{name} is not {state}: {:?}", self.view(name));
        };
        found.unwrap()[name].clone()
    }

    /// What is shown of an upstream.
    pub(in super::super) fn view(&self, name: &str) -> UpstreamView {
        self.outbound.upstreams().borrow()[name].clone()
    }

    /// One attempt at `a` with all recipients.
    pub(in super::super) async fn attempt(&self, message: Message) -> AttemptReport {
        self.attempt_with(message, CONTENT).await
    }

    /// One attempt at `a` with this content.
    pub(in super::super) async fn attempt_with(
        &self,
        message: Message,
        content: &[u8],
    ) -> AttemptReport {
        let attempt = self.offer(message, content);
        self.outbound.attempt(attempt).await
    }

    /// An attempt at `a` with this content, not begun.
    pub(in super::super) fn offer(&self, mut message: Message, content: &[u8]) -> Attempt {
        message.facts.length = content.len() as u64;
        let recipients = 0..u32::try_from(message.recipients.len()).unwrap();
        Attempt {
            upstream: "a".into(),
            recipients: recipients.collect(),
            message: Arc::new(message),
            content: Content::Inline(content.to_vec().into()),
            eligible: Arc::from(["a".into()]),
            first_priority: true,
            shutdown: self.shutdown.clone(),
            early: tokio::sync::mpsc::unbounded_channel().0,
        }
    }
}

/// Some content.
pub(in super::super) const CONTENT: &[u8] = b"From: s@a.example\r\nSubject: x\r\n\r\n.dot\r\n";

/// A message to `recipients` addresses.
pub(in super::super) fn message(number: u64, recipients: usize) -> Message {
    let recipient = |i| Recipient {
        forward_path: Mailbox::parse(&format!("r{i}@b.example")).unwrap(),
        orcpt: None,
        notify: None,
        progress: Progress::default(),
    };
    Message {
        id: QueueId::new(1, number),
        generation: 0,
        kind: Kind::Mail,
        accepted: crate::mail::Timestamp::default(),
        expiry_seconds: None,
        listener: "plain".into(),
        sender: SenderIdentity::Anonymous,
        client: None,
        reverse_path: ReversePath::parse("s@a.example").unwrap(),
        envid: None,
        return_full: false,
        body: Body::Unspecified,
        smtputf8: false,
        recipients: (0..recipients).map(recipient).collect(),
        from: vec![Mailbox::parse("s@a.example").unwrap()],
        message_id: "<x@a.example>".into(),
        facts: ContentFacts::default(),
        edits: Edits::default(),
        origin: Origin::Here,
    }
}

/// A verdict in one word, with its reason.
pub(in super::super) fn word(verdict: &Verdict) -> (&'static str, Option<Reason>) {
    match verdict {
        Verdict::Relayed(_) => ("relayed", None),
        Verdict::Failed(reason, _) => ("failed", Some(*reason)),
        Verdict::Deferred { reason, .. } => ("deferred", Some(*reason)),
        Verdict::Held(reason, _) => ("held", Some(*reason)),
        Verdict::Unconfirmed(_) => ("unconfirmed", None),
        Verdict::Unsuitable(reason, _) => ("unsuitable", Some(*reason)),
        Verdict::NotOffered(_) => ("not offered", None),
    }
}

/// The words of a report.
pub(in super::super) fn words(report: &AttemptReport) -> Vec<(&'static str, Option<Reason>)> {
    report
        .verdicts
        .iter()
        .map(|(_, verdict)| word(verdict))
        .collect()
}

/// What was said or happened.
pub(in super::super) fn said(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Relayed(said)
        | Verdict::Failed(_, said)
        | Verdict::Deferred { evidence: said, .. }
        | Verdict::Held(_, said)
        | Verdict::Unconfirmed(said)
        | Verdict::Unsuitable(_, said)
        | Verdict::NotOffered(Some(said)) => format!("{}: {}", said.phase, said.reply),
        Verdict::NotOffered(None) => String::new(),
    }
}
