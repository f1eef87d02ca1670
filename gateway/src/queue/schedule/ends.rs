//! How jobs end: what the schedule does with a message that is not busy any more.

use std::sync::Arc;

use super::{Busy, Schedule, due::tick_of};
use crate::{
    clock::Monotonic,
    mail::{Message, QueueId, SenderIdentity},
    queue::{
        entry::{Bond, Now, seconds},
        lane::Standing,
        window::Cached,
    },
};

impl Schedule {
    /// An attempt at an upstream is over, whatever it brought.
    pub(crate) fn freed(&mut self, upstream: &str) {
        if let Some(port) = self.ports.get_mut(upstream) {
            port.in_flight = port.in_flight.saturating_sub(1);
        }
    }

    /// A busy message is settled: nothing of it is left to do.
    pub(crate) fn settled(&mut self, message: &Message) {
        self.gone(message.id, seconds(message.accepted), message.facts.length);
    }

    /// A busy message could not be found again; the little that is known of it goes. Gives back whose it was.
    pub(crate) fn lost(&mut self, id: QueueId) -> Option<SenderIdentity> {
        let busy = self.busy.get(&id)?;
        let (accepted, lane) = (seconds(busy.entry.accepted()), busy.lane);
        self.gone(id, accepted, 0);
        self.lanes.get(&lane).map(|lane| lane.sender.clone())
    }

    /// The spool cannot read a busy message: it is held as a whole, in no lane, until a person wants it tried.
    pub(crate) fn damaged(&mut self, id: QueueId) {
        let Some(busy) = self.done(id) else {
            return;
        };
        let mut others = busy.others;
        if self.split.remove(&id).is_some() {
            others.extend(self.parts(id));
        }
        let more = others.iter().map(|(_, entry)| entry.recipients()).sum();
        self.damaged.push((busy.lane, busy.entry.damaged(more)));
    }

    /// Whether a job has a message.
    pub(crate) fn is_busy(&self, id: QueueId) -> bool {
        self.busy.contains_key(&id)
    }

    /// Jobs under way that are no attempts.
    pub(crate) fn readers(&self) -> usize {
        self.readers
    }

    fn gone(&mut self, id: QueueId, accepted: u32, bytes: u64) {
        if self.done(id).is_none() {
            return;
        }
        let parts = self.split.remove(&id).unwrap_or_default();
        if !parts.is_empty() {
            self.holds.extract(usize::MAX, |entry, _| entry.id() == id);
            self.suspects.retain(|(_, entry)| entry.id() != id);
        }
        for lane in parts {
            if let Some(lane) = self.lanes.get_mut(&lane) {
                lane.extract(usize::MAX, |entry| entry.id() == id);
            }
        }
        self.total = self.total.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
        if let Some(count) = self.ages.get_mut(&accepted) {
            *count -= 1;
            if *count == 0 {
                self.ages.remove(&accepted);
            }
        }
    }

    /// A busy message has more to do, by what it has become.
    pub(crate) fn again(&mut self, cached: &Cached, not_before: Monotonic, now: Now) {
        if let Some(busy) = self.done(cached.message.id) {
            self.enter(cached, busy.entry.is_alone(), not_before, now);
        }
    }

    /// A busy message could not be read now; its entry waits as it was.
    pub(crate) fn later(&mut self, id: QueueId, at: Monotonic) {
        if let Some(mut busy) = self.done(id) {
            self.returned(id, [busy.lane]);
            self.part(&mut busy);
            self.push(busy.lane, busy.entry.unread(), Some(tick_of(at)));
        }
    }

    /// A busy message was not offered, since its reverse-path is held at the upstream: another target, or the hold.
    pub(crate) fn held_back(&mut self, cached: &Cached, now: Now) {
        let Some(mut busy) = self.done(cached.message.id) else {
            return;
        };
        let Some(upstream) = busy.upstream.clone() else {
            return self.enter(cached, busy.entry.is_alone(), now.mono, now);
        };
        let message = &cached.message;
        self.returned(message.id, [busy.lane]);
        self.part(&mut busy);
        let entry = busy.entry.shunning(self.names.number(&upstream));
        let elsewhere = self.lanes.get(&busy.lane).and_then(|lane| {
            // What may go nowhere else waits here.
            let target = lane
                .choose(&entry)
                .filter(|_| busy.entry.bond != Bond::Only)?;
            let name = lane.way.names.get(target)?;
            let free = !self.holds.set().contains(name, &message.reverse_path);
            (free && lane.standing(target) != Standing::Away).then_some(())
        });
        if elsewhere.is_some() {
            self.push(busy.lane, entry, None);
        } else if let Some(entry) = self.holds.wait(
            &upstream,
            &message.reverse_path,
            busy.lane,
            busy.entry.probe(false),
        ) {
            self.push(busy.lane, entry, None);
        }
    }

    /// Ends a job: the message is not busy any more, and other suspects may have their turn.
    fn done(&mut self, id: QueueId) -> Option<Busy> {
        let busy = self.busy.remove(&id)?;
        if busy.upstream.is_none() {
            self.readers = self.readers.saturating_sub(1);
        }
        if self.alone == Some(id) {
            self.alone = None;
            let suspects = std::mem::take(&mut self.suspects);
            self.readmit(suspects);
        }
        Some(busy)
    }

    /// The upstream refused this reverse-path, or took mail of it.
    pub(crate) fn reverse_path(
        &mut self,
        upstream: &Arc<str>,
        message: &Message,
        refused: bool,
        now: Now,
    ) {
        let released = if refused {
            self.holds.refused(upstream, &message.reverse_path, now)
        } else {
            self.holds.release(upstream, &message.reverse_path)
        };
        self.readmit(released);
    }
}
