//! What entries add up to: kept with every change, so that figures cost nothing per message.

use std::collections::BTreeMap;

use posthouse_config::reason::Reason;

use super::entry::{Entry, Waiting};

/// What a lane's entries add up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Messages, by [`Waiting`].
    pub(crate) messages: [u64; 4],
    /// Recipients, by [`Waiting`].
    pub(crate) recipients: [u64; 4],
    /// Messages held for a cause of their own.
    pub(crate) held: BTreeMap<Reason, u64>,
}

impl Tally {
    /// Adds an entry.
    pub(crate) fn add(&mut self, entry: &Entry) {
        self.change(entry, |figure, by| *figure += by);
    }

    /// Takes an entry away.
    pub(crate) fn subtract(&mut self, entry: &Entry) {
        self.change(entry, |figure, by| *figure = figure.saturating_sub(by));
    }

    /// Adds what other entries add up to.
    pub(crate) fn merge(&mut self, other: &Self) {
        let pairs = self.messages.iter_mut().chain(&mut self.recipients);
        for (sum, more) in pairs.zip(other.messages.iter().chain(&other.recipients)) {
            *sum += more;
        }
        for (reason, more) in &other.held {
            *self.held.entry(*reason).or_default() += more;
        }
    }

    fn change(&mut self, entry: &Entry, by: impl Fn(&mut u64, u64)) {
        let index = entry.waiting as usize;
        if let Some(recipients) = self.recipients.get_mut(index) {
            by(recipients, entry.recipients());
        }
        if entry.is_extra() {
            return;
        }
        if let Some(messages) = self.messages.get_mut(index) {
            by(messages, 1);
        }
        if let (Waiting::Held, Some(reason)) = (entry.waiting, entry.reason()) {
            by(self.held.entry(reason).or_default(), 1);
        }
    }
}
