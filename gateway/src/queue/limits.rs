//! A sender's rate: mail over it was accepted, and leaves its lanes at that rate.
//!
//! The virtual scheduling of GCRA (ITU-T I.371): one moment per sender says when the next message would be on time,
//! and a burst may run ahead of it by a tenth of a minute's mail.

use std::{collections::HashMap, time::Duration};

use crate::{clock::Monotonic, mail::SenderIdentity};

const MINUTE: Duration = Duration::from_mins(1);

/// When each limited sender's next message would be on time.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    next: HashMap<SenderIdentity, Monotonic>,
}

impl Limits {
    /// Takes one message's worth, or says from when on that can be done.
    pub(crate) fn take(
        &mut self,
        sender: &SenderIdentity,
        per_minute: u32,
        now: Monotonic,
    ) -> Result<(), Monotonic> {
        let interval = MINUTE / per_minute.max(1);
        let burst = interval * (per_minute / 10).saturating_sub(1);
        let next = match self.next.get_mut(sender) {
            Some(next) => next,
            None => self.next.entry(sender.clone()).or_insert(now),
        };
        let due = (*next).max(now);
        if due.since(now) > burst {
            // The first moment at which it is no more than the burst ahead.
            return Err(now.plus(due.since(now).saturating_sub(burst)));
        }
        *next = due.plus(interval);
        Ok(())
    }

    /// Forgets senders whose rate has no past that matters.
    pub(crate) fn forget(&mut self, now: Monotonic) {
        self.next.retain(|_, next| *next > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_keeps_to_its_rate_with_a_burst_of_a_tenth() {
        let mut limits = Limits::default();
        let mut now = Monotonic::default();
        let mut sent = 0;
        for _ in 0..6000 {
            while limits.take(&SenderIdentity::Anonymous, 60, now).is_ok() {
                sent += 1;
            }
            now = now.plus(Duration::from_millis(100));
        }
        assert!(
            (600..=606).contains(&sent),
            "{sent} in ten minutes at 60 a minute"
        );
    }

    #[test]
    fn who_must_wait_is_told_until_when() {
        let mut limits = Limits::default();
        let now = Monotonic::default();
        assert_eq!(limits.take(&SenderIdentity::Anonymous, 6, now), Ok(()));
        let at = limits.take(&SenderIdentity::Anonymous, 6, now).unwrap_err();
        assert_eq!(at.since(now), Duration::from_secs(10));
        assert_eq!(limits.take(&SenderIdentity::Anonymous, 6, at), Ok(()));
        limits.forget(at.plus(MINUTE));
        assert!(limits.next.is_empty());
    }
}
