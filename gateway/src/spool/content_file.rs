//! Content in files of their own: `content/<queue id>`, for what is too large for a record.
//!
//! Written and synced (file, then folder) before the `Accept` that names it is appended; never copied; unlinked after
//! its `Remove` is synced; one without `Accept` is swept at start. Buffers come from one budget, so memory is bounded
//! whatever the number and size of uploads: a session without budget waits, and so stops reading its socket.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::OwnedSemaphorePermit;

use super::{
    Shared, StoreError,
    durable::{self, Files, OpenFile},
};
use crate::mail::{Content, QueueId};

/// Octets of all upload buffers together.
pub(super) const BUDGET: usize = 32 * 1024 * 1024;
/// Octets gathered for one write.
const BUFFER: usize = 256 * 1024;

/// The folder of content files.
pub(super) fn folder(spool: &Path) -> PathBuf {
    spool.join("content")
}

/// The file of a message's content.
pub(super) fn path(spool: &Path, id: QueueId) -> PathBuf {
    folder(spool).join(id.to_string())
}

/// Removes a message's file; fine if it is not there.
pub(super) fn unlink(files: &dyn Files, spool: &Path, id: QueueId) -> io::Result<()> {
    match files.remove(&path(spool, id)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Content on its way into a file. Dropping it unfinished removes the file.
pub struct Upload {
    open: Option<Open>,
}

/// The unfinished file.
struct Open {
    shared: Arc<Shared>,
    id: QueueId,
    file: Arc<dyn OpenFile>,
    /// Octets in the file, without those in the buffer.
    written: u64,
    crc: u32,
    buffer: Vec<u8>,
    /// The budget of what is in the buffer.
    permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            // If it stays it is swept at the next start.
            let _ = unlink(&*open.shared.files, &open.shared.root, open.id);
        }
    }
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload")
            .field("id", &self.open.as_ref().map(|open| open.id))
            .finish_non_exhaustive()
    }
}

impl Upload {
    pub(super) async fn start(shared: Arc<Shared>, id: QueueId) -> Result<Self, StoreError> {
        let (files, path) = (Arc::clone(&shared.files), path(&shared.root, id));
        let created = blocking(move || files.create(&path)).await;
        let file = created.map_err(|error| shared.store_error(id, &error))?;
        Ok(Self {
            open: Some(Open {
                shared,
                id,
                file,
                written: 0,
                crc: 0,
                buffer: Vec::new(),
                permit: None,
            }),
        })
    }

    /// Adds octets of content. Waits for budget and disk.
    ///
    /// # Errors
    /// [`StoreError::Full`] if the disk has no room; the upload is to be dropped.
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<(), StoreError> {
        let open = self.open.as_mut().ok_or(StoreError::Failed)?;
        while !bytes.is_empty() {
            let piece = bytes.len().min(BUFFER - open.buffer.len());
            let (now, rest) = bytes.split_at_checked(piece).unwrap_or_default();
            open.take_budget(piece).await?;
            open.buffer.extend_from_slice(now);
            if open.buffer.len() >= BUFFER {
                open.flush().await?;
            }
            bytes = rest;
        }
        Ok(())
    }

    /// Makes the content durable.
    ///
    /// # Errors
    /// [`StoreError::Full`] if the disk has no room; the file is gone then.
    pub async fn finish(mut self) -> Result<Content, StoreError> {
        let open = self.open.as_mut().ok_or(StoreError::Failed)?;
        open.flush().await?;
        open.sync().await?;
        let open = self.open.take().ok_or(StoreError::Failed)?;
        let shared = &open.shared;
        shared.content_crcs().insert(open.id, open.crc);
        Ok(Content::File {
            path: path(&shared.root, open.id).into(),
            length: open.written,
            crc: open.crc,
        })
    }
}

impl Open {
    /// Budget for so many more octets in the buffer. Whoever has to wait for it first gives back what it holds: else
    /// uploads with half-full buffers could wait for each other for ever.
    async fn take_budget(&mut self, octets: usize) -> Result<(), StoreError> {
        let octets = u32::try_from(octets).unwrap_or(u32::MAX);
        let budget = &self.shared.budget;
        let permit = if let Ok(permit) = Arc::clone(budget).try_acquire_many_owned(octets) {
            permit
        } else {
            let budget = Arc::clone(budget);
            self.flush().await?;
            let acquired = budget.acquire_many_owned(octets).await;
            acquired.map_err(|_| StoreError::Failed)?
        };
        match &mut self.permit {
            Some(held) => held.merge(permit),
            None => self.permit = Some(permit),
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), StoreError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.crc = crc32c::crc32c_append(self.crc, &self.buffer);
        let buffer = std::mem::take(&mut self.buffer);
        let (file, at) = (Arc::clone(&self.file), self.written);
        self.written += buffer.len() as u64;
        let written = blocking(move || file.write_at(&buffer, at)).await;
        self.permit = None;
        written.map_err(|error| self.shared.store_error(self.id, &error))
    }

    async fn sync(&self) -> Result<(), StoreError> {
        let (file, files) = (Arc::clone(&self.file), Arc::clone(&self.shared.files));
        let folder = folder(&self.shared.root);
        let synced = blocking(move || {
            file.sync()?;
            files.sync_dir(&folder)
        })
        .await;
        synced.map_err(|error| self.shared.store_error(self.id, &error))
    }
}

/// Runs a file operation where it may block.
pub(super) async fn blocking<T: Send + 'static>(
    operation: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(operation)
        .await
        .unwrap_or_else(|_| Err(io::Error::other("the runtime is ending")))
}

/// Removes files without an `Accept`. If records were damaged, one of them may have named the file: then it is kept
/// in quarantine.
pub(super) fn sweep(
    files: &dyn Files,
    spool: &Path,
    is_known: &dyn Fn(QueueId) -> bool,
    damaged: bool,
) -> io::Result<()> {
    let folder = folder(spool);
    let mut changed = false;
    for name in files.list(&folder)? {
        let known = name.parse().is_ok_and(is_known);
        if known {
            continue;
        }
        let path = folder.join(&name);
        if damaged {
            files.rename(&path, &super::quarantine::folder(spool).join(&name))?;
        } else {
            files.remove(&path)?;
        }
        changed = true;
    }
    if changed {
        files.sync_dir(&folder)?;
    }
    Ok(())
}

/// Whether an operation failed only for want of room.
pub(super) fn error_of(error: &io::Error) -> StoreError {
    if durable::is_full(error) {
        StoreError::Full
    } else {
        StoreError::Failed
    }
}
