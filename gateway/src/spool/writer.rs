//! The one writer of the log: it gathers what waits, writes once, syncs once, and wakes all who waited.
//!
//! A batch is whatever was asked for while the last one was synced: no artificial delay, so one session alone pays one
//! sync and many share it. Records come encoded and checksummed by whoever wants them written; here they get their
//! place. Order of a batch: write, index, replies that need no sync, sync, replies that do. What needs no sync is
//! synced with the next batch that does, or after [`LAZY_SYNC`].
//!
//! A write or sync that fails is not retried: everyone who waits is told, and the spool has failed.

mod queue;

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

pub(super) use queue::{Condition, Effect, Ending, Queue, Record, Reply, Request};

use super::{
    Shared, StoreError,
    footer::{self, Footer},
    index::{Entry, Latest, Position},
    record::{CONTENT_FILE, RecordType},
    segment::{RECORDS, Segment},
};
use crate::mail::QueueId;

/// How long an outcome may be written and not synced: what the loss of a node may cost as duplicates.
const LAZY_SYNC: Duration = Duration::from_millis(100);
/// Octets gathered for one write: a sync of more than this would make everyone wait for one.
const BATCH: usize = 4 * 1024 * 1024;

/// The segment being written.
pub(super) struct Active {
    pub(super) segment: Arc<Segment>,
    /// Octets of the file in use.
    pub(super) used: u32,
    pub(super) entries: Vec<footer::Entry>,
}

impl Active {
    /// A segment without records.
    pub(super) const fn new(segment: Arc<Segment>) -> Self {
        Self {
            segment,
            used: RECORDS,
            entries: Vec::new(),
        }
    }
}

/// A segment that nothing is written to any more, on its way to its footer.
pub(super) struct Sealed {
    pub(super) segment: Arc<Segment>,
    pub(super) footer: Footer,
}

/// The writer.
pub(super) struct Writer {
    shared: Arc<Shared>,
    active: Active,
    requests: Vec<Request>,
    batch: Batch,
    /// Requests that wait for a segment; the disk is full.
    held_back: Vec<Request>,
    /// Something is written and not synced, since when.
    unsynced: Option<Instant>,
    /// Messages whose content files go when what is written is synced.
    removed: Vec<QueueId>,
}

#[derive(Default)]
struct Batch {
    buffer: Vec<u8>,
    /// What was put into the buffer, and where in it.
    placed: Vec<(Record, u32)>,
    /// Answered after the write.
    on_write: Vec<Reply>,
    /// Answered after the sync.
    on_sync: Vec<Reply>,
    sync: bool,
    /// The upkeep waits for an answer.
    stir: bool,
}

