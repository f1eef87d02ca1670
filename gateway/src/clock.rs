//! The one home of time: wall clock, monotonic clock, and waiting.
//!
//! Everything that reads a clock or waits is given a [`Clock`], so that tests own time: theirs moves only by
//! [`ManualClock::advance`]. Deadlines are monotonic; the wall clock is only stored and shown.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::sync::oneshot;

use crate::mail::Timestamp;

/// A point on the monotonic clock, as the time since the clock was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic(Duration);

impl Monotonic {
    /// The point that much later.
    #[must_use]
    pub const fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }

    /// How long ago `earlier` was; zero if it is later.
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// A wait.
pub type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where time comes from.
pub trait Clock: Send + Sync + 'static {
    /// The wall clock. May jump.
    fn wall(&self) -> Timestamp;

    /// The monotonic clock. Never goes back.
    fn now(&self) -> Monotonic;

    /// Waits until the monotonic clock shows `at`; at once if it already does.
    fn sleep_until(&self, at: Monotonic) -> Wait;

    /// Waits that long.
    fn sleep(&self, duration: Duration) -> Wait {
        self.sleep_until(self.now().plus(duration))
    }
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self {
            start: Instant::now(),
        }
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is its home")]
    fn wall(&self) -> Timestamp {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn now(&self) -> Monotonic {
        Monotonic(self.start.elapsed())
    }

    fn sleep_until(&self, at: Monotonic) -> Wait {
        Box::pin(tokio::time::sleep_until((self.start + at.0).into()))
    }
}

/// A clock for tests: it stands still until somebody moves it.
#[derive(Debug, Default)]
pub struct ManualClock {
    state: Mutex<ManualState>,
}

#[derive(Debug, Default)]
struct ManualState {
    now: Duration,
    wall_offset: Duration,
    next: u64,
    sleepers: BTreeMap<(Duration, u64), oneshot::Sender<()>>,
}

impl ManualClock {
    /// A clock whose wall time is 2026-01-01T00:00:00Z: 20,454 days after the epoch.
    pub fn new() -> Self {
        let state = ManualState {
            wall_offset: Duration::from_hours(20_454 * 24),
            ..ManualState::default()
        };
        Self {
            state: Mutex::new(state),
        }
    }

    /// Moves both clocks and wakes everyone whose time has come, in order.
    pub fn advance(&self, by: Duration) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.now += by;
        let now = state.now;
        let later = state.sleepers.split_off(&(now, u64::MAX));
        for (_, waker) in std::mem::replace(&mut state.sleepers, later) {
            // A sleeper that was dropped no longer wants to be woken.
            let _ = waker.send(());
        }
    }

    /// Whether somebody sleeps until exactly `after` from now.
    pub fn is_awaited(&self, after: Duration) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.sleepers.retain(|_, waker| !waker.is_closed());
        let due = state.now + after;
        state.sleepers.keys().any(|(at, _)| *at == due)
    }

    /// When the first sleeper is due, if anyone sleeps.
    pub fn next_wake(&self) -> Option<Monotonic> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.sleepers.retain(|_, waker| !waker.is_closed());
        state.sleepers.keys().next().map(|(at, _)| Monotonic(*at))
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> Timestamp {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Timestamp::default().plus(state.wall_offset + state.now)
    }

    fn now(&self) -> Monotonic {
        Monotonic(
            self.state
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .now,
        )
    }

    fn sleep_until(&self, at: Monotonic) -> Wait {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if at.0 <= state.now {
            return Box::pin(std::future::ready(()));
        }
        let (waker, woken) = oneshot::channel();
        state.next += 1;
        let key = (at.0, state.next);
        state.sleepers.insert(key, waker);
        Box::pin(async move {
            let _ = woken.await;
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_manual_clock_wakes_only_those_whose_time_has_come() {
        let clock = ManualClock::new();
        let early = clock.sleep(Duration::from_secs(1));
        let late = tokio::spawn(clock.sleep(Duration::from_secs(3)));
        clock.advance(Duration::from_secs(2));
        early.await;
        assert!(!late.is_finished());
        assert_eq!(
            clock.next_wake().unwrap().since(clock.now()),
            Duration::from_secs(1)
        );
        clock.advance(Duration::from_secs(1));
        late.await.unwrap();
    }
}
