//! How many sessions there are at once, and how many of them one sender holds.
//!
//! A connection over the limit waits for a place instead of being refused: most libraries take a refusal for the end.
//! One sender holds at most a quarter of the places, so that a noisy one cannot shut out all others.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::mail::SenderIdentity;

/// With fewer places than this a quarter would be too few for anyone.
const SMALLEST_SHARED: usize = 8;

/// All sessions of a gateway.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    count: Mutex<Count>,
    left: Notify,
}

#[derive(Debug, Default)]
struct Count {
    open: usize,
    by_sender: HashMap<SenderIdentity, usize>,
}

/// A session's place; free again when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    sessions: Arc<Sessions>,
    sender: Option<SenderIdentity>,
}

impl Sessions {
    /// Sessions that have a place.
    pub(super) fn open(&self) -> usize {
        self.locked().open
    }

    /// Waits for a place. `limit` is asked each time one may be free.
    pub(super) async fn enter(self: &Arc<Self>, limit: impl Fn() -> usize) -> Place {
        let mut left = pin!(self.left.notified());
        loop {
            left.as_mut().enable();
            if let Some(place) = self.try_enter(limit()) {
                return place;
            }
            left.as_mut().await;
            left.set(self.left.notified());
        }
    }

    fn try_enter(self: &Arc<Self>, limit: usize) -> Option<Place> {
        let mut count = self.locked();
        if count.open >= limit {
            return None;
        }
        count.open += 1;
        Some(Place {
            sessions: Arc::clone(self),
            sender: None,
        })
    }

    fn locked(&self) -> MutexGuard<'_, Count> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The session turned out to be a sender's. Says whether that sender may have one more, given the limit for all.
    pub(super) fn belongs_to(&mut self, sender: &SenderIdentity, limit: usize) -> bool {
        if self.sender.as_ref() == Some(sender) {
            return true;
        }
        let share = if limit < SMALLEST_SHARED {
            limit
        } else {
            limit / 4
        };
        let mut count = self.sessions.locked();
        let held = count.by_sender.get(sender).copied().unwrap_or_default();
        if held >= share {
            return false;
        }
        count.leave(self.sender.replace(sender.clone()));
        count.by_sender.insert(sender.clone(), held + 1);
        true
    }
}

impl Count {
    fn leave(&mut self, sender: Option<SenderIdentity>) {
        let Some(sender) = sender else { return };
        if let Some(held) = self.by_sender.get_mut(&sender) {
            *held -= 1;
            if *held == 0 {
                self.by_sender.remove(&sender);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut count = self.sessions.locked();
        count.open -= 1;
        count.leave(self.sender.take());
        drop(count);
        self.sessions.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::{future::Future, task::Poll};

    use super::*;

    fn sender(name: &str) -> SenderIdentity {
        SenderIdentity::Sender {
            namespace: "n".into(),
            name: name.into(),
        }
    }

    #[tokio::test]
    async fn one_over_the_limit_waits_until_another_leaves() {
        let sessions = Arc::new(Sessions::default());
        let first = sessions.enter(|| 1).await;
        let mut second = pin!(sessions.enter(|| 1));
        let pending =
            std::future::poll_fn(|cx| Poll::Ready(second.as_mut().poll(cx).is_pending())).await;
        assert!(pending);
        drop(first);
        let second = second.await;
        assert_eq!(sessions.open(), 1);
        drop(second);
        assert_eq!(sessions.open(), 0);
    }

    #[tokio::test]
    async fn a_sender_holds_at_most_a_quarter() {
        let sessions = Arc::new(Sessions::default());
        let mut places = Vec::new();
        for _ in 0..4 {
            places.push(sessions.enter(|| 8).await);
        }
        assert!(places[0].belongs_to(&sender("a"), 8));
        assert!(places[0].belongs_to(&sender("a"), 8));
        assert!(places[1].belongs_to(&sender("a"), 8));
        assert!(!places[2].belongs_to(&sender("a"), 8));
        assert!(places[2].belongs_to(&sender("b"), 8));
        places.remove(0);
        assert!(places[2].belongs_to(&sender("a"), 8));
        places.clear();
        assert!(sessions.locked().by_sender.is_empty());
    }
}
