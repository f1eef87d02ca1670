//! What accepting needs of stable storage. The spool is it; tests have one in memory.

use std::future::Future;

use crate::{
    mail::{Content, Message, QueueId, Queued},
    spool::{self, Spool},
};

pub use crate::spool::StoreError;

/// Stable storage.
pub trait Store: Send + Sync + 'static {
    /// Content on its way to a file.
    type Upload: Upload;

    /// The next queue id; never repeats.
    fn next_id(&self) -> QueueId;

    /// Whether there is room for mail. Asked before content is taken.
    fn has_room(&self) -> bool;

    /// Begins to store large content.
    fn upload(&self, id: QueueId) -> impl Future<Output = Result<Self::Upload, StoreError>> + Send;

    /// Stores a message. Returns once it is on stable storage: this alone makes a `250`.
    fn commit(
        &self,
        message: Message,
        content: Content,
    ) -> impl Future<Output = Result<Queued, StoreError>> + Send;
}

/// Large content on its way to a file. Dropped before [`Upload::finish`] it leaves nothing.
pub trait Upload: Send {
    /// Appends octets; waits while too much is on its way for all sessions together.
    fn write(&mut self, octets: &[u8]) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The content is complete: returns it once it is on stable storage.
    fn finish(self) -> impl Future<Output = Result<Content, StoreError>> + Send;
}

impl Store for Spool {
    type Upload = spool::Upload;

    fn next_id(&self) -> QueueId {
        Self::next_id(self)
    }

    fn has_room(&self) -> bool {
        Self::has_room(self)
    }

    async fn upload(&self, id: QueueId) -> Result<spool::Upload, StoreError> {
        Self::upload(self, id).await
    }

    async fn commit(&self, message: Message, content: Content) -> Result<Queued, StoreError> {
        Self::commit(self, message, content).await
    }
}

impl Upload for spool::Upload {
    async fn write(&mut self, octets: &[u8]) -> Result<(), StoreError> {
        Self::write(self, octets).await
    }

    async fn finish(self) -> Result<Content, StoreError> {
        Self::finish(self).await
    }
}
