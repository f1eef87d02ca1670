//! A job: everything that is done with one message while it is busy, in a task of its own.
//!
//! An attempt reads the message if need be, plans, writes `Begin`, offers, writes the outcome, and only then tells the
//! schedule. The other jobs (giving up by age, by hand, or just looking where a message belongs) go the same way
//! without an attempt. A job that panics ends itself alone: its message is tried again a minute later.

use std::{sync::Arc, time::Duration};

use posthouse_config::reason::Reason;

use super::{
    deliver::{Attempt, AttemptReport, Verdict},
    entry::Now,
    expiry::{self, Age, Evidence},
    plan::{Plan, plan},
    schedule::{Overdue, Taken},
    settle::{self, Settled},
    shared::{Config, Shared},
    state::{self, Event as Change, Policy},
    window::Cached,
};
use crate::{
    clock::Monotonic,
    mail::{Content, Message, Outcome, Progress, QueueId, Queued, State, Timestamp},
    route::{Way, hash},
    spool::{ReadError, StoreError, Stored},
};

/// How long a message rests that could not be read, or whose job broke.
const REST: Duration = Duration::from_mins(1);

/// How long a message rests that was not offered although its upstream seemed ready.
const BREATH: Duration = Duration::from_secs(1);

/// What a job tells the queue's task.
#[derive(Debug)]
pub(crate) enum Event {
    /// The upstream has room again; what the attempt brought is being written.
    Freed(Arc<str>),
    /// What the attempt said about the reverse-path at the upstream.
    ReversePath {
        /// The upstream.
        upstream: Arc<str>,
        /// The message.
        message: Arc<Message>,
        /// Refused, or accepted.
        refused: bool,
    },
    /// The job is over.
    Done {
        /// Its message.
        id: QueueId,
        /// What became of it.
        end: End,
    },
}

/// What became of a job's message.
#[derive(Debug)]
pub(crate) enum End {
    /// Every recipient has its end, and that is stored.
    Settled(Arc<Message>, Consequences),
    /// There is more to do, not before a moment.
    Again(Cached, Monotonic, Consequences),
    /// Not offered: its reverse-path is held there.
    HeldBack(Cached),
    /// To be looked at again then, as if nothing had been done.
    Later(Monotonic),
    /// The spool does not have it, or cannot read it any more.
    Lost,
}

/// What else follows from an outcome.
#[derive(Debug, Default)]
pub(crate) struct Consequences {
    /// A report that was stored in the same batch.
    pub(crate) report: Option<Queued>,
    /// Recipients that failed or expired.
    pub(crate) failures: u64,
    /// An attempt was made.
    pub(crate) attempted: bool,
}

/// What a job is for.
#[derive(Debug)]
pub(crate) enum Work {
    /// Offer it to an upstream.
    Attempt(Arc<str>, Box<Taken>),
    /// Find out to which lane it belongs now.
    Sort(QueueId),
    /// Give up what is too old.
    Expire(Overdue),
    /// Hold it: it was in flight at too many deaths.
    Poison(QueueId),
    /// A person wants it tried now.
    Retry(QueueId),
    /// A person gives it up.
    Cancel(QueueId),
}

impl Work {
    fn id(&self) -> QueueId {
        match self {
            Self::Attempt(_, taken) => taken.id,
            Self::Expire(overdue) => overdue.id,
            Self::Sort(id) | Self::Poison(id) | Self::Retry(id) | Self::Cancel(id) => *id,
        }
    }
}

/// Tells the queue's task how a job ended, also if it ended by a panic.
struct Ending<'a> {
    shared: &'a Shared,
    id: QueueId,
    upstream: Option<Arc<str>>,
    told: bool,
}

impl Ending<'_> {
    fn send(&self, event: Event) {
        // Without a receiver the queue's task is gone, and the process with it.
        let _ = self.shared.events.send(event);
    }

    fn free(&mut self) {
        if let Some(upstream) = self.upstream.take() {
            self.send(Event::Freed(upstream));
        }
    }

    fn tell(mut self, end: End) {
        self.free();
        self.told = true;
        self.send(Event::Done { id: self.id, end });
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if !self.told {
            self.free();
            let end = End::Later(self.shared.clock.now().plus(REST));
            self.send(Event::Done { id: self.id, end });
        }
    }
}

/// Does a job.
pub(crate) async fn run(shared: Arc<Shared>, config: Arc<Config>, work: Work) {
    let mut ending = Ending {
        shared: &shared,
        id: work.id(),
        upstream: None,
        told: false,
    };
    let end = match work {
        Work::Attempt(upstream, taken) => {
            ending.upstream = Some(Arc::clone(&upstream));
            attempt(&mut ending, &config, &upstream, *taken).await
        }
        Work::Sort(id) => look(&shared, id).await,
        Work::Expire(overdue) => expire(&shared, &config, overdue).await,
        Work::Poison(id) => change_all(&shared, &config, id, &Change::Poisoned).await,
        Work::Retry(id) => change_all(&shared, &config, id, &Change::Retried).await,
        Work::Cancel(id) => change_all(&shared, &config, id, &Change::Cancelled).await,
    };
    ending.tell(end);
}

