//! An attempt: read, plan, `Begin`, offer, outcome.

use std::sync::Arc;

use posthouse_config::reason::Reason;

use super::{BREATH, Change, Consequences, End, Ending, Event, REST, again, ended, policy, read};
use crate::{
    clock::Monotonic,
    mail::{Content, Message, Outcome, QueueId, State, Timestamp},
    queue::{
        deliver::{Attempt, AttemptReport, Verdict},
        entry::Now,
        expiry::{self, Age},
        plan::{Plan, plan},
        schedule::Taken,
        settle,
        shared::{Config, Shared},
        state,
        window::Cached,
    },
    spool::Stored,
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
    let was_held = || shared.holds.contains(upstream, &message.reverse_path);
    if report.hold_reverse_path || (relayed && was_held()) {
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
