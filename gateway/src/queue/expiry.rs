//! When mail becomes too old, and what must have been tried before it is given up.
//!
//! Nothing expires without an attempt, or a failed probe of its target or of its reverse-path there, made *after* its
//! time; except mail that nothing can be attempted for. So an outage of this gateway, or a clock that jumped, never
//! makes mail expire by itself.

use std::time::Duration;

use posthouse_config::document::Retry;

use super::entry::Now;
use crate::mail::Timestamp;

/// A wall clock that parts from the monotonic one by more than this has been set.
const DIVERGENCE: Duration = Duration::from_hours(1);

/// Which of the two ages counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Age {
    /// It waits for time.
    Deferred,
    /// It waits for a cause to be fixed.
    Held,
}

/// When mail of an age is too old: by the sender's own expiry, else by the relay's.
pub(crate) fn expires(accepted: Timestamp, own: Option<u32>, age: Age, retry: &Retry) -> Timestamp {
    let seconds = own.unwrap_or(match age {
        Age::Deferred => retry.expiry_seconds,
        Age::Held => retry.held_expiry_seconds,
    });
    accepted.plus(Duration::from_secs(seconds.into()))
}

/// What is known about the chances of mail that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// It will be attempted, and the attempt decides.
    Attempt,
    /// Nothing can be attempted for it: no eligible target, `Poison`, unconfirmed.
    Hopeless(Age),
    /// It was last tried in vain then: its targets, or its reverse-path there.
    FailedAt(Age, Option<Timestamp>),
}

/// Whether mail is to be given up now.
pub(crate) fn is_over(
    accepted: Timestamp,
    own: Option<u32>,
    evidence: Evidence,
    retry: &Retry,
    now: Timestamp,
) -> bool {
    match evidence {
        Evidence::Attempt => false,
        Evidence::Hopeless(age) => expires(accepted, own, age, retry) <= now,
        Evidence::FailedAt(age, failed) => {
            let time = expires(accepted, own, age, retry);
            time <= now && failed.is_some_and(|failed| failed >= time)
        }
    }
}

/// Watches whether the two clocks part.
#[derive(Debug)]
pub(crate) struct ClockGuard {
    last: Now,
    jumped: bool,
}

impl ClockGuard {
    /// Begins to watch.
    pub(crate) fn new(now: Now) -> Self {
        Self {
            last: now,
            jumped: false,
        }
    }

    /// Looks at both clocks. To be asked more often than [`DIVERGENCE`], so that slewing does not add up.
    pub(crate) fn look(&mut self, now: Now) {
        let passed = now.mono.since(self.last.mono);
        let expected = self.last.wall.plus(passed);
        let apart = now.wall.since(expected).max(expected.since(now.wall));
        if apart > DIVERGENCE {
            self.jumped = true;
        }
        self.last = now;
    }

    /// An attempt was made by the new time: what it brought may count.
    pub(crate) fn attempted(&mut self) {
        self.jumped = false;
    }

    /// Whether expiry has to wait.
    pub(crate) const fn has_jumped(&self) -> bool {
        self.jumped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Monotonic;

    const HOUR: u64 = 3600;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_767_225_600_000 + seconds * 1000)
    }

    fn retry() -> Retry {
        Retry {
            expiry_seconds: 100,
            held_expiry_seconds: 1000,
            ..Retry::default()
        }
    }

    #[test]
    fn held_mail_lives_longer_unless_its_sender_said_otherwise() {
        assert_eq!(expires(at(0), None, Age::Deferred, &retry()), at(100));
        assert_eq!(expires(at(0), None, Age::Held, &retry()), at(1000));
        assert_eq!(expires(at(0), Some(7), Age::Held, &retry()), at(7));
    }

    #[test]
    fn nothing_expires_before_it_was_tried_after_its_time() {
        let over = |evidence, now| is_over(at(0), None, evidence, &retry(), at(now));
        assert!(!over(Evidence::Attempt, 10_000));
        assert!(!over(Evidence::FailedAt(Age::Deferred, None), 10_000));
        assert!(!over(
            Evidence::FailedAt(Age::Deferred, Some(at(99))),
            10_000
        ));
        assert!(over(
            Evidence::FailedAt(Age::Deferred, Some(at(100))),
            10_000
        ));
        assert!(!over(Evidence::FailedAt(Age::Held, Some(at(999))), 10_000));
        assert!(over(Evidence::Hopeless(Age::Held), 1000));
        assert!(!over(Evidence::Hopeless(Age::Held), 999));
    }

    #[test]
    fn a_clock_that_was_set_stops_expiry_until_an_attempt() {
        let now = |wall, mono| Now {
            wall: at(wall),
            mono: Monotonic::default().plus(Duration::from_secs(mono)),
        };
        let mut guard = ClockGuard::new(now(100 * HOUR, 0));
        guard.look(now(100 * HOUR + 600, 600));
        guard.look(now(101 * HOUR + 700, 1200));
        assert!(!guard.has_jumped());
        guard.look(now(300 * HOUR, 1800));
        assert!(guard.has_jumped());
        guard.attempted();
        guard.look(now(299 * HOUR - 10, 1800));
        assert!(guard.has_jumped(), "back counts as forward does");
    }
}
