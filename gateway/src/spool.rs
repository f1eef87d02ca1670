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
mod error;
mod footer;
mod index;
mod lock;
mod quarantine;
mod read;
mod record;
mod recovery;
mod segment;
mod shared;
mod space;
mod upkeep;
mod writer;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use bytes::Bytes;
use posthouse_config::status::{SpoolState, SpoolStatus};
use tokio::sync::{Semaphore, oneshot, watch};

pub use content_file::Upload;
use durable::{Files, SystemFiles};
pub use error::{OpenError, ReadError, SpoolFailure, StoreError};
use record::{
    Encoded, RecordType,
    accept::{self, Mark, StoredContent},
    progress,
};
use shared::Shared;
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

/// Replaces a file in the state folder of a spool, durably.
pub fn keep_state(spool: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    durable::replace(&SystemFiles, &spool.join("state").join(name), content)
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

/// Fails the spool when a thread of it panics: what it had promised would never come.
struct PanicGuard(Arc<Shared>);

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let shared = &self.0;
            shared.fail(&shared.root, &io::Error::other("a thread panicked"));
            // A writer that waits for a segment gets none.
            shared.upkeep.end();
            for request in shared.queue.drain() {
                request.answer(Err(StoreError::Failed));
            }
        }
    }
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

impl Spool {
    /// Opens the spool, blocking: locks, probes, recovers, and calls `visit` once for each unsettled message, the
    /// oldest first.
    ///
    /// # Errors
    /// See [`OpenError::is_for_a_person`].
    pub fn open(
        options: SpoolOptions,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
        visit: &mut dyn FnMut(Queued),
    ) -> Result<Self, OpenError> {
        Self::open_on(Arc::new(SystemFiles), options, clock, metrics, visit)
    }

    fn open_on(
        files: Arc<dyn Files>,
        options: SpoolOptions,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
        visit: &mut dyn FnMut(Queued),
    ) -> Result<Self, OpenError> {
        let root = options.path;
        let recovered = recovery::open(&files, &root, options.segment_bytes, visit)?;
        metrics.spool_damaged_records.inc_by(recovered.damaged);
        let shared = Arc::new(Shared {
            root,
            files,
            clock,
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
            known_damage: Mutex::default(),
            failure: watch::Sender::new(None),
        });
        let spare_bytes = recovered.store.spare_bytes();
        let path = || shared.root.clone();
        shared
            .look_at_space(spare_bytes, 0)
            .map_err(|error| OpenError::io(path(), error))?;
        let writer = Writer::new(Arc::clone(&shared), recovered.active);
        let worker = Worker::new(Arc::clone(&shared), recovered.store);
        let start = |name: &str, body: Box<dyn FnOnce() + Send>| {
            let guard = PanicGuard(Arc::clone(&shared));
            let guarded = move || {
                let _guard = guard;
                body();
            };
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(guarded)
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
        let (record, end) = match end {
            Some(end) => (
                Record::new(record.encoded.leading(), record.effect),
                Some(Record::new(end.encoded.joined(), end.effect)),
            ),
            None => (record, None),
        };
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

    /// Keeps a copy of content that was found damaged for a person, and counts the damage, once. The content stays
    /// where it is.
    pub async fn quarantine(&self, id: QueueId) {
        let shared = Arc::clone(self.shared());
        let kept = content_file::blocking(move || {
            let path = quarantine::keep_content(&*shared.files, &shared.root, id)?;
            if let Some(path) = path {
                shared.damage(path);
            }
            Ok(())
        });
        if let Err(error) = kept.await {
            tracing::error!(queue_id = %id, %error, "damaged content cannot be copied to quarantine");
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
        // However busy the machine is, it gets there; the deadline only keeps a failure from hanging.
        let deadline = std::time::Instant::now() + std::time::Duration::from_mins(1);
        while std::time::Instant::now() < deadline {
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
            Content::File { length, crc, .. } => StoredContent::File {
                length: *length,
                crc: *crc,
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

#[cfg(test)]
mod tests;
