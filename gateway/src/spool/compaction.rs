//! Copying forward: what is alive in mostly dead old segments moves to the end of the log.
//!
//! A message is copied as one `Accept` with its state folded in and a higher generation; where only its latest outcome is
//! in the way, that alone is copied, and so is a `Remove` that is still needed. The writer refuses a copy if the message changed since it was read: it is read again later. The old segment
//! goes only after the copies are synced. Nothing here waits for the writer, which may be waiting for the next segment
//! that the same thread makes.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    io,
    sync::Arc,
};

use tokio::sync::oneshot::{self, error::TryRecvError};

use super::{
    Shared, StoreError, durable,
    footer::{Entry, Footer},
    index::{Live, Located},
    read::{self, Failure, Wait},
    record::{self, Encoded, OVERHEAD, RecordType, accept, progress},
    segment::{RECORDS, Segment},
    writer::{Condition, Effect, Record, Request},
};
use crate::mail::QueueId;

/// Octets read and handed to the writer at once: mail that comes meanwhile waits for no more than these.
const PORTION: usize = 1024 * 1024;
/// The latest segments are left alone while there is room: what is young is soon settled anyway.
const YOUNG: usize = 2;
/// Octets of a record besides an `Accept`, roughly.
const OTHER: u64 = 128;

/// How little room there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Pressure {
    /// Segments are worth copying when a quarter of them is alive.
    Low,
    /// … a half.
    High,
    /// … three quarters: new mail is refused.
    Full,
}

impl Pressure {
    const fn quarters(self) -> u64 {
        match self {
            Self::Low => 1,
            Self::High => 2,
            Self::Full => 3,
        }
    }
}

type Answer = oneshot::Receiver<Result<bool, StoreError>>;

/// The segment being emptied.
#[derive(Default)]
pub(super) struct Compaction {
    number: Option<u32>,
    /// Messages that refer to it.
    messages: VecDeque<QueueId>,
    /// Messages whose `Remove` is in it and needed, and the segments that need it.
    removals: VecDeque<(QueueId, Vec<u32>)>,
    answers: Vec<Answer>,
    /// Something was refused because it changed: the segment is not empty yet.
    refused: bool,
    /// Segments of which something was refused, until all others had their turn.
    stuck: Vec<u32>,
}

impl Compaction {
    /// Goes on as far as possible without waiting.
    pub(super) fn step(&mut self, shared: &Shared, pressure: Pressure) -> io::Result<()> {
        loop {
            if !self.collect_answers() {
                return Ok(());
            }
            if self.number.is_some() && self.messages.is_empty() && self.removals.is_empty() {
                self.finish(shared);
            }
            if self.number.is_none() && !self.choose(shared, pressure)? {
                return Ok(());
            }
            self.hand_over(shared)?;
            if self.answers.is_empty() && !self.is_done() {
                return Ok(());
            }
        }
    }

    fn is_done(&self) -> bool {
        self.messages.is_empty() && self.removals.is_empty()
    }

    /// Whether the writer has answered everything.
    fn collect_answers(&mut self) -> bool {
        let refused = &mut self.refused;
        self.answers.retain_mut(|answer| match answer.try_recv() {
            Err(TryRecvError::Empty) => true,
            Ok(Ok(true)) => false,
            // The writer has ended, or the message changed.
            Ok(Ok(false) | Err(_)) | Err(TryRecvError::Closed) => {
                *refused = true;
                false
            }
        });
        self.answers.is_empty()
    }

    /// Every copy is synced.
    fn finish(&mut self, shared: &Shared) {
        let Some(number) = self.number.take() else {
            return;
        };
        if std::mem::take(&mut self.refused) {
            self.stuck.push(number);
        } else {
            shared.index().unpin(number);
        }
    }

