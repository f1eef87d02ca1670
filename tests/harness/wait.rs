//! Waiting for something another process does: ask again until it is so, up to a deadline.
//!
//! The one place of the tests that pauses. A pause is never what a test relies on, only how often it looks.

use std::{
    thread,
    time::{Duration, Instant},
};

/// How often to look: short against anything a test waits for, long against the cost of looking.
const PAUSE: Duration = Duration::from_millis(5);

/// The deadline of anything that happens at once on an idle machine. Generous: test machines are not idle.
pub const SOON: Duration = Duration::from_secs(90);

/// Asks until `look` gives a value.
///
/// # Panics
/// If it gave none by the deadline; the message names `what`.
pub fn until<T>(what: &str, deadline: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = look() {
            return value;
        }
        assert!(
            start.elapsed() < deadline,
            "waited {deadline:?} in vain: {what}"
        );
        thread::sleep(PAUSE);
    }
}

/// Asks until a condition holds, up to [`SOON`].
pub fn until_true(what: &str, mut look: impl FnMut() -> bool) {
    until(what, SOON, || look().then_some(()));
}