/// A failed operation on the log.
pub(super) struct Failure {
    pub(super) segment: Arc<Segment>,
    pub(super) error: io::Error,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, active: Active) -> Self {
        Self {
            shared,
            active,
            requests: Vec::new(),
            batch: Batch::default(),
            held_back: Vec::new(),
            unsynced: None,
            removed: Vec::new(),
        }
    }

    /// Writes until it is told to end, or something fails.
    pub(super) fn run(mut self) {
        loop {
            let deadline = self.unsynced.map(|since| since + LAZY_SYNC);
            let ending = self.shared.queue.take(&mut self.requests, deadline);
            let result = match ending {
                Ending::No => self.write_all(),
                Ending::Close => self.write_all().and_then(|()| self.close()),
                Ending::Abandon => Ok(()),
            };
            if let Err(Failure { segment, error }) = &result {
                self.shared.fail(&segment.path, error);
            }
            if result.is_err() || ending != Ending::No {
                return self.refuse_all();
            }
        }
    }

    /// Everyone who waits is told that nothing is certain any more.
    fn refuse_all(mut self) {
        self.shared.queue.end(Ending::Abandon);
        for reply in self
            .batch
            .on_write
            .drain(..)
            .chain(self.batch.on_sync.drain(..))
        {
            let _ = reply.send(Err(StoreError::Failed));
        }
        let waiting = self.shared.queue.drain();
        for request in self
            .held_back
            .into_iter()
            .chain(self.requests)
            .chain(waiting)
        {
            request.answer(Err(StoreError::Failed));
        }
    }

    fn write_all(&mut self) -> Result<(), Failure> {
        let mut held_back = std::mem::take(&mut self.held_back);
        let mut requests = std::mem::take(&mut self.requests);
        for request in held_back.drain(..).chain(requests.drain(..)) {
            self.place(request)?;
            if self.batch.buffer.len() >= BATCH {
                self.flush()?;
                self.sync()?;
            }
        }
        // Keeps the allocation.
        self.requests = requests;
        self.flush()?;
        let late = self
            .unsynced
            .is_some_and(|since| since.elapsed() >= LAZY_SYNC);
        if self.batch.sync || late {
            self.sync()?;
        }
        Ok(())
    }

    /// Puts a request into the batch, going on to the next segment if it does not fit.
    fn place(&mut self, request: Request) -> Result<(), Failure> {
        if !self.holds(&request.condition) {
            self.batch.stir |= request.is_upkeep();
            self.batch.sync |= request.is_upkeep();
            request.answer(Ok(false));
            return Ok(());
        }
        let is_mail = request.condition == Condition::NewMail;
        // In order: an outcome may not overtake another one of its message.
        let must_wait = request.length() > 0
            && (!self.held_back.is_empty()
                || !self.fits(&request)
                    // What is left is for outcomes, reports and copies.
                    && (is_mail && !self.shared.has_room() || !self.next(&request)?));
        if must_wait {
            if is_mail {
                request.answer(Err(StoreError::Full));
            } else if request.is_upkeep() {
                // Copies are no reason to let outcomes wait.
                self.batch.stir = true;
                self.batch.sync = true;
                request.answer(Ok(false));
            } else {
                self.held_back.push(request);
            }
            return Ok(());
        }
        self.batch.sync |= request.durable;
        self.batch.stir |= request.is_upkeep();
        let marker = self.active.segment.header.marker;
        for record in request.records.into_iter().flatten() {
            let at = u32::try_from(self.batch.buffer.len()).unwrap_or(u32::MAX);
            record.encoded.write_to(&marker, &mut self.batch.buffer);
            self.batch.placed.push((record, at));
        }
        if let Some(reply) = request.reply {
            if request.durable {
                self.batch.on_sync.push(reply);
            } else {
                self.batch.on_write.push(reply);
            }
        }
        Ok(())
    }

    fn holds(&self, condition: &Condition) -> bool {
        match condition {
            Condition::NewMail | Condition::Always => true,
            Condition::Unsettled(id) => self.shared.index().contains(*id),
            Condition::Settled(id) => !self.shared.index().contains(*id) && !self.is_in_batch(*id),
            Condition::Unchanged(id, seen) => {
                let index = self.shared.index();
                let unchanged = index.entry(*id) == Some(&seen.0) && index.mark(*id) == seen.1;
                unchanged && !self.is_in_batch(*id)
            }
        }
    }

    /// Whether the index does not know yet what this batch does to a message.
    fn is_in_batch(&self, id: QueueId) -> bool {
        let heads = self.batch.placed.iter();
        heads
            .filter_map(|(record, _)| record.encoded.head())
            .any(|head| head.id == id)
    }

    fn fits(&self, request: &Request) -> bool {
        let records = self.active.entries.len() + self.batch.placed.len() + 2;
        let end = self.active.used as usize
            + self.batch.buffer.len()
            + request.length()
            + footer::length(records);
        end <= self.active.segment.length as usize
    }

    /// Goes on to the next segment. False if the disk has no room for one.
    fn next(&mut self, request: &Request) -> Result<bool, Failure> {
        let wanted = RECORDS as usize + request.length() + footer::length(2);
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        let Some(segment) = self.shared.upkeep.take_next(wanted) else {
            return Ok(false);
        };
        // Only the last segment may hold what is not synced: recovery copies that one alone.
        self.flush()?;
        self.sync()?;
        let footer = Footer {
            entries: std::mem::take(&mut self.active.entries),
            next_sequence: segment.header.next_sequence,
            clean: false,
        };
        let old = std::mem::replace(&mut self.active, Active::new(Arc::clone(&segment)));
        let mut index = self.shared.index();
        index.add_segment(segment, false);
        index.seal(old.segment.number());
        drop(index);
        self.shared.upkeep.sealed(Sealed {
            segment: old.segment,
            footer,
        });
        Ok(true)
    }

    /// Writes the batch, tells the index, and answers those who need no sync.
    fn flush(&mut self) -> Result<(), Failure> {
        if self.batch.buffer.is_empty() {
            return Ok(());
        }
        let at = u64::from(self.active.used);
        let written = self.active.segment.file.write_at(&self.batch.buffer, at);
        written.map_err(|error| self.failure(error))?;
        self.unsynced.get_or_insert_with(Instant::now);
        self.apply();
        self.active.used += u32::try_from(self.batch.buffer.len()).unwrap_or(u32::MAX);
        self.batch.buffer.clear();
        for reply in self.batch.on_write.drain(..) {
            let _ = reply.send(Ok(true));
        }
        Ok(())
    }

    fn apply(&mut self) {
        let mut index = self.shared.index();
        for (record, at) in self.batch.placed.drain(..) {
            let position = Position {
                segment: self.active.segment.number(),
                offset: self.active.used + at,
            };
            let Some(head) = record.encoded.head() else {
                continue;
            };
            let (mut generation, mut recipients) = (0, 0);
            if let Effect::Accept {
                generation: g,
                recipients: r,
                ..
            } = record.effect
            {
                (generation, recipients) = (g, r);
            }
            let entry = footer::Entry::of(&head, position.offset, generation, recipients);
            let id = head.id;
            match record.effect {
                Effect::Accept { mark, .. } => index.accept(id, entry_of(&entry, position), mark),
                Effect::Begin => index.begin(id, position.segment),
                Effect::Promise(limit) => self.shared.promised(limit),
                Effect::Outcome(recipients) => index.outcome(id, &recipients, position),
                Effect::RemoveAgain(holders) => {
                    for holder in holders {
                        index.pin(position.segment, holder);
                    }
                }
                Effect::Remove => {
                    let removed = index.remove(id, position.segment);
                    if removed.is_some_and(|(entry, _)| entry.content_file) {
                        self.removed.push(id);
                    }
                }
            }
            self.active.entries.push(entry);
        }
    }

    /// Makes everything written durable and answers those who wait for it.
    fn sync(&mut self) -> Result<(), Failure> {
        if self.unsynced.is_some() {
            let start = self.shared.clock.now();
            let synced = self.active.segment.file.sync();
            synced.map_err(|error| self.failure(error))?;
            let seconds = self.shared.clock.now().since(start).as_secs_f64();
            self.shared.metrics.spool_sync_seconds.observe(seconds);
            self.unsynced = None;
        }
        self.batch.sync = false;
        for reply in self.batch.on_sync.drain(..) {
            let _ = reply.send(Ok(true));
        }
        if std::mem::take(&mut self.batch.stir) {
            self.shared.upkeep.answered();
        }
        if !self.removed.is_empty() {
            self.shared.upkeep.unlink(std::mem::take(&mut self.removed));
        }
        Ok(())
    }

    /// Seals the log after a clean stop.
    fn close(&mut self) -> Result<(), Failure> {
        self.flush()?;
        self.sync()?;
        let footer = Footer {
            entries: std::mem::take(&mut self.active.entries),
            next_sequence: self.shared.next_sequence(),
            clean: true,
        };
        let segment = &self.active.segment;
        let written = footer.write(segment).and_then(|()| segment.file.sync());
        written.map_err(|error| self.failure(error))
    }

    fn failure(&self, error: io::Error) -> Failure {
        Failure {
            segment: Arc::clone(&self.active.segment),
            error,
        }
    }
}

/// The index's view of an `Accept`.
pub(super) fn entry_of(entry: &footer::Entry, accept: Position) -> Entry {
    debug_assert_eq!(entry.record_type(), Some(RecordType::Accept));
    Entry {
        accept,
        length: entry.length,
        generation: entry.generation,
        recipients: entry.recipients,
        content_file: entry.has(CONTENT_FILE),
        latest: Latest::None,
    }
}