    /// Finds a segment worth emptying, and what is alive in it.
    fn choose(&mut self, shared: &Shared, pressure: Pressure) -> io::Result<bool> {
        let index = shared.index();
        let sealed: Vec<_> = index.segments().values().filter(|l| l.sealed).collect();
        let old = match pressure {
            Pressure::Low => sealed.len().saturating_sub(YOUNG),
            Pressure::High | Pressure::Full => sealed.len(),
        };
        let worth = |live: &&&Live| {
            let cost = live.bytes + (live.records + live.pins.values().sum::<u64>()) * OTHER;
            cost * 4 <= u64::from(live.segment.length) * pressure.quarters()
                && (live.records > 0 || index.is_pinned(live))
                && !live.retained
                && !self.stuck.contains(&live.segment.number())
        };
        let chosen = sealed.iter().take(old).find(worth);
        let Some(chosen) = chosen.map(|live| Arc::clone(&live.segment)) else {
            self.stuck.clear();
            return Ok(false);
        };
        let holders: Vec<_> = index
            .holders(chosen.number())
            .into_iter()
            .filter_map(|holder| index.segment(holder))
            .collect();
        drop(index);
        let entries = entries(&chosen)?;
        let removals = removals(&chosen, &entries, &holders)?;
        let mut seen = HashSet::new();
        let index = shared.index();
        let alive = |id: &QueueId| index.refers_to(*id, chosen.number());
        self.messages = entries
            .iter()
            .map(|entry| entry.id)
            .filter(|id| alive(id) && seen.insert(*id))
            .collect();
        self.removals = removals.into();
        self.number = Some(chosen.number());
        Ok(true)
    }

    /// Hands the next portion to the writer.
    fn hand_over(&mut self, shared: &Shared) -> io::Result<()> {
        let mut octets = 0;
        while octets < PORTION {
            let number = self.number.unwrap_or_default();
            let copy = match self.messages.pop_front() {
                Some(id) => copy(shared, id, number)?,
                None => match self.removals.pop_front() {
                    Some((id, holders)) => Some(removal(shared, id, holders)),
                    None => return Ok(()),
                },
            };
            let Some((record, condition)) = copy else {
                self.refused = true;
                continue;
            };
            octets += record.encoded.length();
            let (reply, answer) = oneshot::channel();
            let request = Request {
                records: [Some(record), None],
                condition,
                durable: true,
                reply: Some(reply),
            };
            if shared.queue.push(request).is_err() {
                self.refused = true;
            }
            self.answers.push(answer);
        }
        Ok(())
    }
}

/// The records of a sealed segment.
fn entries(segment: &Segment) -> io::Result<Vec<Entry>> {
    if let Some(footer) = Footer::read(segment)? {
        return Ok(footer.entries);
    }
    let bytes = durable::read_all(&*segment.file)?;
    let scan = record::scan(&bytes, RECORDS as usize, &segment.header.marker);
    let entry = |found: &record::Found| {
        let payload = bytes.get(found.offset + OVERHEAD..found.end());
        Entry::of_found(found, payload.unwrap_or_default())
    };
    Ok(scan.found.iter().map(entry).collect())
}

/// Messages removed here of which another segment still holds an `Accept`, with these segments.
fn removals(
    segment: &Segment,
    here: &[Entry],
    holders: &[Arc<Segment>],
) -> io::Result<Vec<(QueueId, Vec<u32>)>> {
    let mut accepted: HashMap<QueueId, Vec<u32>> = HashMap::new();
    for holder in holders.iter().filter(|h| h.number() != segment.number()) {
        let entries = entries(holder)?;
        let accepts = entries
            .iter()
            .filter(|entry| entry.record_type() == Some(RecordType::Accept));
        for entry in accepts {
            let known = accepted.entry(entry.id).or_default();
            if known.last() != Some(&holder.number()) {
                known.push(holder.number());
            }
        }
    }
    let removed = here
        .iter()
        .filter(|entry| entry.record_type() == Some(RecordType::Remove));
    // Taken out of the map, so that each message comes once.
    Ok(removed
        .filter_map(|entry| Some((entry.id, accepted.remove(&entry.id)?)))
        .collect())
}

