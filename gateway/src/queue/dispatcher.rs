//! The queue's task: it alone owns the schedule, starts jobs up to what the upstreams can take, and acts on what they
//! tell.
//!
//! Everything that happened since the last turn is taken together, then as much as possible is started; then it waits
//! for the next thing to happen. It never waits for the spool or an upstream itself.

mod failures;
mod publish;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use failures::Failures;
use posthouse_config::Snapshot;
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    by_hand::{Command, Refusal},
    deliver::Upstreams,
    entry::Now,
    expiry::ClockGuard,
    job::{self, Consequences, End, Event, Work},
    schedule::Schedule,
    shared::{Config, Shared},
};
use crate::{
    clock::Monotonic,
    mail::{Message, QueueId},
    route::Router,
    shutdown::Stage,
};

/// Jobs under way, attempts and the writing of their outcomes together: memory for the messages they hold.
const JOBS: usize = 8192;

/// Jobs that only read: they must not take the disk from attempts.
const READERS: usize = 16;

/// How often the queue is searched for mail that is too old.
const SWEEP: Duration = Duration::from_mins(1);

/// Messages given up in one go.
const SWEEP_LIMIT: usize = 256;

/// How soon the search for old mail goes on when it found as much as it may.
const SWEEP_ON: Duration = Duration::from_secs(1);

/// The queue's task.
pub struct QueueTask {
    pub(super) shared: Arc<Shared>,
    pub(super) schedule: Schedule,
    pub(super) config: Arc<Config>,
    pub(super) events: mpsc::UnboundedReceiver<Event>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) upstreams: watch::Receiver<Arc<Upstreams>>,
    pub(super) snapshots: watch::Receiver<Arc<Snapshot>>,
    pub(super) progress: Progress,
}

/// What the task remembers beside the schedule.
pub(super) struct Progress {
    names: Vec<Arc<str>>,
    jobs: usize,
    poisoned: Vec<QueueId>,
    /// Who waits for a job by hand.
    by_hand: HashMap<QueueId, oneshot::Sender<Result<(), Refusal>>>,
    clock: ClockGuard,
    failures: Failures,
    next_sweep: Monotonic,
    next_publish: Monotonic,
    is_dirty: bool,
    /// Upstreams whose recipients are published.
    published: BTreeSet<Arc<str>>,
}

impl Progress {
    pub(super) fn new(poisoned: Vec<QueueId>, now: Now) -> Self {
        Self {
            names: Vec::new(),
            jobs: 0,
            poisoned,
            by_hand: HashMap::new(),
            clock: ClockGuard::new(now),
            failures: Failures::default(),
            next_sweep: now.mono,
            next_publish: now.mono,
            is_dirty: true,
            published: BTreeSet::new(),
        }
    }
}

impl QueueTask {
    /// Runs until the gateway stops and no attempt is under way.
    pub async fn run(mut self) {
        self.upstreams.mark_changed();
        let mut shutdown = self.shared.shutdown.clone();
        loop {
            let now = Now::read(&*self.shared.clock);
            self.take_in(now);
            let stopping = self.shared.shutdown.stage() >= Stage::Stopping;
            if stopping && self.progress.jobs == 0 {
                self.publish(now);
                return;
            }
            if !stopping {
                self.start_jobs(now);
            }
            if now.mono >= self.progress.next_publish {
                self.publish(now);
            }
            let wake = self.shared.clock.sleep_until(self.next_wake(stopping));
            tokio::select! {
                () = self.shared.inbox.arrived() => {}
                Some(event) = self.events.recv() => self.event(event, Now::read(&*self.shared.clock)),
                Some(command) = self.commands.recv() => self.command(command),
                Ok(()) = self.upstreams.changed() => self.upstreams.mark_changed(),
                Ok(()) = self.snapshots.changed() => self.snapshots.mark_changed(),
                () = shutdown.reached(Stage::Stopping), if !stopping => {}
                () = wake => {}
            }
        }
    }

