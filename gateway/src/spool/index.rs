//! The index: where each unsettled message is, and what keeps each segment alive.
//!
//! Bodies and recipients' state are not here; they are read when due. The same rules serve the running spool and its
//! recovery: both apply records in the order of the log. A segment may go when nothing in it is alive:
//! - an `Accept` is alive until its message is removed or copied forward (then the highest generation counts);
//! - an `Outcome` is alive while it is the latest of a recipient of an unsettled message;
//! - a `Remove` is alive as long as any segment exists that holds an `Accept` of its message, else a restart would
//!   relay again what was relayed: the segment of the `Remove` is *pinned* by those segments;
//! - a `Begin` is alive until the attempt's outcome, a count of deaths until its message is removed.

mod entries;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use entries::Entries;

use super::{record::accept::Mark, segment::Segment};
use crate::mail::QueueId;

/// Where a record begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Position {
    pub(super) segment: u32,
    pub(super) offset: u32,
}

/// Where the latest outcomes of a message are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Latest {
    /// Nothing but its `Accept`.
    #[default]
    None,
    /// Of the only recipient.
    One(Position),
    /// Of those recipients that have one, ascending by the recipient's position in the message.
    #[allow(clippy::box_collection)]
    // a thin pointer keeps the entries of all other messages small
    Many(Box<Vec<(u32, Position)>>),
}

impl Latest {
    fn positions(&self) -> impl Iterator<Item = Position> {
        let (one, many) = match self {
            Self::None => (None, &[][..]),
            Self::One(position) => (Some(*position), &[][..]),
            Self::Many(many) => (None, many.as_slice()),
        };
        one.into_iter()
            .chain(many.iter().map(|(_, position)| *position))
    }
}

/// Where a message is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) accept: Position,
    /// Octets of the `Accept`.
    pub(super) length: u32,
    pub(super) generation: u32,
    pub(super) recipients: u32,
    pub(super) content_file: bool,
    pub(super) latest: Latest,
}

/// Deaths of a message, and the attempt under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Marks {
    deaths: u8,
    /// The segment that says so.
    stated: Option<u32>,
    /// The segment of the `Begin` that no outcome followed yet.
    in_flight: Option<u32>,
}

/// What keeps a segment.
pub(super) struct Live {
    pub(super) segment: Arc<Segment>,
    /// Records of unsettled messages that the index refers to.
    pub(super) records: u64,
    /// Octets of the `Accept`s among them.
    pub(super) bytes: u64,
    /// Segments with an `Accept` whose `Remove` is here, and how many.
    pub(super) pins: BTreeMap<u32, u64>,
    /// Nothing is written to it any more.
    pub(super) sealed: bool,
    /// Something damaged in it could not be copied to quarantine: it stays for a person, until a later start.
    pub(super) retained: bool,
}

/// A consistent view of one message, to read it by.
pub(super) struct Located {
    pub(super) entry: Entry,
    pub(super) accept: Arc<Segment>,
    /// Each record with latest outcomes: where, and of which recipients.
    pub(super) outcomes: Vec<(Arc<Segment>, u32, Vec<u32>)>,
    pub(super) mark: Mark,
}

/// The index.
#[derive(Default)]
pub(super) struct Index {
    entries: Entries,
    marks: HashMap<QueueId, Marks>,
    /// Segments that hold an older `Accept` of a message besides the one in its entry.
    stale: HashMap<QueueId, Vec<u32>>,
    segments: BTreeMap<u32, Live>,
}

impl Index {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn contains(&self, id: QueueId) -> bool {
        self.entries.get(id).is_some()
    }

    pub(super) fn generation(&self, id: QueueId) -> Option<u32> {
        self.entries.get(id).map(|entry| entry.generation)
    }

    pub(super) fn entry(&self, id: QueueId) -> Option<&Entry> {
        self.entries.get(id)
    }

    /// Every unsettled message, the oldest first.
    pub(super) fn ids(&self) -> Vec<QueueId> {
        self.entries.ids()
    }

    pub(super) fn segments(&self) -> &BTreeMap<u32, Live> {
        &self.segments
    }

    pub(super) fn segment(&self, number: u32) -> Option<Arc<Segment>> {
        self.segments
            .get(&number)
            .map(|live| Arc::clone(&live.segment))
    }

    pub(super) fn add_segment(&mut self, segment: Arc<Segment>, sealed: bool) {
        let live = Live {
            segment,
            records: 0,
            bytes: 0,
            pins: BTreeMap::new(),
            sealed,
            retained: false,
        };
        self.segments.insert(live.segment.number(), live);
    }

    pub(super) fn seal(&mut self, number: u32) {
        if let Some(live) = self.segments.get_mut(&number) {
            live.sealed = true;
        }
    }

    /// The segment is not to be recycled in this run.
    pub(super) fn retain(&mut self, number: u32) {
        if let Some(live) = self.segments.get_mut(&number) {
            live.retained = true;
        }
    }

