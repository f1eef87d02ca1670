//! The parts of a message whose recipients go different ways: an entry in each of several lanes.
//!
//! Only one part is under way at a time, and what a person wants is done with all of them. One whose turn comes
//! meanwhile waits with the busy one, and goes on when that one's job ends, unless the message is then given all its
//! entries anew.

use super::{Busy, Schedule};
use crate::{
    mail::QueueId,
    queue::{entry::Entry, lane::LaneId},
};

impl Schedule {
    /// Takes out every part of a message that is not busy.
    pub(super) fn parts(&mut self, id: QueueId) -> Vec<(LaneId, Entry)> {
        let is_it = |entry: &Entry| entry.id() == id;
        let mut parts = self.holds.extract(usize::MAX, |entry, _| is_it(entry));
        for (&lane, of_lane) in &mut self.lanes {
            let found = of_lane.extract(usize::MAX, is_it);
            parts.extend(found.into_iter().map(|entry| (lane, entry)));
        }
        for aside in [&mut self.suspects, &mut self.damaged] {
            parts.extend(aside.extract_if(.., |(_, entry)| is_it(entry)));
        }
        parts
    }

    /// Whether another part of an entry's message is under way. Then it waits for that one's end.
    pub(super) fn joins(&mut self, lane: LaneId, entry: Entry) -> bool {
        let Some(busy) = self.busy.get_mut(&entry.id()) else {
            return false;
        };
        busy.others.push((lane, entry));
        self.left(entry.id(), lane);
        true
    }

    /// An entry of a message is no longer in a lane.
    pub(super) fn left(&mut self, message: QueueId, lane: LaneId) {
        if let Some(lanes) = self.split.get_mut(&message) {
            lanes.retain(|&other| other != lane);
        }
    }

    /// Entries of a message are in their lanes again.
    pub(super) fn returned(&mut self, message: QueueId, lanes: impl IntoIterator<Item = LaneId>) {
        if let Some(known) = self.split.get_mut(&message) {
            known.extend(lanes);
        }
    }

    /// Those parts of a message that waited for the end of another one's job go on without it.
    pub(super) fn part(&mut self, busy: &mut Busy) {
        let others = std::mem::take(&mut busy.others);
        self.returned(busy.entry.id(), others.iter().map(|(lane, _)| *lane));
        self.readmit(others);
    }
}
