//! An attempt: read, plan, `Begin`, offer, outcome.

use std::{collections::BTreeSet, sync::Arc};

use posthouse_config::reason::Reason;
use tokio::sync::mpsc;

use super::{BREATH, Change, Consequences, End, Ending, Event, REST, again, ended, policy, read};
use crate::{
    clock::Monotonic,
    mail::{Content, Message, Outcome, QueueId, Recipient, State, Timestamp},
    queue::{
        deliver::{Attempt, AttemptReport, Verdict},
        entry::Now,
        expiry::{self, Age},
        plan::{Plan, plan},
        schedule::Taken,
        settle::{self, Settled},
        shared::{Config, Shared},
        state,
        window::Cached,
    },
    spool::{StoreError, Stored},
};

/// Offers a message to an upstream, and writes what that brought.
pub(super) async fn attempt(
    ending: &mut Ending<'_>,
    config: &Config,
    upstream: &Arc<str>,
    taken: Taken,
) -> End {
    let shared = ending.shared;
    let (message, content) = match load(ending.shared, taken.id, taken.cached).await {
        Ok(Stored { message, content }) => (message, content),
        Err(end) => return end,
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
        Plan::Elsewhere => return untouched(message, content, started.mono),
        Plan::NotNow => return untouched(message, content, started.mono.plus(BREATH)),
    };
    shared.spool.begin(taken.id);
    let (early, mut told) = mpsc::unbounded_channel();
    let attempt = Attempt {
        upstream: Arc::clone(upstream),
        message: Arc::clone(&message),
        content: content.clone(),
        recipients,
        eligible: Arc::clone(&way.names),
        first_priority,
        shutdown: shared.shutdown.clone(),
        early,
    };
    let mut under_way = UnderWay {
        shared,
        config,
        upstream,
        message,
        content,
        started,
        kept: BTreeSet::new(),
    };
    let mut offering = shared.deliver.attempt(attempt);
    let report = loop {
        tokio::select! {
            biased;
            Some(verdicts) = told.recv() => under_way.keep(verdicts).await,
            report = &mut offering => break report,
        }
    };
    ending.free();
    under_way.outcome(ending, report).await
}

/// The message and its content, from memory or from the spool.
async fn load(shared: &Shared, id: QueueId, cached: Option<Cached>) -> Result<Stored, End> {
    match cached {
        Some(Cached {
            message,
            content: Some(content),
        }) => Ok(Stored { message, content }),
        _ => read(shared, id).await,
    }
}

/// Nothing was done with the message: it enters the queue again.
fn untouched(message: Arc<Message>, content: Content, not_before: Monotonic) -> End {
    again(message, Some(content), not_before, Consequences::default())
}

/// An attempt that was begun.
struct UnderWay<'a> {
    shared: &'a Shared,
    config: &'a Config,
    upstream: &'a Arc<str>,
    message: Arc<Message>,
    content: Content,
    started: Now,
    /// Recipients whose outcome is stored already.
    kept: BTreeSet<u32>,
}

impl UnderWay<'_> {
    /// Writes what must not be forgotten if the process dies before the attempt is over. What is to be reported waits
    /// for the attempt's one report: offered again after a death it harms nobody.
    async fn keep(&mut self, verdicts: Vec<(u32, Verdict)>) {
        let now = Now::read(&*self.shared.clock);
        let outcomes: Vec<Outcome> = verdicts
            .into_iter()
            .filter_map(|(position, verdict)| self.judged(position, verdict, now.wall))
            .filter(|outcome| {
                !matches!(
                    outcome.progress.state,
                    State::Failed | State::Expired | State::Pending
                )
            })
            .collect();
        if outcomes.is_empty() {
            return;
        }
        let kept: Vec<u32> = outcomes.iter().map(|outcome| outcome.recipient).collect();
        // A spool that has failed ends the process; the report's own outcome meets the same failure.
        if let Ok(settled) = self.settle(outcomes, now.wall).await {
            self.message = settled.message;
            self.kept.extend(kept);
            // Its outcome ended the message's flight for the spool, and it is not over.
            self.shared.spool.begin(self.message.id);
        }
    }

    /// Writes what the attempt brought, and says what is left to do.
    async fn outcome(self, ending: &Ending<'_>, report: AttemptReport) -> End {
        let (shared, upstream) = (self.shared, self.upstream);
        let now = Now::read(&*shared.clock);
        let mut offered = false;
        let mut relayed = false;
        let mut is_damaged = false;
        let mut outcomes = Vec::with_capacity(report.verdicts.len());
        let first = report.verdicts.first().map_or(0, |(position, _)| *position);
        for (position, verdict) in report.verdicts {
            offered |= !matches!(verdict, Verdict::NotOffered(_));
            relayed |= matches!(verdict, Verdict::Relayed(_));
            is_damaged |= matches!(verdict, Verdict::Held(Reason::ContentDamaged, _));
            if self.kept.contains(&position) {
                continue;
            }
            let verdict = if report.hold_reverse_path {
                blame_reverse_path(verdict)
            } else {
                verdict
            };
            outcomes.extend(self.judged(position, verdict, now.wall));
        }
        if is_damaged {
            shared.spool.quarantine(self.message.id).await;
        }
        if outcomes.is_empty() {
            // Else the spool would take it for in flight at the next death.
            outcomes.extend(unchanged(&self.message, first));
        }
        let Ok(settled) = self.settle(outcomes, now.wall).await else {
            return End::Later(now.mono.plus(REST));
        };
        let was_held = || shared.holds.contains(upstream, &self.message.reverse_path);
        if report.hold_reverse_path || (relayed && was_held()) {
            ending.send(Event::ReversePath {
                upstream: Arc::clone(upstream),
                message: Arc::clone(&self.message),
                refused: report.hold_reverse_path,
            });
        }
        let not_before = if offered {
            now.mono
        } else {
            now.mono.plus(BREATH)
        };
        ended(settled, Some(self.content), not_before, offered)
    }

    async fn settle(&self, outcomes: Vec<Outcome>, now: Timestamp) -> Result<Settled, StoreError> {
        settle::settle(
            self.shared,
            self.config,
            &self.message,
            &self.content,
            outcomes,
            now,
        )
        .await
    }

    /// The outcome of one recipient; `None` if nothing changed.
    fn judged(&self, position: u32, verdict: Verdict, now: Timestamp) -> Option<Outcome> {
        if matches!(verdict, Verdict::NotOffered(_)) {
            return None;
        }
        let before = recipient(&self.message, position)?.progress.clone();
        let policy = policy(&self.message, &before, self.config);
        let upstream = &**self.upstream;
        let change = Change::Attempted { upstream, verdict };
        let mut progress = state::next(before, change, now, &policy);
        let age = if progress.state == State::Held {
            Age::Held
        } else {
            Age::Deferred
        };
        let retry = &self.config.snapshot.document.retry;
        let message = &self.message;
        let expires = expiry::expires(message.accepted, message.expiry_seconds, age, retry);
        let stopped = progress.state == State::Pending;
        if !stopped && expires <= self.started.wall {
            // The attempt was made after its time, and in vain.
            progress = state::next(progress, Change::Expired, now, &policy);
        }
        Some(Outcome {
            recipient: position,
            progress,
        })
    }
}

/// The outcome of an attempt that changed nothing.
fn unchanged(message: &Message, position: u32) -> Option<Outcome> {
    Some(Outcome {
        recipient: position,
        progress: recipient(message, position)?.progress.clone(),
    })
}

fn recipient(message: &Message, position: u32) -> Option<&Recipient> {
    message.recipients.get(usize::try_from(position).ok()?)
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
