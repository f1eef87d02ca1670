//! One upstream of the document: its transport, its health, and what is known of it.
//!
//! Made anew when its part of the document or a file it names changes; attempts under way keep the old one until they
//! are over. Everything that changes its state goes through here, so that it is logged, counted and published once.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use posthouse_config::{
    Snapshot,
    document::{Document, SmtpTransport, Transport, Upstream},
    reason::{Phase, UpstreamState},
};
use posthouse_smtp::extension::Extensions;
use tokio::sync::{Notify, watch};

use super::{
    authentication,
    capture::Capture,
    dictionary::Dictionary,
    health::{Change, Health, Now, Origin},
    opening::{OpenError, Opener},
    pool::Pool,
    tls::{SystemRoots, Tls},
    verdict::{self, Fault, evidence, lacking::Known, ruling::Effects},
};
use crate::{
    clock::Clock,
    mail::Message,
    metrics::Metrics,
    queue::deliver::{Evidence, UpstreamView, Upstreams},
};

/// Captured messages written at once: they share one disk.
const CAPTURES: u32 = 4;

/// What every target is given.
#[derive(Clone)]
pub(crate) struct Shared {
    /// Which of the relay's gateways this is.
    pub(crate) ordinal: u32,
    /// For waiting and for showing.
    pub(crate) clock: Arc<dyn Clock>,
    /// For counting.
    pub(crate) metrics: Metrics,
    /// Where states are published.
    pub(crate) board: watch::Sender<Arc<Upstreams>>,
}

/// One upstream.
pub(crate) struct Target {
    /// Its name.
    pub(crate) name: Arc<str>,
    /// What it was made of; another one is another target.
    pub(crate) origin: Made,
    /// How mail is handed over.
    pub(crate) way: Way,
    /// Told when a probe may be due earlier than was thought.
    pub(crate) wake: Notify,
    health: Mutex<Health>,
    /// The second up to which what is only shown has been published.
    shown: AtomicU64,
    /// Whether another one, or none, has its name now: what it says counts no more.
    is_retired: AtomicBool,
    shared: Shared,
}

/// Everything of a snapshot that one target depends on.
#[derive(Clone, PartialEq)]
pub(crate) struct Made {
    upstream: Upstream,
    files: Vec<Option<Arc<[u8]>>>,
    hostname: String,
    loopback_is_trusted: bool,
}

/// How mail is handed over.
pub(crate) enum Way {
    /// To a submission server.
    Smtp(Box<SmtpTarget>),
    /// Into files.
    Capture(Capture),
    /// Not at all: something that was configured is not there.
    Unusable(OpenError),
}

/// A submission server.
pub(crate) struct SmtpTarget {
    /// Its sessions.
    pub(crate) pool: Pool,
    /// What it is known to mean.
    pub(crate) dictionary: Dictionary,
    /// Recipients in one transaction.
    pub(crate) recipients: usize,
    /// Octets of one message as stored, by the document.
    bound: u64,
    known: Mutex<Known>,
}

impl Made {
    /// What an upstream is made of in a snapshot.
    pub(crate) fn of(upstream: &Upstream, snapshot: &Snapshot) -> Self {
        Self {
            upstream: upstream.clone(),
            files: upstream
                .files()
                .map(|path| snapshot.file(path).cloned())
                .collect(),
            hostname: snapshot.document.hostname.clone(),
            loopback_is_trusted: snapshot.document.loopback_is_trusted,
        }
    }
}

impl Target {
    /// The target of an upstream.
    pub(crate) fn new(
        origin: Made,
        snapshot: &Snapshot,
        roots: &SystemRoots,
        captured: &Path,
        shared: Shared,
    ) -> Self {
        let upstream = &origin.upstream;
        let name: Arc<str> = upstream.name.as_str().into();
        let (way, maximum) = match &upstream.transport {
            Transport::Capture(_) => (Way::Capture(Capture::new(captured, &name)), CAPTURES),
            Transport::Smtp(smtp) => (
                SmtpTarget::new(&name, smtp, snapshot, roots, &shared)
                    .map_or_else(Way::Unusable, |target| Way::Smtp(Box::new(target))),
                snapshot
                    .document
                    .share(smtp.limits.max_connections, shared.ordinal),
            ),
        };
        let health = Mutex::new(Health::new(maximum, now(&shared)));
        let target = Self {
            name,
            origin,
            way,
            wake: Notify::new(),
            health,
            shown: AtomicU64::new(0),
            is_retired: AtomicBool::new(false),
            shared,
        };
        target.start();
        target
    }

