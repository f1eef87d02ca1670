//! Whose mail is held: a sum over lanes, since each lane belongs to one sender. Nothing is counted message by message.

use std::collections::HashMap;

use super::Schedule;
use crate::{
    mail::SenderIdentity,
    queue::{entry::Waiting, lane::LaneId},
};

impl Schedule {
    /// Messages that are held, by sender, for the same causes as in [`Schedule::figures`].
    pub(crate) fn held_by_sender(&self) -> HashMap<&SenderIdentity, u64> {
        let mut held = HashMap::new();
        let of_lanes = self
            .lanes
            .iter()
            .map(|(id, lane)| (*id, self.held_in(lane)));
        // Few: attempts under way are bounded, and what is set aside is what damage and deaths left.
        let of_busy = self
            .busy
            .values()
            .filter(|busy| busy.upstream.is_none() && busy.entry.waiting == Waiting::Held)
            .map(|busy| (busy.lane, 1));
        let of_aside = self
            .suspects
            .iter()
            .chain(&self.damaged)
            .filter(|(_, entry)| entry.waiting == Waiting::Held && !entry.is_extra())
            .map(|(lane, _)| (*lane, 1));
        let all = of_lanes
            .chain(self.holds.messages())
            .chain(of_busy)
            .chain(of_aside);
        for (lane, messages) in all.filter(|(_, messages)| *messages > 0) {
            if let Some(sender) = self.sender_of(lane) {
                *held.entry(sender).or_default() += messages;
            }
        }
        held
    }

    fn sender_of(&self, lane: LaneId) -> Option<&SenderIdentity> {
        self.lanes.get(&lane).map(|lane| &lane.sender)
    }
}