    /// Takes together what happened.
    fn take_in(&mut self, now: Now) {
        self.progress.clock.look(now);
        while let Ok(event) = self.events.try_recv() {
            self.event(event, now);
        }
        if self.snapshots.has_changed().unwrap_or(false) {
            let snapshot = Arc::clone(&self.snapshots.borrow_and_update());
            self.reconfigure(snapshot, now);
        }
        if self.upstreams.has_changed().unwrap_or(false) {
            let upstreams = Arc::clone(&self.upstreams.borrow_and_update());
            self.schedule.upstreams_changed(&upstreams, now);
            self.progress.names = self.schedule.upstreams();
            self.progress.is_dirty = true;
        }
        for queued in self.shared.inbox.take() {
            self.schedule.admit(queued, now);
            self.progress.is_dirty = true;
        }
        self.schedule.advance(now);
    }

    fn next_wake(&self, stopping: bool) -> Monotonic {
        let progress = &self.progress;
        let wake = progress.next_publish.min(progress.next_sweep);
        match self.schedule.next_wake() {
            Some(due) if !stopping => wake.min(due),
            _ => progress.next_publish,
        }
    }

    fn start_jobs(&mut self, now: Now) {
        for id in std::mem::take(&mut self.progress.poisoned) {
            if self.schedule.pick(id).is_some() {
                self.start(Work::Poison(id));
            }
        }
        for i in 0..self.progress.names.len() {
            let Some(upstream) = self.progress.names.get(i).map(Arc::clone) else {
                break;
            };
            while self.progress.jobs < JOBS && self.schedule.has_room(&upstream) {
                let Some(taken) = self.schedule.next(&upstream, now) else {
                    break;
                };
                self.start(Work::Attempt(Arc::clone(&upstream), Box::new(taken)));
            }
        }
        while self.schedule.readers() < READERS
            && let Some(id) = self.schedule.next_to_sort()
        {
            self.start(Work::Sort(id));
        }
        if now.mono >= self.progress.next_sweep {
            self.sweep(now);
        }
    }

    /// Looks for mail that is too old.
    fn sweep(&mut self, now: Now) {
        self.progress.next_sweep = now.mono.plus(SWEEP);
        if self.progress.clock.has_jumped() {
            return;
        }
        let retry = self.config.snapshot.document.retry.clone();
        let overdue = self.schedule.overdue(&retry, SWEEP_LIMIT, now);
        if overdue.len() == SWEEP_LIMIT {
            self.progress.next_sweep = now.mono.plus(SWEEP_ON);
        }
        for overdue in overdue {
            self.start(Work::Expire(overdue));
        }
    }

    fn start(&mut self, work: Work) {
        self.progress.jobs += 1;
        self.progress.is_dirty = true;
        tokio::spawn(job::run(
            Arc::clone(&self.shared),
            Arc::clone(&self.config),
            work,
        ));
    }

    fn event(&mut self, event: Event, now: Now) {
        match event {
            Event::Freed(upstream) => self.schedule.freed(&upstream),
            Event::ReversePath {
                upstream,
                message,
                refused,
            } => {
                if refused {
                    tracing::warn!(
                        queue_id = %message.id,
                        %upstream,
                        reverse_path = message.reverse_path.mailbox().map(|mailbox| self.shared.redactor.show(mailbox)),
                        "the upstream refuses this reverse-path; its mail there is held"
                    );
                }
                self.schedule
                    .reverse_path(&upstream, &message, refused, now);
            }
            Event::Done { id, end } => {
                self.progress.jobs = self.progress.jobs.saturating_sub(1);
                self.progress.is_dirty = true;
                if let Some(answer) = self.progress.by_hand.remove(&id) {
                    let _ = answer.send(answer_by_hand(&end));
                }
                self.done(id, end, now);
            }
        }
    }

