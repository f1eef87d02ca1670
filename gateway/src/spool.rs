//! Stable storage: an append-only log of segments with group commit, and files for large content.
//!
//! Not here: what is attempted when. The invariant: whoever was told "stored" finds it again after SIGKILL and after
//! power loss.
//!
//! ```text
//! callers ─encode─▶ queue ─▶ writer thread ─write─▶ index ─▶ settle's callers wake
//!                                          └─fdatasync─────▶ commit's callers wake     (one sync for all that wait)
//! upkeep thread: next segment · footers · unlinking · recycling · copying forward · free space
//! ```
//!
//! Modules: [`mod@record`] frames an entry · `segment`, `footer` the files · `writer` the order of writes · `index`
//! what is where and alive · `read` back · `recovery` at start · `lock`, `quarantine` · `space`, `compaction`,
//! `upkeep` room · `content_file` large content · `durable` every file operation.

mod compaction;
mod content_file;
mod durable;
mod footer;
mod index;
mod lock;
mod quarantine;
mod read;
mod record;
mod recovery;
mod segment;
mod space;
mod upkeep;
mod writer;

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use bytes::Bytes;
use posthouse_config::status::{SpoolState, SpoolStatus};
use tokio::sync::{Semaphore, oneshot, watch};

use compaction::Pressure;
pub use content_file::Upload;
use durable::{Files, SystemFiles};
use index::Index;
use record::{
    Encoded, RecordType,
    accept::{self, Mark, StoredContent},
    progress,
};
use upkeep::{Upkeep, Worker};
use writer::{Condition, Effect, Ending, Queue, Record, Request, Writer};

use crate::{
    clock::Clock,
    mail::{Content, Kind, Message, Outcome, QueueId, Queued},
    metrics::Metrics,
};

/// Content up to this size is one record with its envelope: one position, one checksum, one sync.
pub const INLINE_CONTENT: usize = 64 * 1024;

/// Where the spool is, and how it is cut up.
#[derive(Clone, Debug)]
pub struct SpoolOptions {
    /// Its folder. Made if its parent exists.
    pub path: PathBuf,
    /// Octets of a segment; halved on a volume that is too small for twelve of them.
    pub segment_bytes: u64,
}

/// Why the spool could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("the spool {0} is in use by another process")]
    Locked(PathBuf),
    /// A newer release wrote it.
    #[error(
        "{path} is of format {format}, and this release reads up to {}",
        segment::FORMAT
    )]
    Newer {
        /// What says so.
        path: PathBuf,
        /// The format it says.
        format: u32,
    },
    /// An operation failed.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl OpenError {
    fn io(path: PathBuf, source: io::Error) -> Self {
        Self::Io { path, source }
    }

    /// Whether a person must change something, so that trying again is useless: no such folder, no permission, a
    /// read-only file system, a lock that is held, a newer format. A disk that fails or is full is none of these.
    pub fn is_for_a_person(&self) -> bool {
        match self {
            Self::Locked(_) | Self::Newer { .. } => true,
            Self::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::NotADirectory
                    | io::ErrorKind::PermissionDenied
                    | io::ErrorKind::ReadOnlyFilesystem
            ),
        }
    }
}

/// Why something was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The disk has no room: `452`, later perhaps.
    #[error("the disk has no room")]
    Full,
    /// The spool has failed and the process is ending: `451`. What the disk holds is not known.
    #[error("the spool has failed")]
    Failed,
}

/// Why a message could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is settled, or never was.
    #[error("no such message")]
    NotFound,
    /// What is on the disk is not what was written; it is in quarantine.
    #[error("damaged, kept as {0}")]
    Damaged(PathBuf),
    /// The disk did not give it.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The failure that ended the spool.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{path}: {error}")]
pub struct SpoolFailure {
    /// The file or folder.
    pub path: PathBuf,
    /// What the system said.
    pub error: Arc<io::Error>,
}

/// What an attempt, or a person, brought for one message.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// The message.
    pub id: QueueId,
    /// New progress of some of its recipients.
    pub outcomes: Vec<Outcome>,
    /// Every recipient has its end: the message is removed.
    pub finished: bool,
    /// A report of it, stored with the above or not at all.
    pub report: Option<(Message, Content)>,
}

