//! Where just accepted mail is handed to the queue: a list under a lock that is held for a moment.
//!
//! Accepting never waits for the queue. The list is a hint with a bound on the content it keeps in memory; the spool
//! is the truth.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use super::QueueHandle;
use crate::{
    inbound::Intake,
    mail::{Content, Queued, SenderIdentity},
};

/// Octets of content that may wait in the list; beyond, messages are read again when they are due.
const CONTENT: usize = 16 << 20;

impl Intake for QueueHandle {
    fn accepted(&self, queued: Queued) {
        self.inbox.push(queued);
    }

    fn backlog(&self, sender: &SenderIdentity) -> u64 {
        self.inbox.backlog(sender)
    }
}

/// Just accepted messages, and how many each sender has in the queue.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct State {
    queued: Vec<Queued>,
    content: usize,
    backlog: HashMap<SenderIdentity, u64>,
}

impl Inbox {
    /// A message was accepted.
    pub(crate) fn push(&self, mut queued: Queued) {
        let mut state = self.lock();
        count(&mut state.backlog, &queued.message.sender);
        let octets = match &queued.content {
            Some(Content::Inline(bytes)) => bytes.len(),
            Some(Content::File { .. }) | None => 0,
        };
        if state.content + octets > CONTENT {
            queued.content = None;
        } else {
            state.content += octets;
        }
        let first = state.queued.is_empty();
        state.queued.push(queued);
        drop(state);
        if first {
            self.arrived.notify_one();
        }
    }

    /// Everything that arrived since.
    pub(crate) fn take(&self) -> Vec<Queued> {
        let mut state = self.lock();
        state.content = 0;
        std::mem::take(&mut state.queued)
    }

    /// Waits for the first arrival after [`Inbox::take`].
    pub(crate) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// A message that did not arrive here is the queue's.
    pub(crate) fn count(&self, sender: &SenderIdentity) {
        count(&mut self.lock().backlog, sender);
    }

    /// A message of a sender is settled.
    pub(crate) fn settled(&self, sender: &SenderIdentity) {
        let mut state = self.lock();
        if let Some(backlog) = state.backlog.get_mut(sender) {
            *backlog = backlog.saturating_sub(1);
            if *backlog == 0 {
                state.backlog.remove(sender);
            }
        }
    }

    /// Messages of a sender that are not settled.
    pub(crate) fn backlog(&self, sender: &SenderIdentity) -> u64 {
        self.lock().backlog.get(sender).copied().unwrap_or(0)
    }

    /// Who has messages that are not settled, and how many.
    pub(crate) fn backlogs(&self) -> HashMap<SenderIdentity, u64> {
        self.lock().backlog.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that is done under the lock can leave it half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count(backlog: &mut HashMap<SenderIdentity, u64>, sender: &SenderIdentity) {
    match backlog.get_mut(sender) {
        Some(count) => *count += 1,
        None => {
            backlog.insert(sender.clone(), 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::queue::testing::message;

    fn queued(sequence: u64, content: usize) -> Queued {
        Queued {
            message: Arc::new(message(sequence, "a.b", "u@x.example", &["x@c.example"])),
            content: Some(Content::Inline(Bytes::from(vec![b'x'; content]))),
            deaths: 0,
        }
    }

    #[tokio::test]
    async fn arrivals_are_counted_and_content_is_bounded() {
        let inbox = Inbox::default();
        for i in 0..3 {
            inbox.push(queued(i, 7 << 20));
        }
        inbox.arrived().await;
        let taken = inbox.take();
        let kept: Vec<bool> = taken
            .iter()
            .map(|queued| queued.content.is_some())
            .collect();
        assert_eq!(kept, [true, true, false]);
        let sender = &taken[0].message.sender;
        assert_eq!(inbox.backlog(sender), 3);
        inbox.settled(sender);
        assert_eq!(inbox.backlog(sender), 2);
        assert_eq!(inbox.backlog(&SenderIdentity::Anonymous), 0);
        inbox.push(queued(4, 7 << 20));
        assert!(
            inbox.take()[0].content.is_some(),
            "what was taken makes room"
        );
    }
}
