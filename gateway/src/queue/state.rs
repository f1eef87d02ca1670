//! A recipient's life: one pure function from what was, and what happened, to what is.
//!
//! ```text
//! pending ──attempt──▶ in flight ──2yz──▶ relayed                      (end)
//!   ▲  ▲                  ├─ refused, about the mail ──▶ failed         (end, reported)
//!   │  └──── deferred ◀───┤ try later
//!   │                     ├─ no reply after the final dot ──▶ unconfirmed: same upstream, ≥ 15 min later
//!   └──── held ◀──────────┘ ours or the account's fault
//! crash while in flight → pending    deferred, held, unconfirmed ─ too old ─▶ expired (end, reported)    any ─ a person ─▶ cancelled (end, logged)
//! ```
//!
//! *In flight* is never stored: it is an attempt that has not reported yet. What concerns an upstream as a whole is
//! not stored with a recipient either: not having been offered changes nothing.
#![deny(clippy::wildcard_enum_match_arm)]

use std::time::Duration;

use posthouse_config::reason::Reason;

use super::deliver::{Evidence, Verdict};
use crate::mail::{Progress, State, Timestamp};

/// Before this has passed, the upstream may still be working on what it did not confirm (RFC 1047 §3).
pub(crate) const UNCONFIRMED_WAIT: Duration = Duration::from_mins(15);

/// From so many unconfirmed attempts on, another target may be used.
pub(crate) const UNCONFIRMED_ELSEWHERE: u16 = 2;

/// So many unconfirmed attempts hold the message: more would only make more duplicates.
const UNCONFIRMED_MAXIMUM: u16 = 3;

/// A message that is held for itself is tried again once a day.
const HELD_MESSAGE_WAIT: Duration = Duration::from_hours(24);

/// What happened to a recipient.
#[derive(Clone, Debug)]
pub(crate) enum Event<'a> {
    /// An attempt at an upstream brought a verdict.
    Attempted {
        /// The upstream.
        upstream: &'a str,
        /// What it means.
        verdict: Verdict,
    },
    /// It is too old, and everything that must come before giving up has been done.
    Expired,
    /// A person gave it up.
    Cancelled,
    /// A person wants it tried now.
    Retried,
    /// It was the suspect in flight when the process died for the third time.
    Poisoned,
}

/// When a deferred recipient is tried again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// The first wait.
    pub(crate) initial: Duration,
    /// The longest.
    pub(crate) maximum: Duration,
    /// By how much the schedule's wait is stretched, in thousandths: 900–1100.
    pub(crate) jitter: u32,
    /// When the recipient becomes too old: the schedule's own wait does not go beyond, so that the last attempt is
    /// made in time.
    pub(crate) expiry: Timestamp,
}

impl Policy {
    /// The wait after attempt number `attempts`, from 1.
    fn wait(&self, attempts: u32) -> Duration {
        let doublings = attempts.saturating_sub(1).min(20);
        let wait = self
            .initial
            .saturating_mul(1 << doublings)
            .min(self.maximum);
        wait.saturating_mul(self.jitter) / 1000
    }

    /// The moment after attempt number `attempts`, not before `at_least` has passed.
    fn next(&self, now: Timestamp, attempts: u32, at_least: Duration) -> Timestamp {
        let regular = now.plus(self.wait(attempts));
        let regular = if self.expiry > now {
            regular.min(self.expiry.max(now.plus(self.initial)))
        } else {
            regular
        };
        regular.max(now.plus(at_least))
    }
}

/// The progress after an event. An end is never left.
pub(crate) fn next(
    progress: Progress,
    event: Event<'_>,
    now: Timestamp,
    policy: &Policy,
) -> Progress {
    if progress.state.is_final() {
        return progress;
    }
    match event {
        Event::Attempted { upstream, verdict } => {
            attempted(progress, upstream, verdict, now, policy)
        }
        Event::Expired => ended(progress, State::Expired, Reason::Expired),
        Event::Cancelled => ended(progress, State::Cancelled, Reason::ByHand),
        Event::Retried => Progress {
            state: State::Pending,
            reason: None,
            next_attempt: None,
            ..progress
        },
        Event::Poisoned => Progress {
            state: State::Held,
            reason: Some(Reason::Poison),
            next_attempt: Some(now.plus(HELD_MESSAGE_WAIT)),
            ..progress
        },
    }
}

fn ended(progress: Progress, state: State, reason: Reason) -> Progress {
    Progress {
        state,
        reason: Some(reason),
        next_attempt: None,
        ..progress
    }
}

