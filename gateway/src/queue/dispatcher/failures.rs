//! Whose mail failed or expired of late, for status: a sender's owner looks there when nobody got a report.

use std::{collections::HashMap, time::Duration};

use posthouse_config::status::FailureStatus;

use crate::mail::{SenderIdentity, Timestamp};

/// Senders that are remembered; beyond, the one whose last failure is oldest is forgotten.
const SENDERS: usize = 500;

/// How long a failure is worth telling.
const RECENT: Duration = Duration::from_hours(24);

/// Recipients that failed or expired, by sender.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    by_sender: HashMap<SenderIdentity, (u64, Timestamp)>,
}

impl Failures {
    /// Recipients of a sender failed or expired.
    pub(crate) fn remember(&mut self, sender: &SenderIdentity, count: u64, now: Timestamp) {
        if self.by_sender.len() >= SENDERS && !self.by_sender.contains_key(sender) {
            let oldest = self.by_sender.iter().min_by_key(|(_, (_, last))| *last);
            let oldest = oldest.map(|(sender, _)| sender.clone());
            oldest.and_then(|oldest| self.by_sender.remove(&oldest));
        }
        let (sum, last) = self.by_sender.entry(sender.clone()).or_insert((0, now));
        *sum += count;
        *last = now;
    }

    /// Who had any in the last 24 hours, in the order of names.
    pub(crate) fn recent(&mut self, now: Timestamp) -> Vec<FailureStatus> {
        self.by_sender
            .retain(|_, (_, last)| now.since(*last) <= RECENT);
        let mut recent: Vec<_> = self
            .by_sender
            .iter()
            .map(|(sender, (count, last))| FailureStatus {
                sender: sender.to_string(),
                count: *count,
                last_time: last.to_string(),
            })
            .collect();
        recent.sort_by(|a, b| a.sender.cmp(&b.sender));
        recent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::testing::START;

    fn sender(n: usize) -> SenderIdentity {
        SenderIdentity::Sender {
            namespace: "ns".into(),
            name: format!("s{n:03}").into(),
        }
    }

    #[test]
    fn failures_are_summed_forgotten_after_a_day_and_bounded() {
        let mut failures = Failures::default();
        failures.remember(&sender(0), 2, START);
        failures.remember(&sender(0), 1, START.plus(Duration::from_hours(1)));
        let recent = failures.recent(START.plus(Duration::from_hours(25)));
        assert_eq!((recent[0].sender.as_str(), recent[0].count), ("s000.ns", 3));
        for n in 1..=SENDERS {
            failures.remember(&sender(n), 1, START.plus(Duration::from_hours(2)));
        }
        let recent = failures.recent(START.plus(Duration::from_hours(3)));
        assert_eq!(
            (recent.len(), recent[0].sender.as_str()),
            (SENDERS, "s001.ns")
        );
        assert_eq!(failures.recent(START.plus(Duration::from_hours(27))), []);
    }
}
