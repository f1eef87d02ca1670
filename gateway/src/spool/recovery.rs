//! Recovery: from what the disk holds to a log that can be written to. It cuts nothing.
//!
//! Order: lock · read footers, scan the segments without a good one · apply all records in order · after an unclean
//! stop, copy the valid records of the last segment into a fresh one and sync it (the page cache may hold what the disk
//! does not) · tell of every unsettled message · sweep content files. Only then is the log open.
//!
//! The copy gets its name only when it is complete and synced, so recovery itself may be killed at any point. Records
//! that are there twice do no harm: applying the same stretch of the log again ends in the same state.

mod copy;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use copy::Copy;

use super::{
    OpenError, content_file,
    durable::{self, Files},
    footer::{Entry, Footer},
    index::{Index, Position},
    lock::{self, Lock},
    quarantine,
    read::{self, Wait},
    record::{
        self, JOINED, LEADS, MARKED, OVERHEAD, RecordType,
        accept::{self, Mark},
        field::MUST_UNDERSTAND,
        progress,
    },
    segment::{self, Header, HeaderError, RECORDS, Segment},
    space::{self, Store},
    writer::{self, Active},
};
use crate::mail::{QueueId, Queued};

/// Sequence numbers that a segment promises not to exceed without another segment saying so.
pub(super) const SEQUENCES: u64 = 1 << 20;

/// A log that can be written to.
pub(super) struct Recovered {
    pub(super) lock: Lock,
    pub(super) index: Index,
    pub(super) active: Active,
    pub(super) store: Store,
    pub(super) uuid: [u8; 16],
    pub(super) run: u32,
    pub(super) next_sequence: u64,
    pub(super) segment_bytes: u32,
    /// Records that could not be read.
    pub(super) damaged: u64,
}

/// A segment as it was found.
struct Found {
    segment: Arc<Segment>,
    entries: Vec<Entry>,
    footer: bool,
    clean: bool,
    /// Something after its last valid record began as one.
    torn: bool,
    /// Damaged places that there was no room to copy.
    unkept: usize,
    next_sequence: u64,
}

struct Recovery<'a> {
    files: &'a Arc<dyn Files>,
    spool: &'a Path,
    index: Index,
    /// Removed messages, with the segments that hold an `Accept` of them.
    removed: HashMap<QueueId, Vec<u32>>,
    damaged: u64,
    /// The run of the segment applied last.
    run: Option<u32>,
    /// The highest sequence number in a record, plus one.
    next_sequence: u64,
}

/// Opens the log, telling of every unsettled message, the oldest first.
pub(super) fn open(
    files: &Arc<dyn Files>,
    spool: &Path,
    asked_segment_bytes: u64,
    visit: &mut dyn FnMut(Queued),
) -> Result<Recovered, OpenError> {
    let lock = lock::take(&**files, spool)?;
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| OpenError::io(path, error)
    };
    let space = files.space(spool).map_err(failed(spool))?;
    let segment_bytes = space::segment_bytes(asked_segment_bytes, space.total);
    let names = files.list(spool).map_err(failed(spool))?;
    let mut numbers: Vec<_> = names.iter().filter_map(|n| segment::number(n)).collect();
    numbers.sort_unstable();

    let mut recovery = Recovery {
        files,
        spool,
        index: Index::default(),
        removed: HashMap::new(),
        damaged: 0,
        run: None,
        next_sequence: 0,
    };
    let mut found = Vec::new();
    for &number in &numbers {
        found.extend(recovery.load(number)?);
    }
    recovery.count_torn(&found);
    for segment in &mut found {
        recovery.apply(segment)?;
    }
    let of_segments = found.last().map(|found| found.segment.header.uuid);
    let uuid = lock::uuid(&**files, spool, of_segments)?;
    let last_number = numbers.last().copied().unwrap_or_default();
    let mut store = Store::open(Arc::clone(files), spool, &names, segment_bytes, last_number)
        .map_err(failed(spool))?;
    let header = recovery.next_header(&found, uuid);
    let active = recovery.go_on(&found, &mut store, header)?;
    recovery.tell(visit)?;
    let damaged = recovery.damaged > 0;
    let index = recovery.index;
    content_file::sweep(&**files, spool, &|id| index.contains(id), damaged)
        .map_err(failed(&content_file::folder(spool)))?;
    Ok(Recovered {
        lock,
        index,
        active,
        store,
        uuid,
        run: header.run,
        next_sequence: header.next_sequence - SEQUENCES,
        segment_bytes,
        damaged: recovery.damaged,
    })
}