fn attempted(
    progress: Progress,
    upstream: &str,
    verdict: Verdict,
    now: Timestamp,
    policy: &Policy,
) -> Progress {
    match verdict {
        Verdict::Relayed(evidence) => offered(&progress, upstream, evidence, State::Relayed, None),
        Verdict::Failed(reason, evidence) => {
            offered(&progress, upstream, evidence, State::Failed, Some(reason))
        }
        // The stop was ours: it costs the recipient nothing.
        Verdict::Deferred {
            reason: Reason::Stopped,
            ..
        } => Progress {
            state: State::Pending,
            reason: Some(Reason::Stopped),
            next_attempt: None,
            ..progress
        },
        Verdict::Deferred {
            reason,
            evidence,
            wait,
            refused,
            lost,
        } => {
            let mut after = offered(&progress, upstream, evidence, State::Deferred, Some(reason));
            after.lost = after.lost.saturating_add(lost.into());
            if refused {
                after.refusals = after.refusals.saturating_add(1);
                after.first_refusal = after.first_refusal.or(Some(now));
            }
            let at = policy.next(now, after.attempts, wait);
            // The time of a held reverse-path comes with the hold's next probe, not by the clock.
            let held = reason == Reason::ReversePathRefused;
            (after.state, after.next_attempt) = if held {
                (State::Held, None)
            } else {
                (after.state, Some(at))
            };
            after
        }
        Verdict::Held(reason, evidence) => held(&progress, upstream, reason, evidence, now),
        Verdict::Unconfirmed(evidence) => unconfirmed(&progress, upstream, evidence, now, policy),
        Verdict::Unsuitable(reason, evidence) => {
            let mut after = offered(&progress, upstream, evidence, State::Deferred, Some(reason));
            // Another target may have it at once; when that one lacks it too, time must pass.
            after.next_attempt = Some(if after.attempts == 1 {
                now
            } else {
                policy.next(now, after.attempts, Duration::ZERO)
            });
            after
        }
        Verdict::NotOffered(_) => progress,
    }
}

fn unconfirmed(
    progress: &Progress,
    upstream: &str,
    evidence: Evidence,
    now: Timestamp,
    policy: &Policy,
) -> Progress {
    let reason = Reason::Unconfirmed;
    let times = progress.unconfirmed.saturating_add(1);
    if times >= UNCONFIRMED_MAXIMUM {
        return held(progress, upstream, reason, evidence, now);
    }
    let mut after = offered(
        progress,
        upstream,
        evidence,
        State::Unconfirmed,
        Some(reason),
    );
    after.unconfirmed = times;
    after.next_attempt = Some(policy.next(now, after.attempts, UNCONFIRMED_WAIT));
    after
}

fn held(
    progress: &Progress,
    upstream: &str,
    reason: Reason,
    evidence: Evidence,
    now: Timestamp,
) -> Progress {
    let mut after = offered(progress, upstream, evidence, State::Held, Some(reason));
    match reason {
        // Only a person can know whether it arrived.
        Reason::Unconfirmed => after.unconfirmed = after.unconfirmed.saturating_add(1),
        Reason::ReversePathRefused => {}
        Reason::ConnectionLost => {
            after.lost = after.lost.saturating_add(1);
            after.next_attempt = Some(now.plus(HELD_MESSAGE_WAIT));
        }
        Reason::Unreachable
        | Reason::Throttled
        | Reason::QuotaExhausted
        | Reason::TlsFailed
        | Reason::AuthenticationFailed
        | Reason::CredentialMissing
        | Reason::Refused
        | Reason::TransactionDeferred
        | Reason::RecipientDeferred
        | Reason::RecipientRefused
        | Reason::MessageRefused
        | Reason::ProtocolError
        | Reason::SessionRefused
        | Reason::Poison
        | Reason::ContentDamaged
        | Reason::NoEligibleTarget
        | Reason::TooLarge
        | Reason::Utf8Needed
        | Reason::FallbackRefused
        | Reason::ByHand
        | Reason::Expired
        | Reason::Stopped => after.next_attempt = Some(now.plus(HELD_MESSAGE_WAIT)),
    }
    after
}

/// What every attempt that offered the recipient leaves behind.
fn offered(
    progress: &Progress,
    upstream: &str,
    evidence: Evidence,
    state: State,
    reason: Option<Reason>,
) -> Progress {
    // What one upstream refused is no evidence at another.
    let is_same = progress.upstream.as_deref() == Some(upstream);
    Progress {
        refusals: if is_same { progress.refusals } else { 0 },
        first_refusal: progress.first_refusal.filter(|_| is_same),
        state,
        reason,
        upstream: Some(upstream.into()),
        phase: Some(evidence.phase),
        reply: Some(evidence.reply),
        attempts: progress.attempts.saturating_add(1),
        next_attempt: None,
        ..*progress
    }
}

#[cfg(test)]
mod tests;
