//! A gateway without its front door, in this process: a spool, the queue over it, relaying, and a clock that only a test
//! moves. Mail is committed as a session would.
//!
//! [`Relaying::settle`] waits until everything that can be done at this time has been done; [`Relaying::advance`] moves
//! time in steps that are short against every time-out, each of them after all work is done, so that no time-out fires
//! unless a test asks for it by [`Relaying::time_out`].

use std::{collections::BTreeMap, fs, sync::Arc, time::Duration};

use bytes::Bytes;
use posthouse_config::{
    Snapshot,
    reason::{Reason, UpstreamState},
};
use posthouse_gateway::{
    clock::{Clock, ManualClock},
    inbound::Intake,
    mail::{
        Body, Content, ContentFacts, Edits, Kind, Message, Origin, Progress, QueueId, Recipient,
        Redactor, SenderIdentity, State, redact::AddressStyle,
    },
    metrics::Metrics,
    outbound::Outbound,
    queue::{
        self, Figures, QueueHandle, QueueParts, Recovered,
        deliver::{Deliver, UpstreamView, Upstreams},
    },
    shutdown::{Shutdown, Stage},
    spool::{INLINE_CONTENT, ReadError, Spool, SpoolOptions},
};
use posthouse_smtp::{Mailbox, ReversePath};
use posthouse_tests::{
    Provider, Script, Site, Turn,
    provider::{self, Step},
    wait,
};
use tokio::{runtime::Runtime, sync::watch};

/// Who sends, unless a test says otherwise.
pub(super) const FROM: &str = "orders@shop.example";

/// Who gets it, unless a test says otherwise.
pub(super) const TO: &str = "someone@customer.example";

/// Time moves in such steps: short against every time-out, so that an attempt which begins between two of them lives.
const STEP: Duration = Duration::from_secs(10);

/// A day is not passed in ten thousand steps; work is done at each of them all the same.
const MOST_STEPS: u32 = 500;

/// A message to be accepted.
pub(super) struct Mail<'a> {
    /// Who sends it; `None` is an anonymous client.
    pub(super) sender: Option<&'a str>,
    /// Reverse-path and `From:`.
    pub(super) from: &'a str,
    /// Forward-paths.
    pub(super) to: &'a [&'a str],
    /// Subject.
    pub(super) subject: &'a str,
    /// What follows the header section.
    pub(super) body: &'a [u8],
    /// An octet above 127 in the header section.
    pub(super) header_utf8: bool,
}

impl Default for Mail<'_> {
    fn default() -> Self {
        Self {
            sender: None,
            from: FROM,
            to: &[TO],
            subject: "an order",
            body: b"Hello.\r\n",
            header_utf8: false,
        }
    }
}

/// A gateway without its front door.
pub(super) struct Relaying {
    clock: Arc<ManualClock>,
    spool: Spool,
    queue: QueueHandle,
    upstreams: watch::Receiver<Arc<Upstreams>>,
    metrics: Metrics,
    snapshots: watch::Sender<Arc<Snapshot>>,
    stage: watch::Sender<Stage>,
    runtime: Option<Runtime>,
    /// Its document, senders and secrets; used by [`Relaying::publish`].
    pub(super) site: Site,
}

impl Relaying {
    /// Over an empty spool.
    pub(super) fn start(mut site: Site) -> Self {
        // Waits of minutes: shorter than them is told from at once.
        site.document.retry.initial_seconds = 60;
        site.document.retry.maximum_seconds = 600;
        let clock = Arc::new(ManualClock::new());
        let metrics = Metrics::new("test").unwrap();
        let snapshot = Arc::new(snapshot(&site));
        let mut recovered = Recovered::new(Arc::clone(&snapshot), &*clock);
        let options = SpoolOptions {
            path: site.spool(),
            segment_bytes: site.document.spool.segment_bytes,
        };
        let spool = Spool::open(options, clock.clone(), metrics.clone(), &mut |queued| {
            recovered.add(queued);
        })
        .unwrap();
        let (snapshots, receiver) = watch::channel(snapshot);
        let (stage, shutdown) = Shutdown::channel();
        let outbound = Outbound::new(
            receiver.clone(),
            spool.captured_dir(),
            0,
            clock.clone(),
            metrics.clone(),
        );
        let upstreams = outbound.upstreams();
        let (task, queue) = queue::queue(
            QueueParts {
                spool: spool.clone(),
                deliver: Arc::new(Arc::clone(&outbound)),
                snapshots: receiver,
                clock: clock.clone(),
                metrics: metrics.clone(),
                redactor: Arc::new(Redactor::new(AddressStyle::Full)),
                shutdown: shutdown.clone(),
            },
            recovered,
        );
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.spawn(outbound.run(shutdown));
        runtime.spawn(task.run());
        Self {
            clock,
            spool,
            queue,
            upstreams,
            metrics,
            snapshots,
            stage,
            runtime: Some(runtime),
            site,
        }
    }