/// What takes a message out of a segment. `None` if that cannot be done now: it is gone, moving, being attempted, or
/// damaged; what is damaged stays where it is.
fn copy(shared: &Shared, id: QueueId, number: u32) -> io::Result<Option<(Record, Condition)>> {
    let index = shared.index();
    let (located, is_marked) = (index.locate(id), index.is_marked_in(id, number));
    drop(index);
    let Some(located) = located else {
        return Ok(None);
    };
    let outcomes_alone = located.entry.accept.segment != number && !is_marked;
    if outcomes_alone && located.mark.in_flight {
        // An outcome, copied or not, would end the attempt.
        return Ok(None);
    }
    let Some(outcomes) = read_outcomes(&located, outcomes_alone.then_some(number))? else {
        return Ok(None);
    };
    let record = if outcomes_alone {
        Some(copy_outcomes(id, &outcomes))
    } else {
        copy_message(id, &located, &outcomes)?
    };
    let seen = Box::new((located.entry, located.mark));
    Ok(record.map(|record| (record, Condition::Unchanged(id, seen))))
}

/// Outcome records that were read: the head, the octets, and the recipients they are the latest for.
type Outcomes<'a> = Vec<(record::Head, Vec<u8>, &'a [u32])>;

/// The latest outcomes of a message, all or those in one segment.
fn read_outcomes(located: &Located, number: Option<u32>) -> io::Result<Option<Outcomes<'_>>> {
    let mut outcomes = Vec::new();
    for (segment, offset, recipients) in &located.outcomes {
        if number.is_some_and(|number| number != segment.number()) {
            continue;
        }
        match readable(read::record(segment, *offset, None, Wait::Disk))? {
            Some((head, bytes)) => outcomes.push((head, bytes, recipients.as_slice())),
            None => return Ok(None),
        }
    }
    Ok(Some(outcomes))
}

/// The stored progress of each recipient.
fn latest<'a>(outcomes: &'a Outcomes<'_>) -> BTreeMap<u32, &'a [u8]> {
    let mut latest = BTreeMap::new();
    for (head, bytes, recipients) in outcomes {
        let stored = progress::read_outcomes(read::payload(head, bytes));
        for outcome in stored.unwrap_or_default() {
            if recipients.binary_search(&outcome.recipient).is_ok() {
                latest.insert(outcome.recipient, outcome.progress);
            }
        }
    }
    latest
}

/// The same outcomes once more, as one record.
fn copy_outcomes(id: QueueId, outcomes: &Outcomes<'_>) -> Record {
    let latest = latest(outcomes);
    let encoded = Encoded::new(RecordType::Outcome, 0, id, bytes::Bytes::new(), |out| {
        progress::write_stored(out, &latest);
    });
    Record::new(encoded, Effect::Outcome(latest.into_keys().collect()))
}

/// The message as it is now, one generation on.
fn copy_message(
    id: QueueId,
    located: &Located,
    outcomes: &Outcomes<'_>,
) -> io::Result<Option<Record>> {
    let (at, length) = (located.entry.accept.offset, Some(located.entry.length));
    let read = read::record(&located.accept, at, length, Wait::Disk);
    let Some((head, bytes)) = readable(read)? else {
        return Ok(None);
    };
    let latest = latest(outcomes);
    let generation = located.entry.generation.saturating_add(1);
    let payload = read::payload(&head, &bytes);
    let folded = accept::fold(id, head.flags, payload, generation, located.mark, &|r| {
        latest.get(&r).copied()
    });
    let effect = Effect::Accept {
        generation,
        recipients: located.entry.recipients,
        mark: located.mark,
    };
    Ok(folded.ok().map(|encoded| Record::new(encoded, effect)))
}

/// A failing disk is a failure; a record that is not there was moved, or is damaged.
fn readable<T>(read: Result<T, Failure>) -> io::Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(Failure::Io(error)) => Err(error),
        Err(Failure::Damaged { .. } | Failure::Newer) => Ok(None),
    }
}

fn removal(shared: &Shared, id: QueueId, holders: Vec<u32>) -> (Record, Condition) {
    // If it was accepted again meanwhile, its next removal must know of these too.
    shared.index().remember_stale(id, &holders);
    let encoded = Encoded::new(RecordType::Remove, 0, id, bytes::Bytes::new(), |_| {});
    let effect = Effect::RemoveAgain(holders);
    (Record::new(encoded, effect), Condition::Settled(id))
}
