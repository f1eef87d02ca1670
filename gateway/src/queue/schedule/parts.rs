//! The parts of a message whose recipients go different ways: an entry in each of several lanes.
//!
//! Only one part is under way at a time. One whose turn comes meanwhile waits with the busy one, and goes on when that
//! one's job ends, unless the message is then given all its entries anew.

use super::{Busy, Schedule};
use crate::{
    mail::QueueId,
    queue::{entry::Entry, lane::LaneId},
};

impl Schedule {
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
