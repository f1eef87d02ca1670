//! Due times as ticks of the monotonic clock.

use std::time::Duration;

use crate::{
    clock::Monotonic,
    queue::{
        entry::{Due, Now},
        lane::{NEVER, Tick},
    },
};

/// How long a tick is.
const TICK_MILLIS: u64 = 100;

/// Waits longer than this are rounded up to whole seconds, so that there are few distinct times.
const FINE_TICKS: Tick = 600;

/// The tick of a moment, rounded down.
pub(super) fn tick_of(at: Monotonic) -> Tick {
    Tick::try_from(at.since(Monotonic::default()).as_millis()).unwrap_or(Tick::MAX) / TICK_MILLIS
}

/// The tick from which on something is due, rounded up; `None` if it is due now.
pub(super) fn due_tick(due: Due, not_before: Monotonic, now: Now) -> Option<Tick> {
    let wait = match due {
        Due::Never => return Some(NEVER),
        Due::Now => Duration::ZERO,
        Due::At(at) => at.since(now.wall),
    };
    let at = now.mono.plus(wait).max(not_before);
    if at <= now.mono {
        return None;
    }
    let tick = tick_of(at) + 1;
    let fine = tick.saturating_sub(tick_of(now.mono)) <= FINE_TICKS;
    Some(if fine { tick } else { tick.div_ceil(10) * 10 })
}

/// The moment of a tick.
pub(super) fn moment(tick: Tick) -> Monotonic {
    Monotonic::default().plus(Duration::from_millis(tick.saturating_mul(TICK_MILLIS)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::testing::START;

    #[test]
    fn nothing_is_early_and_long_waits_share_their_times() {
        let mono = Monotonic::default().plus(Duration::from_millis(1234));
        let now = Now { wall: START, mono };
        let at = |millis| Due::At(START.plus(Duration::from_millis(millis)));
        assert_eq!(due_tick(Due::Now, mono, now), None);
        assert_eq!(due_tick(at(0), mono, now), None);
        assert_eq!(due_tick(Due::Never, mono, now), Some(NEVER));
        assert_eq!(
            due_tick(Due::Now, mono.plus(Duration::from_secs(1)), now),
            Some(23)
        );
        for millis in [1, 99, 100, 5000, 100_000, 3_600_050] {
            let tick = due_tick(at(millis), mono, now).unwrap();
            let waited = moment(tick).since(mono);
            assert!(
                waited >= Duration::from_millis(millis),
                "{millis} ms: {waited:?}"
            );
            assert!(
                waited <= Duration::from_millis(millis + 1100),
                "{millis} ms: {waited:?}"
            );
        }
        assert_eq!(due_tick(at(3_600_050), mono, now).unwrap() % 10, 0);
    }
}