    /// The state in which it begins.
    fn start(&self) {
        let now = self.now();
        match &self.way {
            Way::Smtp(_) => self.published(Change::State),
            Way::Capture(_) => {
                let change = self.health().probed(now);
                self.published(change);
            }
            Way::Unusable(error) => {
                self.failed(
                    &verdict::opening::of(error, Dictionary::CUSTOM),
                    Origin::Probe,
                );
            }
        }
    }

    /// Takes the part of the upstream's connections that this gateway has by a document. Nothing else of the target changes:
    /// its state and its sessions stay when the number of gateways does not.
    pub(crate) fn follow_share(&self, document: &Document) {
        if let (Transport::Smtp(smtp), Way::Smtp(target)) =
            (&self.origin.upstream.transport, &self.way)
        {
            let share = document.share(smtp.limits.max_connections, self.shared.ordinal);
            target.pool.resize(share);
            let change = self.health().limit(share);
            self.published(change);
        }
    }

    /// Both clocks.
    pub(crate) fn now(&self) -> Now {
        now(&self.shared)
    }

    /// Its health.
    pub(crate) fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its state.
    pub(crate) fn state(&self) -> UpstreamState {
        self.health().view().state
    }

    /// What is known of what it takes.
    pub(crate) fn known(&self) -> Known {
        match &self.way {
            Way::Smtp(smtp) => smtp.known(),
            Way::Capture(_) => Known::default(),
            Way::Unusable(_) => Known {
                bound: match &self.origin.upstream.transport {
                    Transport::Smtp(smtp) => Some(smtp.limits.message_bytes),
                    Transport::Capture(_) => None,
                },
                ..Known::default()
            },
        }
    }

    /// A session could not be opened for mail; what the mail's recipients are told.
    pub(crate) fn failed_to_open(&self, error: &OpenError) -> Evidence {
        if matches!(error, OpenError::Stopped) {
            return evidence(Phase::Connect, error);
        }
        let fault = verdict::opening::of(error, self.dictionary());
        self.failed(&fault, Origin::Mail);
        fault.evidence
    }

    /// The upstream as a whole cannot be used.
    pub(crate) fn failed(&self, fault: &Fault, origin: Origin) {
        let now = self.now();
        let change = self.health().fault(fault, origin, now);
        self.published(change);
    }

    /// A probe went through.
    pub(crate) fn probed(&self) {
        let now = self.now();
        let change = self.health().probed(now);
        self.published(change);
    }

    /// What a transaction brought.
    pub(crate) fn apply(&self, message: &Message, effects: &Effects, senders: usize) {
        let now = self.now();
        let change = self.health().apply(message, effects, senders, now);
        self.published(change);
    }

    /// Asks for a probe now.
    pub(crate) fn hurry(&self) {
        let now = self.now();
        self.health().hurry(now);
        self.wake.notify_one();
    }

    /// How long a transaction took.
    pub(crate) fn observe_transaction(&self, start: Now) {
        self.shared
            .metrics
            .upstream_phase_duration_seconds
            .with_label_values(&[&*self.name, "transaction"])
            .observe(self.now().monotonic.since(start.monotonic).as_secs_f64());
    }

    /// What it is known to mean.
    pub(crate) fn dictionary(&self) -> Dictionary {
        match &self.way {
            Way::Smtp(smtp) => smtp.dictionary,
            Way::Capture(_) | Way::Unusable(_) => Dictionary::CUSTOM,
        }
    }

    /// Tells everyone who watches.
    fn published(&self, change: Change) {
        match change {
            Change::Nothing => self.show(),
            Change::Capacity => {
                let view = self.health().view().clone();
                self.enter(view, |_| true);
            }
            Change::State => {
                let view = self.health().view().clone();
                self.enter(view, |view| {
                    self.report(view);
                    true
                });
                self.wake.notify_one();
            }
        }
    }