/// A message read back.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The envelope with the folded state of its recipients.
    pub message: Arc<Message>,
    /// Its content.
    pub content: Content,
}

/// Stable storage. Cheap to clone; the last clone dropped without [`Spool::close`] leaves the disk as a death would.
#[derive(Clone)]
pub struct Spool {
    owner: Arc<Owner>,
}

impl std::fmt::Debug for Spool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Spool").field(&self.shared().root).finish()
    }
}

/// What ends with the last clone.
struct Owner {
    shared: Arc<Shared>,
    threads: Mutex<Option<Threads>>,
}

struct Threads {
    writer: JoinHandle<()>,
    upkeep: JoinHandle<()>,
    _lock: lock::Lock,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.end(self.threads(), Ending::Abandon);
    }
}

impl Owner {
    fn threads(&self) -> Option<Threads> {
        self.threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

/// What the threads and all callers share.
struct Shared {
    root: PathBuf,
    files: Arc<dyn Files>,
    metrics: Metrics,
    uuid: [u8; 16],
    run: u32,
    segment_bytes: u32,
    /// The next sequence number.
    sequence: AtomicU64,
    /// No number from this one on is given out before the disk says so.
    sequence_limit: AtomicU64,
    extending: AtomicBool,
    index: Mutex<Index>,
    queue: Queue,
    upkeep: Upkeep,
    budget: Arc<Semaphore>,
    /// Checksums of content files that no `Accept` names yet.
    content_crcs: Mutex<HashMap<QueueId, u32>>,
    room: AtomicBool,
    free_bytes: AtomicU64,
    bytes: AtomicU64,
    damaged: AtomicU64,
    failure: watch::Sender<Option<SpoolFailure>>,
}

impl Spool {
    /// Opens the spool, blocking: locks, probes, recovers, and calls `visit` once for each unsettled message, the
    /// oldest first.
    ///
    /// # Errors
    /// See [`OpenError::is_for_a_person`].
    pub fn open(
        options: SpoolOptions,
        _clock: Arc<dyn Clock>,
        metrics: Metrics,
        visit: &mut dyn FnMut(Queued),
    ) -> Result<Self, OpenError> {
        Self::open_on(Arc::new(SystemFiles), options, metrics, visit)
    }

    fn open_on(
        files: Arc<dyn Files>,
        options: SpoolOptions,
        metrics: Metrics,
        visit: &mut dyn FnMut(Queued),
    ) -> Result<Self, OpenError> {
        let root = options.path;
        let recovered = recovery::open(&files, &root, options.segment_bytes, visit)?;
        metrics.spool_damaged_records.inc_by(recovered.damaged);
        let shared = Arc::new(Shared {
            root,
            files,
            metrics,
            uuid: recovered.uuid,
            run: recovered.run,
            segment_bytes: recovered.segment_bytes,
            sequence: AtomicU64::new(recovered.next_sequence),
            sequence_limit: AtomicU64::new(recovered.next_sequence + recovery::SEQUENCES),
            extending: AtomicBool::new(false),
            index: Mutex::new(recovered.index),
            queue: Queue::default(),
            upkeep: Upkeep::default(),
            budget: Arc::new(Semaphore::new(content_file::BUDGET)),
            content_crcs: Mutex::default(),
            room: AtomicBool::new(true),
            free_bytes: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            damaged: AtomicU64::new(recovered.damaged),
            failure: watch::Sender::new(None),
        });
        let spare_bytes = recovered.store.spare_bytes();
        let path = || shared.root.clone();
        shared
            .look_at_space(spare_bytes)
            .map_err(|error| OpenError::io(path(), error))?;
        let writer = Writer::new(Arc::clone(&shared), recovered.active);
        let worker = Worker::new(Arc::clone(&shared), recovered.store);
        let start = |name: &str, body: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(body)
                .map_err(|error| OpenError::io(path(), error))
        };
        let threads = Threads {
            writer: start("spool-writer", Box::new(move || writer.run()))?,
            upkeep: start("spool-upkeep", Box::new(move || worker.run()))?,
            _lock: recovered.lock,
        };
        let threads = Mutex::new(Some(threads));
        let owner = Arc::new(Owner { shared, threads });
        Ok(Self { owner })
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.owner.shared
    }

    /// The next queue id. Never the same twice, also over restarts.
    pub fn next_id(&self) -> QueueId {
        self.shared().next_id()
    }

    /// Whether there is room for new mail. If not, `452` is due before content is taken.
    pub fn has_room(&self) -> bool {
        self.shared().has_room()
    }

    /// Begins to store large content in a file of its own.
    ///
    /// # Errors
    /// [`StoreError::Full`] if the disk has no room.
    pub async fn upload(&self, id: QueueId) -> Result<Upload, StoreError> {
        Upload::start(Arc::clone(self.shared()), id).await
    }

    /// Gives up finished content that will not be committed.
    pub async fn discard(&self, id: QueueId) {
        let shared = Arc::clone(self.shared());
        if shared.content_crcs().remove(&id).is_some() {
            // If it stays it is swept at the next start.
            let _ = content_file::blocking(move || {
                content_file::unlink(&*shared.files, &shared.root, id)
            })
            .await;
        }
    }

    /// Accepts a message: returns when envelope and content are on stable storage. The only way to a `250`.
    ///
    /// # Errors
    /// [`StoreError::Full`]: not stored, and the content file is gone. [`StoreError::Failed`]: nobody knows.
    pub async fn commit(&self, message: Message, content: Content) -> Result<Queued, StoreError> {
        let condition = match message.kind {
            Kind::Mail => Condition::NewMail,
            // Ours may use the reserve.
            Kind::Report | Kind::Probe => Condition::Always,
        };
        let id = message.id;
        let (record, content) = self.accept(&message, content).await?;
        let written = self.write([Some(record), None], condition, true).await;
        if written.is_err() {
            self.discard(id).await;
        }
        written?;
        self.shared().content_crcs().remove(&id);
        Ok(Queued {
            message: Arc::new(message),
            content: Some(content),
            deaths: 0,
        })
    }

    /// An attempt starts. Written before any later record, and not synced.
    pub fn begin(&self, id: QueueId) {
        let encoded = Encoded::new(RecordType::Begin, 0, id, Bytes::new(), |_| {});
        let request = Request {
            records: [Some(Record::new(encoded, Effect::Begin)), None],
            condition: Condition::Unsettled(id),
            durable: false,
            reply: None,
        };
        // A spool that has failed takes nothing; the process is ending.
        let _ = self.shared().queue.push(request);
    }

    /// Stores outcomes, or the end of a message: returns when they are written; they are synced within 100 ms. With a
    /// report, both are stored or neither, and it returns when they are on stable storage, giving the report back.
    ///
    /// # Errors
    /// [`StoreError::Full`] only for a report's content; nothing is stored then.
    pub async fn settle(&self, settlement: Settlement) -> Result<Option<Queued>, StoreError> {
        let id = settlement.id;
        let end = settlement.record();
        let condition = Condition::Unsettled(id);
        let Some((report, content)) = settlement.report else {
            if let Some(end) = end {
                self.write([Some(end), None], condition, false).await?;
            }
            return Ok(None);
        };
        let (record, content) = self.accept(&report, content).await?;
        let end = end.map(|end| Record::new(end.encoded.joined(), end.effect));
        let written = self.write([Some(record), end], condition, true).await;
        if written != Ok(true) {
            self.discard(report.id).await;
        }
        self.shared().content_crcs().remove(&report.id);
        Ok(written?.then(|| Queued {
            message: Arc::new(report),
            content: Some(content),
            deaths: 0,
        }))
    }

    /// Reads a message with what is known of its recipients, and its content. What is not in memory is read on a
    /// thread that may block.
    ///
    /// # Errors
    /// [`ReadError::NotFound`] if it is settled.
    pub async fn read(&self, id: QueueId) -> Result<Stored, ReadError> {
        let shared = Arc::clone(self.shared());
        match shared.read(id, read::Wait::Never) {
            Err(ReadError::Io { source, path }) if !is_final(&source) => {
                tokio::task::spawn_blocking(move || shared.read(id, read::Wait::Disk))
                    .await
                    .unwrap_or(Err(ReadError::Io { path, source }))
            }
            result => result,
        }
    }

    /// Resolves when the spool has failed: the process must end, and recover from what the disk says.
    pub async fn failed(&self) -> SpoolFailure {
        let mut failure = self.shared().failure.subscribe();
        loop {
            if let Some(failure) = failure.borrow_and_update().clone() {
                return failure;
            }
            if failure.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Its health.
    pub fn status(&self) -> SpoolStatus {
        let shared = self.shared();
        let failure = shared.failure.borrow().clone();
        let state = match &failure {
            Some(_) => SpoolState::Failed,
            None if !self.has_room() => SpoolState::Full,
            None => SpoolState::Ready,
        };
        SpoolStatus {
            state,
            bytes: shared.bytes.load(Ordering::Relaxed),
            free_bytes: shared.free_bytes.load(Ordering::Relaxed),
            damaged_records: shared.damaged.load(Ordering::Relaxed),
            error: failure.map(|failure| failure.to_string()),
        }
    }

    /// Writes and syncs everything, and seals the log: a clean stop. Nothing can be stored afterwards.
    pub async fn close(&self) {
        if let Some(threads) = self.owner.threads() {
            let shared = Arc::clone(self.shared());
            let ended =
                tokio::task::spawn_blocking(move || shared.end(Some(threads), Ending::Close));
            // Cannot panic, and cannot be aborted once it runs.
            let _ = ended.await;
        }
    }

    /// The folder for what the gateway must remember besides mail.
    pub fn state_dir(&self) -> PathBuf {
        self.shared().root.join("state")
    }

    /// The folder for mail that a capturing upstream writes.
    pub fn captured_dir(&self) -> PathBuf {
        self.shared().root.join("captured")
    }

    /// Where the control socket belongs.
    pub fn socket_path(&self) -> PathBuf {
        self.shared().root.join("control.sock")
    }

    #[cfg(test)]
    fn rest(&self) {
        self.shared().upkeep.rest();
    }

    #[cfg(test)]
    fn rest_until(&self, reached: impl Fn() -> bool) {
        for _ in 0..200 {
            if reached() {
                return;
            }
            self.rest();
        }
        panic!("never reached: {:?}", self.status());
    }

    /// The `Accept` of a message, its content in a file if it is large.
    async fn accept(
        &self,
        message: &Message,
        content: Content,
    ) -> Result<(Record, Content), StoreError> {
        let shared = self.shared();
        let id = message.id;
        let content = match content {
            Content::Inline(bytes) if bytes.len() > INLINE_CONTENT => {
                let mut upload = self.upload(id).await?;
                upload.write(&bytes).await?;
                upload.finish().await?
            }
            content => content,
        };
        let stored = match &content {
            Content::Inline(bytes) => StoredContent::Inline(bytes.clone()),
            Content::File { length, .. } => StoredContent::File {
                length: *length,
                crc: shared.content_crcs().get(&id).copied().unwrap_or_default(),
            },
        };
        // A report may be written again after a crash: the same message, one generation on.
        let known = (message.kind == Kind::Report).then(|| shared.index().generation(id));
        let generation = known
            .flatten()
            .map_or(message.generation, |known| known.saturating_add(1));
        let encoded = accept::encode(message, generation, &stored);
        let effect = Effect::Accept {
            generation,
            recipients: u32::try_from(message.recipients.len()).unwrap_or(u32::MAX),
            mark: Mark::default(),
        };
        Ok((Record::new(encoded, effect), content))
    }

    async fn write(
        &self,
        records: [Option<Record>; 2],
        condition: Condition,
        durable: bool,
    ) -> Result<bool, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.shared().queue.push(Request {
            records,
            condition,
            durable,
            reply: Some(reply),
        })?;
        answer.await.unwrap_or(Err(StoreError::Failed))
    }
}

/// Whether waiting for the disk would not help.
fn is_final(error: &io::Error) -> bool {
    // Some file systems cannot tell what is in memory.
    !matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Unsupported
    )
}

impl Settlement {
    /// What is written of it; nothing if it says nothing.
    fn record(&self) -> Option<Record> {
        if self.finished {
            let encoded = Encoded::new(RecordType::Remove, 0, self.id, Bytes::new(), |_| {});
            return Some(Record::new(encoded, Effect::Remove));
        }
        if self.outcomes.is_empty() {
            return None;
        }
        let encoded = Encoded::new(RecordType::Outcome, 0, self.id, Bytes::new(), |out| {
            progress::write_outcomes(out, &self.outcomes);
        });
        let recipients = self.outcomes.iter().map(|o| o.recipient).collect();
        Some(Record::new(encoded, Effect::Outcome(recipients)))
    }
}

impl Record {
    fn new(encoded: Encoded, effect: Effect) -> Self {
        Self { encoded, effect }
    }
}

impl Shared {
    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_room(&self) -> bool {
        self.room.load(Ordering::Relaxed)
    }

