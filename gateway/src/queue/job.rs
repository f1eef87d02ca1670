//! A job: everything that is done with one message while it is busy, in a task of its own.
//!
//! An attempt reads the message if need be, plans, writes `Begin`, offers, writes the outcome, and only then tells the
//! schedule. The other jobs (giving up by age, by hand, or just looking where a message belongs) go the same way
//! without an attempt. A job that panics ends itself alone: its message is tried again a minute later.

mod attempt;
mod change;

use std::{sync::Arc, time::Duration};

use super::{
    expiry::{self, Age},
    schedule::{Overdue, Taken},
    settle::Settled,
    shared::{Config, Shared},
    state::{Event as Change, Policy},
    window::Cached,
};
use crate::{
    clock::Monotonic,
    mail::{Content, Message, Progress, QueueId, Queued},
    route::hash,
    spool::{ReadError, Stored},
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
    /// The spool has it, and cannot read it any more.
    Damaged,
    /// The spool does not have it.
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
            attempt::attempt(&mut ending, &config, &upstream, *taken).await
        }
        Work::Sort(id) => look(&shared, id).await,
        Work::Expire(overdue) => change::expire(&shared, &config, overdue).await,
        Work::Poison(id) => change::change_all(&shared, &config, id, &Change::Poisoned).await,
        Work::Retry(id) => change::change_all(&shared, &config, id, &Change::Retried).await,
        Work::Cancel(id) => change::change_all(&shared, &config, id, &Change::Cancelled).await,
    };
    ending.tell(end);
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
            tracing::error!(queue_id = %id, %error, "a queued message is damaged; it is held");
            Err(End::Damaged)
        }
    }
}