    pub(super) fn is_retained(&self, number: u32) -> bool {
        self.segments.get(&number).is_some_and(|live| live.retained)
    }

    /// An `Accept` was written. One of a lower generation than is known is only remembered for what it pins.
    pub(super) fn accept(&mut self, id: QueueId, entry: Entry, mark: Mark) {
        if let Some(known) = self.entries.get(id) {
            if known.generation > entry.generation {
                if known.accept.segment != entry.accept.segment {
                    self.stale.entry(id).or_default().push(entry.accept.segment);
                }
                return;
            }
            if let Some(old) = self.detach(id)
                && old.accept.segment != entry.accept.segment
            {
                self.stale.entry(id).or_default().push(old.accept.segment);
            }
        }
        let segment = entry.accept.segment;
        self.hold(segment, entry.length);
        self.entries.insert(id, entry);
        let marks = Marks {
            deaths: mark.deaths,
            stated: (mark.deaths > 0).then_some(segment),
            in_flight: mark.in_flight.then_some(segment),
        };
        self.set_marks(id, marks);
    }

    /// An `Outcome` was written: it ends the attempt.
    pub(super) fn outcome(&mut self, id: QueueId, recipients: &[u32], position: Position) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        let mut released = Vec::new();
        let mut held = 0;
        let count = entry.recipients;
        for &recipient in recipients.iter().filter(|&&r| r < count) {
            held += 1;
            released.extend(entry.replace(recipient, position));
        }
        for _ in 0..held {
            self.hold(position.segment, 0);
        }
        for old in released {
            self.release(old.segment, 0);
        }
        self.end_attempt(id);
    }

    /// A `Begin` was written.
    pub(super) fn begin(&mut self, id: QueueId, segment: u32) {
        if self.entries.get(id).is_some() {
            let marks = self.marks.get(&id).copied().unwrap_or_default();
            let in_flight = Some(segment);
            self.set_marks(id, Marks { in_flight, ..marks });
        }
    }

    /// A count of deaths was written.
    pub(super) fn state_deaths(&mut self, id: QueueId, deaths: u8, segment: u32) {
        if self.entries.get(id).is_some() {
            let marks = Marks {
                deaths,
                stated: Some(segment),
                in_flight: None,
            };
            self.set_marks(id, marks);
        }
    }

    /// A `Remove` was written. What there was, if there was anything, and every segment that holds an `Accept` of it.
    pub(super) fn remove(&mut self, id: QueueId, segment: u32) -> Option<(Entry, Vec<u32>)> {
        let entry = self.detach(id)?;
        self.set_marks(id, Marks::default());
        let mut holders = self.stale.remove(&id).unwrap_or_default();
        holders.push(entry.accept.segment);
        for &holder in &holders {
            self.pin(segment, holder);
        }
        Some((entry, holders))
    }

    /// A message cannot be read: it is no longer ours to schedule.
    pub(super) fn forget(&mut self, id: QueueId) {
        self.detach(id);
        self.set_marks(id, Marks::default());
        self.stale.remove(&id);
    }

    /// The segment of a `Remove` must stay as long as `holder` exists.
    pub(super) fn pin(&mut self, segment: u32, holder: u32) {
        if segment != holder
            && let Some(live) = self.segments.get_mut(&segment)
        {
            *live.pins.entry(holder).or_default() += 1;
        }
    }

    /// Another run begins: attempts under way then were ended by a clean stop, or counted as deaths since.
    pub(super) fn end_all_attempts(&mut self) {
        for (id, _) in self.in_flight() {
            self.end_attempt(id);
        }
    }

    /// Messages with an attempt under way, and how many deaths they have had.
    pub(super) fn in_flight(&self) -> Vec<(QueueId, u8)> {
        self.marks
            .iter()
            .filter(|(_, marks)| marks.in_flight.is_some())
            .map(|(id, marks)| (*id, marks.deaths))
            .collect()
    }

    pub(super) fn mark(&self, id: QueueId) -> Mark {
        self.marks
            .get(&id)
            .map_or_else(Mark::default, |marks| Mark {
                deaths: marks.deaths,
                in_flight: marks.in_flight.is_some(),
            })
    }

    /// What is needed to read a message.
    pub(super) fn locate(&self, id: QueueId) -> Option<Located> {
        let entry = self.entries.get(id)?;
        let file = |number: u32| {
            self.segments
                .get(&number)
                .map(|live| Arc::clone(&live.segment))
        };
        let mut records: BTreeMap<Position, Vec<u32>> = BTreeMap::new();
        match &entry.latest {
            Latest::None => {}
            Latest::One(position) => {
                records.insert(*position, vec![0]);
            }
            Latest::Many(many) => {
                for (recipient, position) in many.iter() {
                    records.entry(*position).or_default().push(*recipient);
                }
            }
        }
        Some(Located {
            accept: file(entry.accept.segment)?,
            outcomes: records
                .into_iter()
                .filter_map(|(at, recipients)| Some((file(at.segment)?, at.offset, recipients)))
                .collect(),
            mark: self.mark(id),
            entry: entry.clone(),
        })
    }

    /// Sealed segments in which nothing is alive and that nothing pins. They stay so.
    pub(super) fn dead_segments(&self) -> Vec<u32> {
        self.segments
            .iter()
            .filter(|(_, live)| {
                let is_empty = live.records == 0 && !self.is_pinned(live);
                live.sealed && is_empty && !live.retained
            })
            .map(|(number, _)| *number)
            .collect()
    }

    /// Whether a `Remove` in it is still needed.
    pub(super) fn is_pinned(&self, live: &Live) -> bool {
        live.pins
            .keys()
            .any(|holder| self.segments.contains_key(holder))
    }

    /// The segments that pin this one.
    pub(super) fn holders(&self, number: u32) -> Vec<u32> {
        let live = self.segments.get(&number);
        live.map_or_else(Vec::new, |live| live.pins.keys().copied().collect())
    }

    /// Every `Remove` that was needed in it is now elsewhere too.
    pub(super) fn unpin(&mut self, number: u32) {
        if let Some(live) = self.segments.get_mut(&number) {
            live.pins.clear();
        }
    }

    /// Whether something in that segment is alive for this message.
    pub(super) fn refers_to(&self, id: QueueId, segment: u32) -> bool {
        let Some(entry) = self.entries.get(id) else {
            return false;
        };
        entry.accept.segment == segment
            || entry.latest.positions().any(|at| at.segment == segment)
            || self.is_marked_in(id, segment)
    }

    /// Whether that segment says something of the deaths of this message that no other does.
    pub(super) fn is_marked_in(&self, id: QueueId, segment: u32) -> bool {
        let marks = self.marks.get(&id).copied().unwrap_or_default();
        marks.stated == Some(segment) || marks.in_flight == Some(segment)
    }

    /// An unsettled message has older `Accept`s that a removal before this one was for.
    pub(super) fn remember_stale(&mut self, id: QueueId, segments: &[u32]) {
        if self.entries.get(id).is_some() {
            self.stale.entry(id).or_default().extend(segments);
        }
    }

    /// The segment's file is gone.
    pub(super) fn drop_segment(&mut self, number: u32) -> Option<Arc<Segment>> {
        let live = self.segments.remove(&number)?;
        self.stale.retain(|_, segments| {
            segments.retain(|segment| *segment != number);
            !segments.is_empty()
        });
        Some(live.segment)
    }

    /// Takes a message out, with all it keeps alive but its marks.
    fn detach(&mut self, id: QueueId) -> Option<Entry> {
        let entry = self.entries.remove(id)?;
        self.release(entry.accept.segment, entry.length);
        for position in entry.latest.positions() {
            self.release(position.segment, 0);
        }
        Some(entry)
    }

    fn end_attempt(&mut self, id: QueueId) {
        if let Some(marks) = self.marks.get(&id).copied() {
            let in_flight = None;
            self.set_marks(id, Marks { in_flight, ..marks });
        }
    }

    fn set_marks(&mut self, id: QueueId, marks: Marks) {
        let old = if marks == Marks::default() {
            self.marks.remove(&id)
        } else {
            self.marks.insert(id, marks)
        };
        for segment in [marks.stated, marks.in_flight].into_iter().flatten() {
            self.hold(segment, 0);
        }
        let old = old.unwrap_or_default();
        for segment in [old.stated, old.in_flight].into_iter().flatten() {
            self.release(segment, 0);
        }
    }

    fn hold(&mut self, segment: u32, bytes: u32) {
        if let Some(live) = self.segments.get_mut(&segment) {
            live.records += 1;
            live.bytes += u64::from(bytes);
        }
    }

    fn release(&mut self, segment: u32, bytes: u32) {
        if let Some(live) = self.segments.get_mut(&segment) {
            live.records = live.records.saturating_sub(1);
            live.bytes = live.bytes.saturating_sub(bytes.into());
        }
    }
}

impl Entry {
    /// Puts a newer outcome of a recipient; gives back the place of the one it replaces.
    fn replace(&mut self, recipient: u32, position: Position) -> Option<Position> {
        if self.recipients == 1 {
            return match std::mem::replace(&mut self.latest, Latest::One(position)) {
                Latest::One(old) => Some(old),
                Latest::None | Latest::Many(_) => None,
            };
        }
        if let Latest::Many(many) = &mut self.latest {
            match many.binary_search_by_key(&recipient, |(r, _)| *r) {
                Ok(at) => {
                    return many
                        .get_mut(at)
                        .map(|(_, place)| std::mem::replace(place, position));
                }
                Err(at) => many.insert(at, (recipient, position)),
            }
        } else {
            self.latest = Latest::Many(Box::new(vec![(recipient, position)]));
        }
        None
    }
}
