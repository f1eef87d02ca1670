//! The jobs without an attempt: giving up by age, and what a person says.

use std::sync::Arc;

use posthouse_config::reason::Reason;

use super::{Change, Consequences, End, REST, again, ended, policy, read};
use crate::{
    mail::{Message, Outcome, Progress, QueueId, State},
    queue::{
        entry::Now,
        expiry::{self, Age, Evidence},
        schedule::Overdue,
        settle,
        shared::{Config, Shared},
        state,
    },
    route::Way,
    spool::{StoreError, Stored},
};

/// Gives up the recipients that are too old.
pub(super) async fn expire(shared: &Shared, config: &Config, overdue: Overdue) -> End {
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
        (State::Held, Some(Reason::Poison | Reason::ContentDamaged | Reason::Unconfirmed)) => {
            Evidence::Hopeless(Age::Held)
        }
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

/// Applies an event to every unsettled recipient.
pub(super) async fn change_all(
    shared: &Shared,
    config: &Config,
    id: QueueId,
    event: &Change<'_>,
) -> End {
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