async fn attempt(
    ending: &mut Ending<'_>,
    config: &Config,
    upstream: &Arc<str>,
    taken: Taken,
) -> End {
    let shared = ending.shared;
    let (message, content) = match taken.cached {
        Some(Cached {
            message,
            content: Some(content),
        }) => (message, content),
        _ => match read(shared, taken.id).await {
            Ok(Stored { message, content }) => (message, content),
            Err(end) => return end,
        },
    };
    let started = Now::read(&*shared.clock);
    let is_probe = taken.entry.is_probe();
    let planned = plan(
        &message,
        upstream,
        &taken.way,
        &config.router,
        &shared.holds,
        is_probe,
        started.wall,
    );
    let (recipients, way, first_priority) = match planned {
        Plan::Offer {
            recipients,
            way,
            first_priority,
        } => (recipients, way, first_priority),
        Plan::HeldBack => {
            return End::HeldBack(Cached {
                message,
                content: None,
            });
        }
        Plan::Elsewhere => {
            return again(
                message,
                Some(content),
                started.mono,
                Consequences::default(),
            );
        }
        Plan::NotNow => {
            return again(
                message,
                Some(content),
                started.mono.plus(BREATH),
                Consequences::default(),
            );
        }
    };
    shared.spool.begin(taken.id);
    let attempt = Attempt {
        upstream: Arc::clone(upstream),
        message: Arc::clone(&message),
        content: content.clone(),
        recipients,
        eligible: Arc::clone(&way.names),
        first_priority,
        shutdown: shared.shutdown.clone(),
    };
    let report = shared.deliver.attempt(attempt).await;
    ending.free();
    outcome(ending, config, upstream, message, content, report, started).await
}

/// Writes what an attempt brought, and says what is left to do.
async fn outcome(
    ending: &Ending<'_>,
    config: &Config,
    upstream: &Arc<str>,
    message: Arc<Message>,
    content: Content,
    report: AttemptReport,
    started: Now,
) -> End {
    let shared = ending.shared;
    let now = Now::read(&*shared.clock);
    let mut offered = false;
    let mut relayed = false;
    let mut outcomes = Vec::with_capacity(report.verdicts.len());
    let first = report.verdicts.first().map_or(0, |(position, _)| *position);
    for (position, verdict) in report.verdicts {
        offered |= !matches!(verdict, Verdict::NotOffered(_));
        relayed |= matches!(verdict, Verdict::Relayed(_));
        let verdict = if report.hold_reverse_path {
            blame_reverse_path(verdict)
        } else {
            verdict
        };
        if let Some(outcome) = judged(
            &message,
            position,
            upstream,
            verdict,
            config,
            started.wall,
            now.wall,
        ) {
            outcomes.push(outcome);
        }
    }
    if outcomes.is_empty() {
        // Else the spool would take it for in flight at the next death.
        outcomes.extend(unchanged(&message, first));
    }
    let settled = settle::settle(shared, config, &message, &content, outcomes, now.wall).await;
    let Ok(settled) = settled else {
        return End::Later(now.mono.plus(REST));
    };
    if report.hold_reverse_path || relayed {
        let (upstream, message) = (Arc::clone(upstream), Arc::clone(&message));
        ending.send(Event::ReversePath {
            upstream,
            message,
            refused: report.hold_reverse_path,
        });
    }
    let not_before = if offered {
        now.mono
    } else {
        now.mono.plus(BREATH)
    };
    ended(settled, Some(content), not_before, offered)
}

/// The outcome of an attempt that changed nothing.
fn unchanged(message: &Message, position: u32) -> Option<Outcome> {
    let recipient = message.recipients.get(usize::try_from(position).ok()?)?;
    Some(Outcome {
        recipient: position,
        progress: recipient.progress.clone(),
    })
}

/// The recipients of a message whose reverse-path is now held are held with it, so that a restart finds the hold.
fn blame_reverse_path(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Deferred {
            evidence,
            wait,
            refused,
            lost,
            reason: _,
        } => Verdict::Deferred {
            reason: Reason::ReversePathRefused,
            evidence,
            wait,
            refused,
            lost,
        },
        other => other,
    }
}

/// The outcome of one recipient; `None` if nothing changed.
fn judged(
    message: &Message,
    position: u32,
    upstream: &str,
    verdict: Verdict,
    config: &Config,
    started: Timestamp,
    now: Timestamp,
) -> Option<Outcome> {
    if matches!(verdict, Verdict::NotOffered(_)) {
        return None;
    }
    let before = message
        .recipients
        .get(usize::try_from(position).ok()?)?
        .progress
        .clone();
    let policy = policy(message, &before, config);
    let mut progress = state::next(
        before,
        Change::Attempted { upstream, verdict },
        now,
        &policy,
    );
    let age = if progress.state == State::Held {
        Age::Held
    } else {
        Age::Deferred
    };
    let retry = &config.snapshot.document.retry;
    let stopped = progress.state == State::Pending;
    if !stopped && expiry::expires(message.accepted, message.expiry_seconds, age, retry) <= started
    {
        // The attempt was made after its time, and in vain.
        progress = state::next(progress, Change::Expired, now, &policy);
    }
    Some(Outcome {
        recipient: position,
        progress,
    })
}

