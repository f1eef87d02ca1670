//! The schedule of work over the spool: which message is offered to which upstream, and when.
//!
//! One task owns the schedule. It reaches the upstreams only through [`Deliver`](deliver::Deliver), whose values are
//! defined here, by the side that needs them. What an attempt brought is in the spool before anything acts on it.
//!
//! In the order a message meets them: `intake` · `schedule`, with its `entry`, `lane`, `turns`, `window`, `limits`,
//! `hold` · [`dispatcher`] the task · `job` one attempt, with its `plan` · `state` what it means for a recipient ·
//! `expiry` · `settle` to the spool, with a report of the `original`. Beside them [`by_hand`] for people.

pub mod by_hand;
pub mod deliver;
pub mod dispatcher;

mod entry;
mod expiry;
mod hold;
mod intake;
mod job;
mod lane;
mod limits;
mod original;
mod plan;
mod schedule;
mod settle;
mod shared;
mod state;
mod tally;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod turns;
mod window;

use std::sync::Arc;

use posthouse_config::{Snapshot, reason::Reason};
use tokio::sync::{mpsc, watch};

pub use by_hand::{Account, Filter, QueueHandle, Refusal, ShownMessage, ShownRecipient};
pub use dispatcher::QueueTask;
pub use schedule::figures::{Figures, Listed};

use crate::{
    clock::Clock,
    mail::{QueueId, Queued, Redactor, State},
    metrics::Metrics,
    route::Router,
    shutdown::Shutdown,
    spool::Spool,
};
use deliver::Deliver;
use dispatcher::Progress;
use entry::Now;
use intake::Inbox;
use schedule::Schedule;
use shared::{Config, Shared};

/// Commands by hand that may wait to be taken.
const COMMANDS: usize = 16;

/// A message that was in flight at so many unclean deaths of the process is held.
const POISON_DEATHS: u8 = 3;

/// What the queue is given.
pub struct QueueParts {
    /// Where mail is.
    pub spool: Spool,
    /// Who hands it to the upstreams.
    pub deliver: Arc<dyn Deliver>,
    /// What the gateway goes by.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Figures.
    pub metrics: Metrics,
    /// How addresses are logged.
    pub redactor: Arc<Redactor>,
    /// The stages of stopping.
    pub shutdown: Shutdown,
}

/// The queue as it was found at start: filled while the spool is opened.
pub struct Recovered {
    snapshot: Arc<Snapshot>,
    schedule: Schedule,
    inbox: Inbox,
    poisoned: Vec<QueueId>,
    now: Now,
}

impl Recovered {
    /// Nothing was found yet. `snapshot` is what the gateway goes by now.
    pub fn new(snapshot: Arc<Snapshot>, clock: &dyn Clock) -> Self {
        let router = Arc::new(Router::new(Arc::clone(&snapshot.document)));
        Self {
            schedule: Schedule::new(router, Arc::clone(&snapshot.senders)),
            snapshot,
            inbox: Inbox::default(),
            poisoned: Vec::new(),
            now: Now::read(clock),
        }
    }

    /// A message was found.
    pub fn add(&mut self, queued: Queued) {
        self.inbox.count(&queued.message.sender);
        if queued.deaths >= POISON_DEATHS && !is_poison(&queued) {
            self.poisoned.push(queued.message.id);
        }
        self.schedule.admit(queued, self.now);
    }
}

/// Whether a message is held as poison already.
fn is_poison(queued: &Queued) -> bool {
    let unsettled = || {
        queued
            .message
            .recipients
            .iter()
            .map(|recipient| &recipient.progress)
    };
    unsettled()
        .filter(|progress| !progress.state.is_final())
        .all(|progress| (progress.state, progress.reason) == (State::Held, Some(Reason::Poison)))
}

/// Makes the queue's task, to be run, and the handle by which it is told and asked.
pub fn queue(parts: QueueParts, recovered: Recovered) -> (QueueTask, QueueHandle) {
    let (events, event_receiver) = mpsc::unbounded_channel();
    let (commands, command_receiver) = mpsc::channel(COMMANDS);
    let inbox = Arc::new(recovered.inbox);
    let shared = Arc::new(Shared {
        spool: parts.spool,
        deliver: parts.deliver,
        clock: parts.clock,
        metrics: parts.metrics,
        redactor: parts.redactor,
        shutdown: parts.shutdown,
        inbox: Arc::clone(&inbox),
        holds: recovered.schedule.hold_set(),
        events,
    });
    let router = Arc::clone(recovered.schedule.router());
    let task = QueueTask {
        progress: Progress::new(recovered.poisoned, Now::read(&*shared.clock)),
        config: Arc::new(Config {
            snapshot: recovered.snapshot,
            router,
        }),
        upstreams: shared.deliver.upstreams(),
        snapshots: parts.snapshots,
        schedule: recovered.schedule,
        events: event_receiver,
        commands: command_receiver,
        shared: Arc::clone(&shared),
    };
    (
        task,
        QueueHandle {
            shared,
            inbox,
            commands,
        },
    )
}