impl Recovery<'_> {
    /// Reads what a segment holds, and puts it into the index. `None` if it is no segment at all.
    fn load(&mut self, number: u32) -> Result<Option<Found>, OpenError> {
        let path = segment::path(self.spool, number);
        let result = self.open_segment(number, path.clone());
        let Some(segment) = result.map_err(|error| error.at(&path))? else {
            return Ok(None);
        };
        let segment = Arc::new(segment);
        let read = Footer::read(&segment).map_err(|error| OpenError::io(path.clone(), error))?;
        let found = match read {
            Some(footer) => Found {
                segment,
                entries: footer.entries,
                footer: true,
                clean: footer.clean,
                torn: false,
                unkept: 0,
                next_sequence: footer.next_sequence,
            },
            None => self.scan(&segment)?,
        };
        self.index.add_segment(Arc::clone(&found.segment), true);
        if found.unkept > 0 {
            self.index.retain(number);
        }
        Ok(Some(found))
    }

    fn open_segment(
        &mut self,
        number: u32,
        path: PathBuf,
    ) -> Result<Option<Segment>, SegmentError> {
        let file = self.files.open(&path)?;
        let length = u32::try_from(file.length()?).unwrap_or(u32::MAX);
        match Header::read(&*file)? {
            Ok(header) if header.number == number => Ok(Some(Segment {
                header,
                file,
                path,
                length,
            })),
            Err(HeaderError::Newer(format)) => Err(SegmentError::Newer(format)),
            // Neither copy can be read, or it is another segment's: nothing in it can be found, and a person may.
            Ok(_) | Err(HeaderError::Damaged) => {
                let name = format!("{number:010}.segment");
                let kept = quarantine::folder(self.spool).join(name);
                self.files.rename(&path, &kept)?;
                self.files.sync_dir(self.spool)?;
                tracing::error!(path = %kept.display(), "a segment's header is damaged");
                self.damaged += 1;
                Ok(None)
            }
        }
    }

    fn scan(&mut self, segment: &Arc<Segment>) -> Result<Found, OpenError> {
        let io = |error| OpenError::io(segment.path.clone(), error);
        let bytes = durable::read_all(&*segment.file).map_err(io)?;
        let scan = record::scan(&bytes, RECORDS as usize, &segment.header.marker);
        self.damaged += scan.damage.len() as u64;
        if !scan.damage.is_empty() {
            let path = &segment.path;
            tracing::error!(path = %path.display(), places = scan.damage.len(), "damaged records");
        }
        let mut unkept = 0;
        for range in scan.damage.iter().chain(&scan.torn) {
            let octets = bytes.get(range.clone()).unwrap_or_default();
            let at = range.start as u64;
            let kept = quarantine::keep(&**self.files, self.spool, segment.number(), at, octets);
            // What a death cut off was never confirmed to anyone.
            let is_torn = scan.torn.as_ref() == Some(range);
            unkept += usize::from(kept.map_err(io)?.is_none() && !is_torn);
        }
        let entries = scan.found.iter().map(|found| {
            let payload = bytes
                .get(found.offset + OVERHEAD..found.end())
                .unwrap_or_default();
            Entry::of_found(found, payload)
        });
        let next_sequence = segment.header.next_sequence;
        Ok(Found {
            entries: entries.collect(),
            footer: false,
            clean: false,
            torn: scan.torn.is_some(),
            unkept,
            next_sequence,
            segment: Arc::clone(segment),
        })
    }

    /// Only the last segment that was written to ends where a death cut a write off: the others were synced whole
    /// before the log went on.
    fn count_torn(&mut self, found: &[Found]) {
        let is_empty = |found: &&Found| found.entries.is_empty() && !found.torn;
        let mut written = found.iter().rev().skip_while(is_empty);
        written.next();
        for found in written.filter(|found| found.torn) {
            let path = &found.segment.path;
            tracing::error!(path = %path.display(), "damage at the end of a segment");
            self.damaged += 1;
        }
    }

    /// Applies a segment's records in order; those that do not count are dropped.
    fn apply(&mut self, found: &mut Found) -> Result<(), OpenError> {
        let run = found.segment.header.run;
        if self.run.replace(run).is_some_and(|last| last != run) {
            self.index.end_all_attempts();
        }
        let mut entries = std::mem::take(&mut found.entries).into_iter().peekable();
        while let Some(entry) = entries.next() {
            self.next_sequence = self.next_sequence.max(entry.id.sequence() + 1);
            if self.is_half(&entry, entries.peek()) {
                tracing::warn!(id = %entry.id, "a report is dropped: its original's end was not stored with it");
                continue;
            }
            found.entries.push(entry);
            match self.apply_entry(&found.segment, &entry) {
                Ok(()) => {}
                Err(read::Failure::Io(error)) => {
                    return Err(OpenError::io(found.segment.path.clone(), error));
                }
                Err(read::Failure::Newer) => {
                    return Err(OpenError::Newer {
                        path: found.segment.path.clone(),
                        format: segment::FORMAT + 1,
                    });
                }
                Err(read::Failure::Damaged { .. }) => self.keep(&found.segment, &entry)?,
            }
        }
        Ok(())
    }

    /// Whether a power loss left a report without what was written as one with it. Where the original is gone, that
    /// was damaged later: the report is all there is.
    fn is_half(&self, entry: &Entry, next: Option<&Entry>) -> bool {
        let end = entry.offset.saturating_add(entry.length);
        let is_whole = next.is_some_and(|next| next.has(JOINED) && next.offset == end);
        entry.has(LEADS) && !is_whole && self.index.contains(entry.id.original())
    }

    fn apply_entry(&mut self, segment: &Segment, entry: &Entry) -> Result<(), read::Failure> {
        let position = Position {
            segment: segment.number(),
            offset: entry.offset,
        };
        let id = entry.id;
        let Some(record_type) = entry.record_type() else {
            return if entry.code >= MUST_UNDERSTAND {
                Err(read::Failure::Newer)
            } else {
                Ok(())
            };
        };
        let payload = || read::record(segment, entry.offset, Some(entry.length), Wait::Disk);
        match record_type {
            RecordType::Accept => {
                let mut mark = Mark::default();
                if entry.has(MARKED) {
                    let (head, bytes) = payload()?;
                    mark = accept::read_mark(read::payload(&head, &bytes)).unwrap_or_default();
                }
                self.index
                    .accept(id, writer::entry_of(entry, position), mark);
                // Accepted again: its next removal is for the earlier ones too.
                if let Some(holders) = self.removed.remove(&id) {
                    self.index.remember_stale(id, &holders);
                }
            }
            RecordType::Begin if entry.has(MARKED) => {
                let (head, bytes) = payload()?;
                let mark = accept::read_mark(read::payload(&head, &bytes)).unwrap_or_default();
                self.index.state_deaths(id, mark.deaths, segment.number());
            }
            RecordType::Begin => self.index.begin(id, segment.number()),
            RecordType::Outcome => match self.index.entry(id).map(|entry| entry.recipients) {
                None => {}
                Some(1) => self.index.outcome(id, &[0], position),
                Some(_) => {
                    let (head, bytes) = payload()?;
                    let outcomes = progress::read_outcomes(read::payload(&head, &bytes));
                    let outcomes = outcomes.unwrap_or_default();
                    let recipients: Vec<_> = outcomes.iter().map(|o| o.recipient).collect();
                    self.index.outcome(id, &recipients, position);
                }
            },
            RecordType::Remove => self.apply_remove(id, segment.number()),
            RecordType::Quota => {}
        }
        Ok(())
    }

    /// A removal may be there more than once, copied forward; each is needed as long as an `Accept` is there.
    fn apply_remove(&mut self, id: QueueId, segment: u32) {
        if let Some((_, holders)) = self.index.remove(id, segment) {
            self.removed.insert(id, holders);
            return;
        }
        for &holder in self.removed.get(&id).into_iter().flatten() {
            self.index.pin(segment, holder);
        }
    }

    /// Keeps a damaged record that a footer told of.
    fn keep(&mut self, segment: &Segment, entry: &Entry) -> Result<(), OpenError> {
        self.damaged += 1;
        tracing::error!(path = %segment.path.display(), offset = entry.offset, "a damaged record");
        let mut bytes = vec![0; entry.length as usize];
        let io = |error| OpenError::io(segment.path.clone(), error);
        segment
            .file
            .read_at(&mut bytes, entry.offset.into())
            .map_err(io)?;
        let at = u64::from(entry.offset);
        let kept = quarantine::keep(&**self.files, self.spool, segment.number(), at, &bytes);
        if kept.map_err(io)?.is_none() {
            self.index.retain(segment.number());
        }
        Ok(())
    }

    /// What the next segment's header says, its number and marker aside.
    fn next_header(&self, found: &[Found], uuid: [u8; 16]) -> Header {
        // A clean stop says exactly what was given out, unless something came after it.
        let given = match found.last() {
            Some(last) if last.clean => last.next_sequence,
            _ => found
                .iter()
                .map(|found| found.segment.header.next_sequence)
                .max()
                .unwrap_or_default(),
        };
        Header {
            uuid,
            number: 0,
            run: self.run.unwrap_or_default().saturating_add(1),
            next_sequence: given.max(self.next_sequence) + SEQUENCES,
            marker: [0; 16],
        }
    }

    /// The segment that the log goes on in.
    fn go_on(
        &mut self,
        found: &[Found],
        store: &mut Store,
        header: Header,
    ) -> Result<Active, OpenError> {
        let io = |error| OpenError::io(self.spool.to_owned(), error);
        let last = found.iter().rposition(|found| !found.entries.is_empty());
        let last = last.and_then(|at| found.get(at));
        let unclean = last.is_some_and(|last| !last.clean);
        let deaths = if unclean {
            self.index.in_flight()
        } else {
            Vec::new()
        };
        self.index.end_all_attempts();
        let copied = last.filter(|last| unclean && !last.footer);
        let active = if copied.is_some() || !deaths.is_empty() {
            let copy = Copy::new(copied, &deaths).map_err(io)?;
            copy.publish(&**self.files, self.spool, store, header)
                .map_err(io)?
        } else {
            let segment = store.next(0, header).map_err(io)?;
            Active::new(Arc::new(segment))
        };
        self.index.add_segment(Arc::clone(&active.segment), false);
        for entry in &active.entries {
            self.apply_entry(&active.segment, entry).map_err(|_| {
                let error = std::io::Error::other("the copy of the last segment cannot be read");
                OpenError::io(active.segment.path.clone(), error)
            })?;
        }
        self.index.end_all_attempts();
        let copied = copied.map(|found| found.segment.number());
        for found in found {
            // The copy is durable; and a segment without records was only made ahead.
            let number = found.segment.number();
            let is_needless = copied == Some(number) || found.entries.is_empty();
            if is_needless && !self.index.is_retained(number) {
                let path = found.segment.path.clone();
                store
                    .recycle(&found.segment)
                    .map_err(|error| OpenError::io(path, error))?;
                self.index.drop_segment(number);
            }
        }
        Ok(active)
    }

    /// Tells of every unsettled message that can be read.
    fn tell(&mut self, visit: &mut dyn FnMut(Queued)) -> Result<(), OpenError> {
        for id in self.index.ids() {
            if let Some(queued) = self.queued(id)? {
                visit(queued);
            }
        }
        Ok(())
    }

    fn queued(&mut self, id: QueueId) -> Result<Option<Queued>, OpenError> {
        let Some(mut located) = self.index.locate(id) else {
            return Ok(None);
        };
        loop {
            let path = || located.accept.path.clone();
            match read::envelope(id, &located) {
                Ok(message) => {
                    return Ok(Some(Queued {
                        message: Arc::new(message),
                        content: None,
                        deaths: located.mark.deaths,
                    }));
                }
                Err(read::Failure::Io(error)) => return Err(OpenError::io(path(), error)),
                Err(read::Failure::Newer) => {
                    let format = segment::FORMAT + 1;
                    return Err(OpenError::Newer {
                        path: path(),
                        format,
                    });
                }
                Err(read::Failure::Damaged {
                    segment,
                    offset,
                    length,
                }) => {
                    self.keep_at(segment, offset, length)?;
                    // Without a damaged outcome the message is still there, in an older state.
                    let outcomes = located.outcomes.len();
                    located
                        .outcomes
                        .retain(|(s, at, _)| (s.number(), *at) != (segment, offset));
                    if located.outcomes.len() == outcomes {
                        self.index.forget(id);
                        return Ok(None);
                    }
                }
            }
        }
    }

    fn keep_at(&mut self, number: u32, offset: u32, length: u32) -> Result<(), OpenError> {
        let Some(segment) = self.index.segment(number) else {
            return Ok(());
        };
        let entry = Entry {
            code: 0,
            flags: 0,
            offset,
            length,
            id: QueueId::new(0, 0),
            generation: 0,
            recipients: 0,
        };
        self.keep(&segment, &entry)
    }
}

enum SegmentError {
    Io(std::io::Error),
    Newer(u32),
}

impl SegmentError {
    fn at(self, path: &Path) -> OpenError {
        let path = path.to_owned();
        match self {
            Self::Io(error) => OpenError::io(path, error),
            Self::Newer(format) => OpenError::Newer { path, format },
        }
    }
}

impl From<std::io::Error> for SegmentError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}
