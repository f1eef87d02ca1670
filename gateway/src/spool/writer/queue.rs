//! What waits for the writer: a list behind a lock, which the writer swaps for an empty one.
//!
//! Cheaper than a channel: one lock for a request, one for a whole batch, and a wake only if the writer sleeps.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use crate::{
    mail::QueueId,
    spool::{
        StoreError,
        index::Entry,
        record::{Encoded, accept::Mark},
    },
};

/// What a record does to the index once it is written.
#[derive(Clone, Debug)]
pub(in crate::spool) enum Effect {
    Accept {
        generation: u32,
        recipients: u32,
        mark: Mark,
    },
    Begin,
    Outcome(Box<[u32]>),
    Remove,
    /// A `Remove` copied forward, and the segments that need it.
    RemoveAgain(Vec<u32>),
    /// No sequence number from this one on is given out.
    Promise(u64),
}

/// A record to be written.
#[derive(Clone, Debug)]
pub(in crate::spool) struct Record {
    pub(in crate::spool) encoded: Encoded,
    pub(in crate::spool) effect: Effect,
}

/// When a request is worth writing.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::spool) enum Condition {
    /// Always; told that the disk is full if there is no room for new mail.
    NewMail,
    /// Always, from the reserve if need be.
    Always,
    /// If the message is not settled yet.
    Unsettled(QueueId),
    /// If the message is settled.
    Settled(QueueId),
    /// If the message is still exactly as it was read.
    Unchanged(QueueId, Box<(Entry, Mark)>),
}

/// Something to be written: one record, or two that count only together.
pub(in crate::spool) struct Request {
    pub(in crate::spool) records: [Option<Record>; 2],
    pub(in crate::spool) condition: Condition,
    /// Answer only when it is on stable storage.
    pub(in crate::spool) durable: bool,
    /// Whether it was written.
    pub(in crate::spool) reply: Option<Reply>,
}

/// Where the writer's answer goes: whether the condition held.
pub(in crate::spool) type Reply = oneshot::Sender<Result<bool, StoreError>>;

impl Request {
    pub(in crate::spool) fn length(&self) -> usize {
        self.records().map(|record| record.encoded.length()).sum()
    }

    pub(in crate::spool) fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.iter().flatten()
    }

    /// Whether the upkeep asked.
    pub(in crate::spool) fn is_upkeep(&self) -> bool {
        let copied = matches!(
            self.condition,
            Condition::Unchanged(..) | Condition::Settled(_)
        );
        copied || self.length() == 0
    }

    pub(in crate::spool) fn answer(self, result: Result<bool, StoreError>) {
        if let Some(reply) = self.reply {
            // Whoever no longer waits no longer wants to know.
            let _ = reply.send(result);
        }
    }
}

/// What waits for the writer.
#[derive(Default)]
pub(in crate::spool) struct Queue {
    state: Mutex<Waiting>,
    wake: Condvar,
}

#[derive(Default)]
struct Waiting {
    requests: Vec<Request>,
    /// The writer sleeps: a push has to wake it.
    parked: bool,
    /// Room may have been found for what is held back.
    nudged: bool,
    ending: Ending,
}

/// Whether the writer is to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::spool) enum Ending {
    #[default]
    No,
    /// Write and seal what is there.
    Close,
    /// Drop everything.
    Abandon,
}

impl Queue {
    /// Hands over a request; refused once the writer has ended.
    pub(in crate::spool) fn push(&self, request: Request) -> Result<(), StoreError> {
        let mut state = self.lock();
        if state.ending != Ending::No {
            return Err(StoreError::Failed);
        }
        state.requests.push(request);
        self.unpark(state);
        Ok(())
    }

    /// Asks the writer to end. It takes no further requests from now on.
    pub(in crate::spool) fn end(&self, how: Ending) {
        let mut state = self.lock();
        state.ending = how;
        self.unpark(state);
    }

    /// Tells the writer to look again at what it holds back.
    pub(in crate::spool) fn nudge(&self) {
        let mut state = self.lock();
        state.nudged = true;
        self.unpark(state);
    }

    /// Wakes the writer only if it sleeps: a wake costs a system call.
    fn unpark(&self, mut state: MutexGuard<'_, Waiting>) {
        if std::mem::take(&mut state.parked) {
            drop(state);
            self.wake.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for requests, at most until `deadline`, and swaps them for an empty list.
    pub(in crate::spool) fn take(
        &self,
        requests: &mut Vec<Request>,
        deadline: Option<Instant>,
    ) -> Ending {
        let mut state = self.lock();
        while state.requests.is_empty() && state.ending == Ending::No && !state.nudged {
            state.parked = true;
            state = match deadline.map(|at| at.saturating_duration_since(Instant::now())) {
                None => self
                    .wake
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => break,
                Some(left) => {
                    self.wake
                        .wait_timeout(state, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
        }
        state.parked = false;
        state.nudged = false;
        std::mem::swap(&mut state.requests, requests);
        state.ending
    }

    /// Everything that still waits, once nothing more will come.
    pub(in crate::spool) fn drain(&self) -> Vec<Request> {
        std::mem::take(&mut self.lock().requests)
    }
}