    fn content_crcs(&self) -> MutexGuard<'_, HashMap<QueueId, u32>> {
        self.content_crcs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// 48 bits of the UUID are in every queue id.
    fn id(&self, sequence: u64) -> QueueId {
        let spool = u128::from_be_bytes(self.uuid) >> 80;
        QueueId::new(u64::try_from(spool).unwrap_or_default(), sequence)
    }

    fn next_id(&self) -> QueueId {
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
    fn promise(&self, limit: u64) {
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
    fn promised(&self, limit: u64) {
        self.sequence_limit.fetch_max(limit, Ordering::Relaxed);
        self.extending.store(false, Ordering::Relaxed);
        // The segment made ahead says less.
        self.upkeep.renew();
    }

    /// What the next segment's header promises.
    fn sequence_limit(&self) -> u64 {
        self.sequence_limit.load(Ordering::Relaxed)
    }

    fn next_sequence(&self) -> u64 {
        self.sequence.load(Ordering::Relaxed)
    }

    fn read(&self, id: QueueId, wait: read::Wait) -> Result<Stored, ReadError> {
        let mut last = None;
        loop {
            let located = self.index().locate(id).ok_or(ReadError::NotFound)?;
            let failure = match read::whole(id, &located, wait) {
                Ok(read) => return self.stored(id, read),
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
                    if last.replace(located.entry.clone()) == Some(located.entry) {
                        return Err(self.keep_damage(segment, offset, length));
                    }
                }
            }
        }
    }

    fn stored(&self, id: QueueId, read: read::Read) -> Result<Stored, ReadError> {
        let content = match read.content {
            Some(StoredContent::Inline(bytes)) => Content::Inline(bytes),
            Some(StoredContent::File { length, .. }) => {
                let path = content_file::path(&self.root, id);
                let found = self.files.open(&path).and_then(|file| file.length());
                match found {
                    Ok(found) if found == length => {}
                    Ok(_) => return Err(self.damage(path)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        return Err(self.damage(path));
                    }
                    Err(source) => return Err(ReadError::Io { path, source }),
                }
                Content::File {
                    path: path.into(),
                    length,
                }
            }
            None => Content::Inline(Bytes::new()),
        };
        Ok(Stored {
            message: Arc::new(read.message),
            content,
        })
    }

    fn damage(&self, path: PathBuf) -> ReadError {
        self.damaged.fetch_add(1, Ordering::Relaxed);
        self.metrics.spool_damaged_records.inc();
        tracing::error!(path = %path.display(), "damaged");
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
            Ok(path) => self.damage(path),
            Err(source) => ReadError::Io { path, source },
        }
    }

    /// What a failed operation on a content file means. Anything but a full disk ends the spool.
    fn store_error(&self, id: QueueId, error: &io::Error) -> StoreError {
        let result = content_file::error_of(error);
        if result == StoreError::Failed {
            self.fail(&content_file::path(&self.root, id), error);
        }
        result
    }

    /// The spool has failed; the first failure counts.
    fn fail(&self, path: &Path, error: &io::Error) {
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
    /// `spare_bytes` are in files that can become segments, or just did.
    fn look_at_space(&self, spare_bytes: u64) -> io::Result<()> {
        let space = self.files.space(&self.root)?;
        let index = self.index();
        let in_log: u64 = index
            .segments()
            .values()
            .map(|live| u64::from(live.segment.length))
            .sum();
        let messages = index.len() as u64;
        drop(index);
        let bytes = in_log + spare_bytes;
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
    fn pressure(&self, spare_bytes: u64) -> Pressure {
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
    fn barrier(&self) -> Option<oneshot::Receiver<Result<bool, StoreError>>> {
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
    fn end(&self, threads: Option<Threads>, how: Ending) {
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

#[cfg(test)]
mod tests;
