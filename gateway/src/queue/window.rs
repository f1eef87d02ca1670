//! The window: the bounded part of the queue whose envelopes, and some content, are in memory.
//!
//! Only what a lane that can be served now has just been given is in it; everything else is read when it is due. Being
//! in the window or not changes nothing but the cost.

use std::{collections::HashMap, sync::Arc};

use super::lane::LaneId;
use crate::mail::{Content, Message, QueueId};

/// Messages in the window.
const MESSAGES: usize = 20_000;

/// Octets of envelopes in the window.
const ENVELOPES: usize = 32 << 20;

/// Octets of content kept for mail just accepted: a second's worth at full speed.
const CONTENT: u64 = 16 << 20;

/// One lane may take a quarter of either, so that a noisy one leaves room.
const LANES: usize = 4;

/// A message in memory.
#[derive(Clone, Debug)]
pub(crate) struct Cached {
    /// Its envelope and progress.
    pub(crate) message: Arc<Message>,
    /// Its content, unless there was no room for it.
    pub(crate) content: Option<Content>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Share {
    messages: usize,
    envelopes: usize,
}

#[derive(Debug)]
struct Slot {
    cached: Cached,
    lane: LaneId,
    envelope: usize,
}

/// The window.
#[derive(Debug, Default)]
pub(crate) struct Window {
    slots: HashMap<QueueId, Slot>,
    lanes: HashMap<LaneId, Share>,
    envelopes: usize,
    content: u64,
}

impl Window {
    /// Puts a message in, if its lane's share has room; its content, if there is room for that.
    pub(crate) fn put(&mut self, lane: LaneId, mut cached: Cached) {
        let id = cached.message.id;
        let envelope = envelope_size(&cached.message);
        let share = self.lanes.get(&lane).copied().unwrap_or_default();
        if share.messages >= MESSAGES / LANES
            || share.envelopes + envelope > ENVELOPES / LANES
            || self.slots.len() >= MESSAGES
            || self.envelopes + envelope > ENVELOPES
            || self.slots.contains_key(&id)
        {
            return;
        }
        if self.content + octets(&cached) > CONTENT {
            cached.content = None;
        }
        self.content += octets(&cached);
        self.envelopes += envelope;
        let share = self.lanes.entry(lane).or_default();
        share.messages += 1;
        share.envelopes += envelope;
        self.slots.insert(
            id,
            Slot {
                cached,
                lane,
                envelope,
            },
        );
    }

    /// Takes a message out.
    pub(crate) fn take(&mut self, id: QueueId) -> Option<Cached> {
        let slot = self.slots.remove(&id)?;
        self.content -= octets(&slot.cached);
        self.envelopes -= slot.envelope;
        if let Some(share) = self.lanes.get_mut(&slot.lane) {
            share.messages -= 1;
            share.envelopes -= slot.envelope;
            if share.messages == 0 {
                self.lanes.remove(&slot.lane);
            }
        }
        Some(slot.cached)
    }

    /// Makes room: a lane that cannot be served keeps nothing in memory.
    pub(crate) fn evict(&mut self, lane: LaneId) {
        if !self.lanes.contains_key(&lane) {
            return;
        }
        let of_lane = self.slots.iter().filter(|(_, slot)| slot.lane == lane);
        let ids: Vec<QueueId> = of_lane.map(|(id, _)| *id).collect();
        for id in ids {
            self.take(id);
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }
}

/// Octets of content that are in memory.
fn octets(cached: &Cached) -> u64 {
    match &cached.content {
        Some(Content::Inline(bytes)) => bytes.len() as u64,
        Some(Content::File { .. }) | None => 0,
    }
}

/// About how many octets an envelope takes in memory.
fn envelope_size(message: &Message) -> usize {
    let recipients: usize = message
        .recipients
        .iter()
        .map(|recipient| size_of_val(recipient) + recipient.forward_path.as_str().len())
        .sum();
    size_of_val(message) + recipients + message.edits.prepend.len() + message.message_id.len() + 128
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::queue::testing::message;

    fn cached(sequence: u64, content: usize) -> Cached {
        Cached {
            message: Arc::new(message(sequence, "a.b", "u@x.example", &["x@c.example"])),
            content: Some(Content::Inline(Bytes::from(vec![b'x'; content]))),
        }
    }

    #[test]
    fn one_lane_takes_a_quarter_at_most() {
        let mut window = Window::default();
        for i in 0..20_000 {
            window.put(1, cached(i, 0));
        }
        assert_eq!(window.len(), MESSAGES / LANES);
        for i in 20_000..20_010 {
            window.put(2, cached(i, 0));
        }
        assert_eq!(window.len(), MESSAGES / LANES + 10);
        window.evict(1);
        assert_eq!(window.len(), 10);
    }

    #[test]
    fn content_is_dropped_before_messages_are() {
        let mut window = Window::default();
        for i in 0..3 {
            window.put(1, cached(i, 7 << 20));
        }
        assert!(window.take(QueueId::new(1, 1)).unwrap().content.is_some());
        assert!(window.take(QueueId::new(1, 2)).unwrap().content.is_none());
        assert!(window.take(QueueId::new(1, 1)).is_none());
    }
}