    fn done(&mut self, id: QueueId, end: End, now: Now) {
        match end {
            End::Settled(message, consequences) => {
                self.schedule.settled(&message);
                self.shared.inbox.settled(&message.sender);
                self.follow(&message, consequences, now);
            }
            End::Again(cached, not_before, consequences) => {
                let message = Arc::clone(&cached.message);
                self.schedule.again(&cached, not_before, now);
                self.follow(&message, consequences, now);
            }
            End::HeldBack(cached) => self.schedule.held_back(&cached, now),
            End::Later(at) => self.schedule.later(id, at),
            End::Damaged => self.schedule.damaged(id),
            End::Lost => {
                if let Some(sender) = self.schedule.lost(id) {
                    self.shared.inbox.settled(&sender);
                }
            }
        }
    }

    /// What else follows from an outcome.
    fn follow(&mut self, message: &Message, consequences: Consequences, now: Now) {
        if consequences.attempted {
            self.progress.clock.attempted();
        }
        if consequences.failures > 0 {
            self.progress
                .failures
                .remember(&message.sender, consequences.failures, now.wall);
        }
        if let Some(report) = consequences.report {
            tracing::info!(queue_id = %report.message.id, original = %message.id, "report written");
            self.shared.inbox.count(&report.message.sender);
            self.schedule.admit(report, now);
        }
    }

    fn reconfigure(&mut self, snapshot: Arc<Snapshot>, now: Now) {
        let old = Arc::clone(&self.config);
        let router = Arc::new(Router::new(Arc::clone(&snapshot.document)));
        self.schedule
            .document_changed(router, Arc::clone(&snapshot.senders), now);
        for upstream in changed_upstreams(&old.snapshot, &snapshot) {
            self.schedule.release_upstream(&upstream);
        }
        let router = Arc::clone(self.schedule.router());
        self.config = Arc::new(Config { snapshot, router });
        self.progress.is_dirty = true;
    }

    fn command(&mut self, command: Command) {
        // Whoever asked may have gone: then nobody reads the answer.
        match command {
            Command::Figures(answer) => {
                let now = Now::read(&*self.shared.clock);
                self.take_in(now);
                self.publish(now);
                let _ = answer.send(self.account(now));
            }
            Command::List(answer) => {
                let _ = answer.send(self.schedule.listing());
            }
            Command::Retry(id, answer) => self.by_hand(id, Work::Retry(id), answer),
            Command::Cancel(id, answer) => self.by_hand(id, Work::Cancel(id), answer),
        }
    }

    fn by_hand(&mut self, id: QueueId, work: Work, answer: oneshot::Sender<Result<(), Refusal>>) {
        if self.schedule.is_busy(id) {
            let _ = answer.send(Err(Refusal::Busy));
            return;
        }
        if matches!(work, Work::Retry(_)) {
            self.schedule.release_hold_of(id);
        }
        let Some(ways) = self.schedule.pick(id) else {
            let _ = answer.send(Err(Refusal::NotFound));
            return;
        };
        if matches!(work, Work::Retry(_)) {
            let upstreams: BTreeSet<_> = ways.iter().flat_map(|way| way.names.iter()).collect();
            for upstream in upstreams {
                self.shared.deliver.probe(upstream);
            }
        }
        self.progress.by_hand.insert(id, answer);
        self.start(work);
    }
}

/// How a job by hand ended, for who asked for it.
fn answer_by_hand(end: &End) -> Result<(), Refusal> {
    match end {
        End::Settled(..) | End::Again(..) | End::HeldBack(_) => Ok(()),
        End::Later(_) | End::Damaged => Err(Refusal::Unreadable),
        End::Lost => Err(Refusal::NotFound),
    }
}

/// The upstreams whose part of the document, or one of whose files, is another now.
fn changed_upstreams(old: &Snapshot, new: &Snapshot) -> Vec<String> {
    let changed = old.document.upstreams.iter().filter(|upstream| {
        new.document.upstream(&upstream.name) != Some(upstream)
            || upstream
                .files()
                .any(|path| old.file(path) != new.file(path))
    });
    changed.map(|upstream| upstream.name.clone()).collect()
}