fn policy(message: &Message, progress: &Progress, config: &Config) -> Policy {
    let retry = &config.snapshot.document.retry;
    let spread = hash(message.id).rotate_left(progress.attempts % 64) % 201;
    Policy {
        initial: Duration::from_secs(retry.initial_seconds.into()),
        maximum: Duration::from_secs(retry.maximum_seconds.into()),
        // ±10 %, from the queue id: messages that failed together do not come back together.
        jitter: 900 + u32::try_from(spread).unwrap_or(100),
        expiry: expiry::expires(
            message.accepted,
            message.expiry_seconds,
            Age::Deferred,
            retry,
        ),
    }
}

async fn look(shared: &Shared, id: QueueId) -> End {
    match read(shared, id).await {
        Ok(Stored { message, content }) => again(
            message,
            Some(content),
            shared.clock.now(),
            Consequences::default(),
        ),
        Err(end) => end,
    }
}

async fn expire(shared: &Shared, config: &Config, overdue: Overdue) -> End {
    let now = shared.clock.wall();
    let is_over = |message: &Message, position: u32, progress: &Progress| {
        let evidence = evidence(message, position, progress, &overdue, config);
        let retry = &config.snapshot.document.retry;
        expiry::is_over(
            message.accepted,
            message.expiry_seconds,
            evidence,
            retry,
            now,
        )
    };
    change(shared, config, overdue.id, &Change::Expired, is_over).await
}

/// What is known about one recipient of a message that may be given up.
fn evidence(
    message: &Message,
    position: u32,
    progress: &Progress,
    overdue: &Overdue,
    config: &Config,
) -> Evidence {
    match (progress.state, progress.reason) {
        (State::Held, Some(Reason::Poison | Reason::Unconfirmed)) => Evidence::Hopeless(Age::Held),
        (State::Unconfirmed, _) => Evidence::Hopeless(Age::Deferred),
        _ => {
            let recipient = usize::try_from(position)
                .ok()
                .and_then(|i| message.recipients.get(i));
            let same = |way: Arc<Way>| way == overdue.way;
            if recipient.is_some_and(|recipient| same(config.router.way(message, recipient))) {
                overdue.evidence
            } else {
                Evidence::Attempt
            }
        }
    }
}

async fn change_all(shared: &Shared, config: &Config, id: QueueId, event: &Change<'_>) -> End {
    change(shared, config, id, event, |_, _, _| true).await
}

/// Applies an event to the unsettled recipients that fit.
async fn change(
    shared: &Shared,
    config: &Config,
    id: QueueId,
    event: &Change<'_>,
    fits: impl Fn(&Message, u32, &Progress) -> bool,
) -> End {
    let Stored { message, content } = match read(shared, id).await {
        Ok(stored) => stored,
        Err(end) => return end,
    };
    let now = Now::read(&*shared.clock);
    let mut outcomes = Vec::new();
    for (position, recipient) in (0..).zip(&message.recipients) {
        let before = &recipient.progress;
        if !before.state.is_final() && fits(&message, position, before) {
            let policy = policy(&message, before, config);
            let progress = state::next(before.clone(), event.clone(), now.wall, &policy);
            outcomes.push(Outcome {
                recipient: position,
                progress,
            });
        }
    }
    if outcomes.is_empty() {
        return again(message, Some(content), now.mono, Consequences::default());
    }
    match settle::settle(shared, config, &message, &content, outcomes, now.wall).await {
        Ok(settled) => ended(settled, Some(content), now.mono, false),
        Err(StoreError::Full | StoreError::Failed) => End::Later(now.mono.plus(REST)),
    }
}

fn ended(
    settled: Settled,
    content: Option<Content>,
    not_before: Monotonic,
    attempted: bool,
) -> End {
    let Settled {
        message,
        finished,
        report,
        failures,
    } = settled;
    let consequences = Consequences {
        report,
        failures,
        attempted,
    };
    if finished {
        End::Settled(message, consequences)
    } else {
        again(message, content, not_before, consequences)
    }
}

fn again(
    message: Arc<Message>,
    content: Option<Content>,
    not_before: Monotonic,
    consequences: Consequences,
) -> End {
    End::Again(Cached { message, content }, not_before, consequences)
}

async fn read(shared: &Shared, id: QueueId) -> Result<Stored, End> {
    match shared.spool.read(id).await {
        Ok(stored) => Ok(stored),
        Err(error @ ReadError::Io { .. }) => {
            tracing::error!(queue_id = %id, %error, "cannot read a queued message; trying again later");
            Err(End::Later(shared.clock.now().plus(REST)))
        }
        Err(ReadError::NotFound) => {
            tracing::error!(queue_id = %id, "a queued message is not in the spool");
            Err(End::Lost)
        }
        Err(error @ ReadError::Damaged(_)) => {
            tracing::error!(queue_id = %id, %error, "a queued message is damaged");
            Err(End::Lost)
        }
    }
}