    /// Publishes what is only shown: nobody is woken for it, and not more than once a second.
    fn show(&self) {
        let second = {
            let health = self.health();
            let view = health.view();
            view.last_relayed.max(view.last_failure)
        }
        .map_or(0, |at| at.as_millis() / 1000);
        if self.shown.swap(second, Ordering::Relaxed) == second {
            return;
        }
        let view = self.health().view().clone();
        self.enter(view, |_| false);
    }

    /// Puts its view on the board, and wakes who watches if `tells` says so. Whether it is retired is looked at while
    /// nobody else may write there: who took its place writes after it, or finds nothing of it.
    fn enter(&self, view: UpstreamView, tells: impl FnOnce(&UpstreamView) -> bool) {
        self.shared.board.send_if_modified(|all| {
            if self.is_retired.load(Ordering::Acquire) {
                return false;
            }
            let wakes = tells(&view);
            Arc::make_mut(all).insert(Arc::clone(&self.name), view);
            wakes
        });
    }

    /// From now on another one, or none, has its name. To be called before that one is made.
    pub(crate) fn retire(&self) {
        self.is_retired.store(true, Ordering::Release);
    }

    /// Closes idle sessions.
    pub(crate) fn close_idle(&self) {
        if let Way::Smtp(smtp) = &self.way {
            smtp.pool.clear();
        }
    }

    /// Logs and counts a state.
    fn report(&self, view: &UpstreamView) {
        let metrics = &self.shared.metrics;
        let name = &*self.name;
        for state in UpstreamState::ALL {
            metrics
                .upstream_state
                .with_label_values(&[name, state.as_label()])
                .set(i64::from(*state == view.state));
        }
        let is_up = view.state.is_ready();
        metrics
            .upstream_up
            .with_label_values(&[name])
            .set(i64::from(is_up));
        let reply = view.reply.as_deref().unwrap_or_default();
        if is_up || view.state == UpstreamState::Untried {
            tracing::info!(upstream = name, state = %view.state, "upstream");
            return;
        }
        metrics
            .upstream_failures
            .with_label_values(&[name, view.state.as_label()])
            .inc();
        let remedy = view.remedy.as_deref().unwrap_or_default();
        tracing::warn!(upstream = name, state = %view.state, reply, remedy, "upstream cannot be used");
    }
}

impl SmtpTarget {
    fn new(
        name: &Arc<str>,
        smtp: &SmtpTransport,
        snapshot: &Snapshot,
        roots: &SystemRoots,
        shared: &Shared,
    ) -> Result<Self, OpenError> {
        let opener = Opener {
            upstream: Arc::clone(name),
            host: smtp.host.clone(),
            port: smtp.port,
            plan: authentication::plan(smtp, snapshot)?,
            tls: Tls::of(smtp, snapshot, roots)?,
            clock: Arc::clone(&shared.clock),
            metrics: shared.metrics.clone(),
        };
        let limits = &smtp.limits;
        Ok(Self {
            pool: Pool::new(
                opener,
                limits,
                snapshot
                    .document
                    .share(limits.max_connections, shared.ordinal),
                Arc::clone(&shared.clock),
            ),
            dictionary: Dictionary::CUSTOM,
            recipients: limits.recipients_per_message.max(1) as usize,
            bound: limits.message_bytes,
            known: Mutex::new(Known {
                bound: Some(limits.message_bytes),
                ..Known::default()
            }),
        })
    }

    /// What is known of what it takes.
    pub(crate) fn known(&self) -> Known {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it said in EHLO.
    pub(crate) fn learn(&self, extensions: &Extensions) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Known::of(extensions, self.bound);
    }

    /// It refused a message for its size: so it would the next one. Forgotten with the next connection.
    pub(crate) fn refused_size(&self, size: u64) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let largest = size.saturating_sub(1);
        known.largest = Some(known.largest.map_or(largest, |known| known.min(largest)));
    }
}

fn now(shared: &Shared) -> Now {
    Now {
        monotonic: shared.clock.now(),
        wall: shared.clock.wall(),
    }
}