    /// With one upstream `provider`, in clear, that takes everything but where the script says otherwise; its probe
    /// went through.
    pub(super) fn to(script: Script) -> (Self, Provider) {
        let provider = Provider::start(script);
        let relaying = Self::start(Site::relaying_to(provider.port()));
        relaying.settle();
        (relaying, provider)
    }

    /// With upstreams `first` and `second`, the latter a fallback; their probes went through or not.
    pub(super) fn with_fallback(first: Script, second: Script) -> (Self, Provider, Provider) {
        let (first, second) = (Provider::start(first), Provider::start(second));
        let mut site = Site::new();
        site.upstream("first", first.port());
        fallback(&mut site, second.port());
        let relaying = Self::start(site);
        relaying.settle();
        (relaying, first, second)
    }

    fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.as_ref().unwrap().block_on(future)
    }

    /// Goes by what the site holds now, as a re-read of the folder would: something of an upstream is another.
    pub(super) fn publish(&self) {
        let mut upstreams = self.upstreams.clone();
        upstreams.mark_unchanged();
        self.snapshots.send_replace(Arc::new(snapshot(&self.site)));
        wait::until_true("the upstreams follow the document", || {
            upstreams.has_changed().unwrap()
        });
        self.settle();
    }

    /// Accepts a message, as a session does before its `250`.
    pub(super) fn accept(&self, mail: &Mail) -> QueueId {
        let id = self.spool.next_id();
        let (message, content) = self.message(id, mail);
        let queued = self.run(async {
            let content = if content.len() <= INLINE_CONTENT {
                Content::Inline(Bytes::from(content))
            } else {
                let mut upload = self.spool.upload(id).await.unwrap();
                upload.write(&content).await.unwrap();
                upload.finish().await.unwrap()
            };
            self.spool.commit(message, content).await.unwrap()
        });
        self.queue.accepted(queued);
        id
    }

    /// Accepts a message from an address to some, and waits until what can be done has been done.
    pub(super) fn send(&self, from: &str, to: &[&str]) -> QueueId {
        let id = self.accept(&Mail {
            from,
            to,
            ..Mail::default()
        });
        self.settle();
        id
    }

    fn message(&self, id: QueueId, mail: &Mail) -> (Message, Vec<u8>) {
        let header = format!(
            "From: {}\r\nSubject: {}\r\nMessage-ID: <{id}@shop.example>\r\n\r\n",
            mail.from, mail.subject
        );
        let mut content = header.clone().into_bytes();
        content.extend_from_slice(mail.body);
        let facts = ContentFacts {
            length: content.len() as u64,
            header_length: u32::try_from(header.len()).unwrap(),
            longest_line: 100,
            header_utf8: mail.header_utf8,
            ..ContentFacts::default()
        };
        let recipient = |address: &&str| Recipient {
            forward_path: Mailbox::parse(address).unwrap(),
            orcpt: None,
            notify: None,
            progress: Progress::default(),
        };
        let sender = mail
            .sender
            .map_or(SenderIdentity::Anonymous, |name| SenderIdentity::Sender {
                namespace: "shop".into(),
                name: name.into(),
            });
        let message = Message {
            id,
            generation: 0,
            kind: Kind::Mail,
            accepted: self.clock.wall(),
            expiry_seconds: None,
            listener: "plain".into(),
            sender,
            client: None,
            reverse_path: ReversePath::parse(mail.from).unwrap(),
            envid: None,
            return_full: false,
            body: Body::Unspecified,
            smtputf8: mail.header_utf8,
            recipients: mail.to.iter().map(recipient).collect(),
            from: vec![Mailbox::parse(mail.from).unwrap()],
            message_id: format!("<{id}@shop.example>").into(),
            facts,
            edits: Edits::default(),
            origin: Origin::Here,
        };
        (message, content)
    }

    /// A person wants a message tried now.
    pub(super) fn retry(&self, id: QueueId) {
        self.run(self.queue.retry(id)).unwrap();
        self.settle();
    }

    /// Waits until nothing more happens at this time: no probe is due, no attempt is under way, and none can begin.
    pub(super) fn settle(&self) {
        wait::until_true("everything at this time is done", || self.is_quiet());
    }

    fn is_quiet(&self) -> bool {
        let now = self.clock.now();
        let upstreams = Arc::clone(&self.upstreams.borrow());
        let names = self.site.document.upstreams.len();
        let no_probe = upstreams.values().all(|view| {
            view.state == UpstreamState::Ready || view.retry_at.is_some_and(|at| at > now)
        });
        // The task answers before it looks at the time; when it answers again it has looked.
        let _ = self.figures();
        let is_known = upstreams.len() == names && upstreams == *self.upstreams.borrow();
        no_probe && self.figures().by_state[0] == 0 && is_known
    }

    /// Moves time on, everything being done at each step of it.
    pub(super) fn advance(&self, by: Duration) {
        let mut left = by;
        while !left.is_zero() {
            self.settle();
            let step = left.min(STEP.max(by / MOST_STEPS));
            self.clock.advance(step);
            left -= step;
        }
        self.settle();
    }

    /// Waits until something is given exactly this long, and lets that time pass at once.
    pub(super) fn time_out(&self, limit: Duration) {
        wait::until_true("something is given that long", || {
            // When the one worker has answered, whoever waits has come to rest.
            let is_given = self.clock.is_awaited(limit);
            let _ = self.figures();
            is_given && self.clock.is_awaited(limit)
        });
        self.clock
            .advance(limit.saturating_sub(Duration::from_secs(1)));
        assert!(!self.is_quiet(), "given up before {limit:?}");
        self.clock.advance(Duration::from_secs(1));
        self.settle();
    }

    /// As [`Relaying::time_out`] for a write: until the sockets' buffers are full each part is given that long anew.
    pub(super) fn time_out_of_writing(&self, limit: Duration) {
        loop {
            let is_given = || self.clock.is_awaited(limit);
            wait::until_true("something is given that long", || {
                is_given() || self.is_quiet()
            });
            if !is_given() {
                return;
            }
            self.clock.advance(limit);
        }
    }

    /// What waits.
    pub(super) fn figures(&self) -> Figures {
        self.run(self.queue.figures()).unwrap()
    }

    /// Where the recipients of a message have come to, as the spool has it; `None` once all have their end.
    pub(super) fn stored(&self, id: QueueId) -> Option<Vec<Progress>> {
        match self.run(self.spool.read(id)) {
            Ok(stored) => {
                let recipients = stored.message.recipients.iter();
                Some(
                    recipients
                        .map(|recipient| recipient.progress.clone())
                        .collect(),
                )
            }
            Err(ReadError::NotFound) => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Where the only recipient of a message has come to.
    pub(super) fn progress(&self, id: QueueId) -> Progress {
        let mut stored = self.stored(id).expect("the message is in the spool");
        assert_eq!(stored.len(), 1);
        stored.remove(0)
    }

    /// State and reason of every recipient of a message.
    pub(super) fn states(&self, id: QueueId) -> Vec<(State, Option<Reason>)> {
        let stored = self.stored(id).expect("the message is in the spool");
        stored
            .iter()
            .map(|progress| (progress.state, progress.reason))
            .collect()
    }

    /// What is shown for a message: its own state, or that of its upstreams while none can take mail.
    pub(super) fn shown(&self, id: QueueId) -> (&'static str, Option<Reason>) {
        let shown = self.run(self.queue.show(id)).unwrap();
        (shown.state, shown.reason)
    }

    /// What is known of an upstream.
    pub(super) fn upstream(&self, name: &str) -> UpstreamView {
        self.upstreams.borrow()[name].clone()
    }

    /// The state of an upstream; unless it is `Ready` a remedy is given with it.
    pub(super) fn state(&self, name: &str) -> UpstreamState {
        let view = self.upstream(name);
        let has_words = view.remedy.is_some() && view.reply.is_some();
        assert_eq!(has_words, view.state != UpstreamState::Ready, "{view:?}");
        view.state
    }

    /// What an upstream said that led to its state.
    pub(super) fn reply(&self, name: &str) -> String {
        self.upstream(name).reply.unwrap_or_default()
    }

    /// Recipients with an outcome, at all upstreams together: `relayed`, `deferred`, `failed` or `expired`.
    pub(super) fn outcomes(&self, outcome: &str) -> u64 {
        self.count(
            "posthouse_recipients_total",
            &format!("outcome=\"{outcome}\""),
        )
    }

    /// Reports written.
    pub(super) fn reports(&self) -> u64 {
        self.count("posthouse_reports_total", "")
    }

    fn count(&self, name: &str, label: &str) -> u64 {
        let text = self.metrics.encode().0;
        let lines = text
            .lines()
            .filter(|line| line.starts_with(name) && line.contains(label));
        lines
            .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
            .sum()
    }

    /// Asserts that the mail went out whole and nobody was told anything: so many recipients relayed, none failed.
    pub(super) fn assert_relayed(&self, recipients: u64) {
        // What a person asked for is stored before the queue has begun it: it may look quiet for a moment.
        wait::until_true("nothing is queued any more", || {
            self.figures().messages == 0
        });
        let outcomes = ["relayed", "failed", "expired"].map(|outcome| self.outcomes(outcome));
        assert_eq!(
            (outcomes, self.reports()),
            ([recipients, 0, 0], 0),
            "relayed, failed, expired, and reports"
        );
    }

    /// Asserts that these recipients of one message of [`FROM`] failed, each with a status, that one report says so, and
    /// that the provider took it.
    pub(super) fn assert_reported(&self, provider: &Provider, failed: &[(&str, &str)]) {
        let reports = reports(provider);
        assert_eq!((self.reports(), reports.len()), (1, 1));
        assert_eq!(self.outcomes("failed"), failed.len() as u64);
        assert_eq!(reports[0].recipients, [FROM]);
        let text = reports[0].text();
        assert_eq!(text.matches("Action: failed").count(), failed.len());
        for (recipient, status) in failed {
            let of_recipient = format!(
                "Final-Recipient: rfc822; {recipient}\r\nAction: failed\r\nStatus: {status}\r\n"
            );
            assert!(text.contains(&of_recipient), "{of_recipient} in {text}");
        }
    }

    /// Asserts that nothing has failed and nobody was told anything.
    pub(super) fn assert_nothing_failed(&self) {
        let failed = self.outcomes("failed") + self.outcomes("expired");
        assert_eq!((failed, self.reports()), (0, 0));
    }
}

impl Drop for Relaying {
    fn drop(&mut self) {
        self.stage.send_replace(Stage::Aborting);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Adds an upstream `second` that is used while the first one cannot take mail.
pub(super) fn fallback(site: &mut Site, port: u16) {
    site.upstream("second", port);
    let route = site.document.routes.first_mut().unwrap();
    let mut fallback = route.targets[0].clone();
    "second".clone_into(&mut fallback.upstream);
    fallback.priority = 1;
    route.targets.push(fallback);
}

/// Everything the site holds, as one reading of its folder.
fn snapshot(site: &Site) -> Snapshot {
    let folder = site.folder();
    let files: BTreeMap<String, Arc<[u8]>> = site
        .document
        .files()
        .into_iter()
        .filter_map(|path| Some((path.to_owned(), fs::read(folder.join(path)).ok()?.into())))
        .collect();
    let (document, senders) = (site.document.clone(), site.senders.clone());
    Snapshot::new(Arc::new(document), Arc::new(senders), files)
}

/// The reports a provider took: mail with the null reverse-path.
pub(super) fn reports(provider: &Provider) -> Vec<provider::Mail> {
    let mails = provider.mails().into_iter();
    mails.filter(|mail| mail.from.is_empty()).collect()
}

/// Transactions a provider saw with a reverse-path: those of mail, not of reports.
pub(super) fn transactions(provider: &Provider) -> usize {
    provider.commands_of("MAIL FROM:<") - provider.commands_of("MAIL FROM:<>")
}

/// A script that does this at one step, and the usual at others.
pub(super) fn at(step: Step, turn: Turn) -> Script {
    Script::new(move |exchange| {
        if exchange.step == step {
            turn.clone()
        } else {
            Turn::Usual
        }
    })
}

/// A script that answers so at one step.
pub(super) fn says(step: Step, reply: &str) -> Script {
    at(step, Turn::reply(reply))
}

/// A script that answers so at one step, where the line contains a word.
pub(super) fn refuses(step: Step, word: &'static str, reply: &'static str) -> Script {
    Script::new(move |exchange| {
        if exchange.step == step && exchange.line.contains(word) {
            Turn::reply(reply)
        } else {
            Turn::Usual
        }
    })
}

/// Minutes.
pub(super) const fn minutes(minutes: u64) -> Duration {
    Duration::from_mins(minutes)
}
