//! What the writer, the upkeep and all callers share.
//!
//! The index and the queue have a lock each, never held across an operation on the disk. Sequence numbers are promised
//! on the disk before they are given out. The first failure ends everything: what the disk holds is not known any more.

use std::{
    collections::{HashMap, HashSet},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::{Semaphore, oneshot, watch};

use super::{
    ReadError, SpoolFailure, StoreError, Stored, Threads,
    compaction::Pressure,
    content_file,
    durable::Files,
    index::{Index, Located},
    quarantine, read,
    record::{Encoded, RecordType, accept::StoredContent},
    recovery, segment, space,
    upkeep::Upkeep,
    writer::{Condition, Effect, Ending, Queue, Record, Request},
};
use crate::{
    clock::Clock,
    mail::{Content, QueueId},
    metrics::Metrics,
};

/// What the threads and all callers share.
pub(super) struct Shared {
    pub(super) root: PathBuf,
    pub(super) files: Arc<dyn Files>,
    /// For what is measured. The threads themselves wait on the machine's time: what they bound is what a crash costs.
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Metrics,
    pub(super) uuid: [u8; 16],
    pub(super) run: u32,
    pub(super) segment_bytes: u32,
    /// The next sequence number.
    pub(super) sequence: AtomicU64,
    /// No number from this one on is given out before the disk says so.
    pub(super) sequence_limit: AtomicU64,
    pub(super) extending: AtomicBool,
    pub(super) index: Mutex<Index>,
    pub(super) queue: Queue,
    pub(super) upkeep: Upkeep,
    pub(super) budget: Arc<Semaphore>,
    /// Checksums of content files that no `Accept` names yet.
    pub(super) content_crcs: Mutex<HashMap<QueueId, u32>>,
    pub(super) room: AtomicBool,
    pub(super) free_bytes: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) damaged: AtomicU64,
    /// Where damage seen while running is kept.
    pub(super) known_damage: Mutex<HashSet<PathBuf>>,
    pub(super) failure: watch::Sender<Option<SpoolFailure>>,
}

impl Shared {
    pub(super) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn has_room(&self) -> bool {
        self.room.load(Ordering::Relaxed)
    }

    pub(super) fn content_crcs(&self) -> MutexGuard<'_, HashMap<QueueId, u32>> {
        self.content_crcs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// 48 bits of the UUID are in every queue id.
    pub(super) fn id(&self, sequence: u64) -> QueueId {
        let spool = u128::from_be_bytes(self.uuid) >> 80;
        QueueId::new(u64::try_from(spool).unwrap_or_default(), sequence)
    }

    pub(super) fn next_id(&self) -> QueueId {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        let limit = self.sequence_limit.load(Ordering::Relaxed);
        // Long before the limit, so that nobody has to wait for it.
        if sequence + recovery::SEQUENCES / 2 >= limit
            && !self.extending.swap(true, Ordering::Relaxed)
        {
            self.promise(limit + recovery::SEQUENCES);
        }
        self.id(sequence)
    }

    /// Writes a record that makes every later start begin after `limit`.
    pub(super) fn promise(&self, limit: u64) {
        let id = self.id(limit);
        let encoded = Encoded::new(RecordType::Begin, 0, id, Bytes::new(), |_| {});
        let _ = self.queue.push(Request {
            records: [Some(Record::new(encoded, Effect::Promise(limit))), None],
            condition: Condition::Always,
            durable: true,
            reply: None,
        });
    }

    /// The promise is written.
    pub(super) fn promised(&self, limit: u64) {
        self.sequence_limit.fetch_max(limit, Ordering::Relaxed);
        self.extending.store(false, Ordering::Relaxed);
        // The segment made ahead says less.
        self.upkeep.renew();
    }

    /// What the next segment's header promises.
    pub(super) fn sequence_limit(&self) -> u64 {
        self.sequence_limit.load(Ordering::Relaxed)
    }

    pub(super) fn next_sequence(&self) -> u64 {
        self.sequence.load(Ordering::Relaxed)
    }

    pub(super) fn read(&self, id: QueueId, wait: read::Wait) -> Result<Stored, ReadError> {
        let mut last = None;
        // Outcomes that are damaged: without them the message is in an older state.
        let mut unreadable = Vec::new();
        loop {
            let mut located = self.index().locate(id).ok_or(ReadError::NotFound)?;
            located
                .outcomes
                .retain(|(s, at, _)| !unreadable.contains(&(s.number(), *at)));
            let failure = match read::whole(id, &located, wait) {
                Ok(read) => return self.stored(id, &located, read),
                Err(failure) => failure,
            };
            let path = located.accept.path.clone();
            match failure {
                read::Failure::Io(source) => return Err(ReadError::Io { path, source }),
                read::Failure::Newer => {
                    let source = io::Error::other("a newer release wrote it");
                    return Err(ReadError::Io { path, source });
                }
                // Damage, unless the message moved while it was read.
                read::Failure::Damaged {
                    segment,
                    offset,
                    length,
                } => {
                    let mut outcomes = located.outcomes.iter();
                    let is_outcome =
                        outcomes.any(|(s, at, _)| (s.number(), *at) == (segment, offset));
                    if last.replace(located.entry.clone()) == Some(located.entry) {
                        let error = self.keep_damage(segment, offset, length);
                        if !is_outcome {
                            return Err(error);
                        }
                        tracing::warn!(%id, %error, "read without a damaged outcome");
                        unreadable.push((segment, offset));
                    }
                }
            }
        }
    }

