//! When each Secret was last written, and so when it is due again.
//!
//! Nobody here can see whether somebody changed a Secret, so each is written again once an hour. Lost with the process,
//! and then all are written once more, which changes nothing.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use aws_lc_rs::digest;
use serde_json::Value;
use tokio::time::Instant;

/// A Secret that nobody complained about is written again after this.
const AGAIN: Duration = Duration::from_hours(1);

/// What was last written, and when it is due again.
struct Kept {
    digest: Vec<u8>,
    due: Instant,
}

/// Namespace and name.
type Name = (String, String);

/// The Secrets that were written.
#[derive(Default)]
pub(super) struct Schedule(Mutex<HashMap<Name, Kept>>);

impl Schedule {
    /// Whether the same was written and is not due again.
    pub(super) fn is_current(&self, name: &Name, body: &Value) -> bool {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(name).is_some_and(|kept| {
            kept.digest == sha256(&body.to_string()) && Instant::now() < kept.due
        })
    }

    /// A Secret was written.
    pub(super) fn written(&self, name: Name, body: &Value) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = if kept.contains_key(&name) {
            AGAIN
        } else {
            first(&name)
        };
        let digest = sha256(&body.to_string());
        let due = Instant::now() + wait;
        kept.insert(name, Kept { digest, due });
    }

    /// Forgets what was due an hour ago: its object is gone, or it would have been written.
    pub(super) fn tidy(&self) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        kept.retain(|_, kept| now < kept.due + AGAIN);
    }

    pub(super) fn forget(&self, name: &Name) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.remove(name);
    }
}

/// When a Secret is written for the second time: somewhere within the hour, by its name, so that a start of the operator
/// does not make all of them due together for ever. Anywhere in it, so that no part of any later hour has more of them.
fn first(name: &Name) -> Duration {
    let digest = sha256(&format!("{}/{}", name.0, name.1));
    let share = digest.first().copied().unwrap_or_default();
    AGAIN.mul_f64((f64::from(share) + 1.0) / 256.0)
}

fn sha256(text: &str) -> Vec<u8> {
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    digest.as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_nobody_asks_for_is_forgotten() {
        let schedule = Schedule::default();
        let name = |name: &str| ("shop".to_owned(), name.to_owned());
        schedule.written(name("a"), &json!({}));
        schedule.tidy();
        assert!(schedule.is_current(&name("a"), &json!({})));
        tokio::time::advance(AGAIN).await;
        schedule.written(name("b"), &json!({}));
        tokio::time::advance(AGAIN).await;
        schedule.tidy();
        let kept = schedule.0.lock().unwrap();
        assert_eq!(kept.keys().collect::<Vec<_>>(), [&name("b")]);
    }

    #[test]
    fn second_times_are_spread_over_the_whole_hour() {
        let mut quarters = [0_u32; 4];
        for i in 0..2000 {
            let wait = first(&("mail".to_owned(), format!("app-{i}")));
            assert!(wait <= AGAIN);
            quarters[(wait.as_secs() / (AGAIN.as_secs() / 4)).min(3) as usize] += 1;
        }
        // An even spread is 500 each; five standard deviations are 97.
        assert!(
            quarters.iter().all(|count| (400..600).contains(count)),
            "{quarters:?}"
        );
    }
}
