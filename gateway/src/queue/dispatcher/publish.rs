//! What the queue's task tells: figures for metrics and status, and whose mail failed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use posthouse_config::{document::NO_UPSTREAM, status::WaitingStatus};

use super::QueueTask;
use crate::{
    metrics::QUEUE_STATES,
    queue::{Account, Figures, entry::Now},
};

/// How often the figures are published while something changes.
const PUBLISH: Duration = Duration::from_secs(1);

/// Senders whose waiting mail is told: an answer must stay small.
const WAITING: usize = 500;

/// How often the figures are published while nothing changes but age.
const PUBLISH_IDLE: Duration = Duration::from_secs(15);

impl QueueTask {
    pub(super) fn figures(&self) -> Figures {
        let mut figures = self.schedule.figures();
        figures.clock_jumped = self.progress.clock.has_jumped();
        figures
    }

    /// Everything that status asks for.
    pub(super) fn account(&mut self, now: Now) -> Account {
        Account {
            figures: self.figures(),
            failures: self.progress.failures.recent(now.wall),
            waiting: self.waiting(),
        }
    }

    /// Whose mail waits, those with held mail first.
    fn waiting(&self) -> Vec<WaitingStatus> {
        let held = self.schedule.held_by_sender();
        let backlogs = self.shared.inbox.backlogs();
        let waiting = backlogs
            .into_iter()
            .map(|(sender, messages)| WaitingStatus {
                // A part that is held may be counted a moment before its message is.
                held: held.get(&sender).copied().unwrap_or(0).min(messages),
                sender: sender.to_string(),
                messages,
            });
        let mut waiting: Vec<_> = waiting.collect();
        waiting.sort_by(|a, b| {
            let by_figures = (b.held, b.messages).cmp(&(a.held, a.messages));
            by_figures.then_with(|| a.sender.cmp(&b.sender))
        });
        waiting.truncate(WAITING);
        waiting
    }

    /// Writes the figures to the metrics.
    pub(super) fn publish(&mut self, now: Now) {
        let wait = if self.progress.is_dirty {
            PUBLISH
        } else {
            PUBLISH_IDLE
        };
        self.progress.next_publish = now.mono.plus(wait);
        self.progress.is_dirty = false;
        let figures = self.figures();
        let metrics = &self.shared.metrics;
        for (state, count) in QUEUE_STATES.iter().zip(figures.by_state) {
            metrics
                .queue_messages
                .with_label_values(&[state])
                .set(gauge(count));
        }
        self.publish_recipients(&figures.recipients);
        let metrics = &self.shared.metrics;
        metrics.queue_bytes.set(gauge(figures.bytes));
        let age = figures
            .oldest
            .map_or(0.0, |oldest| now.wall.since(oldest).as_secs_f64());
        metrics.queue_oldest_message_age_seconds.set(age);
    }

    /// Writes the recipients of each upstream. What was shown for one upstream may be shown for another now, so all
    /// are written; those that nobody names any more go.
    fn publish_recipients(&mut self, recipients: &BTreeMap<Arc<str>, [u64; 5]>) {
        let gauges = &self.shared.metrics.queue_recipients;
        let document = &self.config.snapshot.document;
        let mut named: BTreeSet<Arc<str>> = recipients.keys().cloned().collect();
        named.extend(
            document
                .upstreams
                .iter()
                .map(|upstream| Arc::from(upstream.name.as_str())),
        );
        named.insert(NO_UPSTREAM.into());
        for upstream in &named {
            let counts = recipients.get(upstream).copied().unwrap_or_default();
            for (state, count) in QUEUE_STATES.iter().zip(counts) {
                gauges
                    .with_label_values(&[upstream, *state])
                    .set(gauge(count));
            }
        }
        for upstream in self.progress.published.difference(&named) {
            for state in QUEUE_STATES {
                // It was published, so it is there.
                let _ = gauges.remove_label_values(&[upstream, state]);
            }
        }
        self.progress.published = named;
    }
}

fn gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