    fn stored(
        &self,
        id: QueueId,
        located: &Located,
        read: read::Read,
    ) -> Result<Stored, ReadError> {
        let content = match read.content {
            Some(StoredContent::Inline(bytes)) => Content::Inline(bytes),
            Some(StoredContent::File { length, crc }) => {
                let path = content_file::path(&self.root, id);
                let found = self.files.open(&path).and_then(|file| file.length());
                match found {
                    Ok(found) if found == length => {}
                    Ok(_) => return Err(self.lost_content(id, located)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        return Err(self.lost_content(id, located));
                    }
                    Err(source) => return Err(ReadError::Io { path, source }),
                }
                Content::File {
                    path: path.into(),
                    length,
                    crc,
                }
            }
            None => Content::Inline(Bytes::new()),
        };
        Ok(Stored {
            message: Arc::new(read.message),
            content,
        })
    }

    /// A content file is not there, or not whole: the envelope is kept for a person, who finds what is left of the
    /// file where it was.
    fn lost_content(&self, id: QueueId, located: &Located) -> ReadError {
        // Settled meanwhile, its file is gone rightly.
        if !self.index().contains(id) {
            return ReadError::NotFound;
        }
        let entry = &located.entry;
        self.keep_damage(entry.accept.segment, entry.accept.offset, entry.length)
    }

    /// Counts damage, once for each place however often it is read.
    pub(super) fn damage(&self, path: PathBuf) -> ReadError {
        let mut known = self
            .known_damage
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if known.insert(path.clone()) {
            self.damaged.fetch_add(1, Ordering::Relaxed);
            self.metrics.spool_damaged_records.inc();
            tracing::error!(path = %path.display(), "damaged");
        }
        ReadError::Damaged(path)
    }

    fn keep_damage(&self, number: u32, offset: u32, length: u32) -> ReadError {
        let path = segment::path(&self.root, number);
        let Some(segment) = self.index().segment(number) else {
            return ReadError::NotFound;
        };
        let mut bytes = vec![0; length as usize];
        let kept = segment
            .file
            .read_at(&mut bytes, offset.into())
            .and_then(|_| {
                quarantine::keep(&*self.files, &self.root, number, offset.into(), &bytes)
            });
        match kept {
            // Without room for a copy it stays where it is.
            Ok(kept) => self.damage(kept.unwrap_or(path)),
            Err(source) => ReadError::Io { path, source },
        }
    }

    /// What a failed operation on a content file means. Anything but a full disk ends the spool.
    pub(super) fn store_error(&self, id: QueueId, error: &io::Error) -> StoreError {
        let result = content_file::error_of(error);
        if result == StoreError::Failed {
            self.fail(&content_file::path(&self.root, id), error);
        }
        result
    }

    /// The spool has failed; the first failure counts.
    pub(super) fn fail(&self, path: &Path, error: &io::Error) {
        self.queue.end(Ending::Abandon);
        let copy = error.raw_os_error().map_or_else(
            || io::Error::new(error.kind(), error.to_string()),
            io::Error::from_raw_os_error,
        );
        tracing::error!(path = %path.display(), %error, "the spool has failed");
        self.metrics.spool_failed.set(1);
        self.failure.send_if_modified(|failure| {
            let first = failure.is_none();
            if first {
                *failure = Some(SpoolFailure {
                    path: path.to_owned(),
                    error: Arc::new(copy),
                });
            }
            first
        });
    }

    /// Looks at the free space, and whether it is enough for new mail.
    /// `spare_bytes` are in files that can become segments; `ready_bytes` in the next one, which does not count: mail
    /// that begins it must leave the reserve whole.
    pub(super) fn look_at_space(&self, spare_bytes: u64, ready_bytes: u64) -> io::Result<()> {
        let space = self.files.space(&self.root)?;
        let index = self.index();
        let in_log: u64 = index
            .segments()
            .values()
            .map(|live| u64::from(live.segment.length))
            .sum();
        let messages = index.len() as u64;
        drop(index);
        let bytes = in_log + spare_bytes + ready_bytes;
        let room = space::has_room(space, spare_bytes, self.segment_bytes, messages);
        self.room.store(room, Ordering::Relaxed);
        self.free_bytes.store(space.free, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.metrics.spool_bytes.set(gauge(bytes));
        self.metrics.spool_free_bytes.set(gauge(space.free));
        Ok(())
    }

    /// How little room there is.
    pub(super) fn pressure(&self, spare_bytes: u64) -> Pressure {
        let reserve = space::RESERVE * u64::from(self.segment_bytes);
        if !self.has_room() {
            Pressure::Full
        } else if self.free_bytes.load(Ordering::Relaxed) + spare_bytes < 2 * reserve {
            Pressure::High
        } else {
            Pressure::Low
        }
    }

    /// Asks the writer for a sync; the answer says when it is done.
    pub(super) fn barrier(&self) -> Option<oneshot::Receiver<Result<bool, StoreError>>> {
        let (reply, answer) = oneshot::channel();
        let request = Request {
            records: [None, None],
            condition: Condition::Always,
            durable: true,
            reply: Some(reply),
        };
        self.queue.push(request).ok().map(|()| answer)
    }

    /// Ends both threads and lets the lock go.
    pub(super) fn end(&self, threads: Option<Threads>, how: Ending) {
        let Some(threads) = threads else { return };
        self.queue.end(how);
        // The writer first: it may wait for a segment. A thread that panicked has nothing more to say.
        if how == Ending::Abandon {
            self.upkeep.end();
        }
        let _ = threads.writer.join();
        self.upkeep.end();
        let _ = threads.upkeep.join();
    }
}
