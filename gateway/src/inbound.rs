//! Accepting mail: from a client's connection to a message on stable storage.
//!
//! Knows nothing of routes, schedules and upstreams; it tells the queue of new mail only through [`Intake`], which is
//! a hint: the spool is the truth.

use crate::mail::{Queued, SenderIdentity};

/// What accepting tells and asks the queue.
pub trait Intake: Send + Sync + 'static {
    /// A message is on stable storage and its client has been told, or will be at once. Never blocks.
    fn accepted(&self, queued: Queued);

    /// Messages of a sender that are not settled yet.
    fn backlog(&self, sender: &SenderIdentity) -> u64;
}
