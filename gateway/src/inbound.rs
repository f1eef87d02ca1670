//! Accepting mail: from a client's connection to a message on stable storage.
//!
//! A connection meets the modules in this order: [`listener`] takes it · `sessions` finds it a place · `session` speaks
//! SMTP over its `wire`, under `tls` · `authentication`, `token` and `admission` decide with values, before content is taken ·
//! `transaction` streams content, `fix_up` notes what submission adds and removes, `charset` what is left asks of the
//! next hop · [`store`] commits.
//!
//! Knows nothing of routes, schedules and upstreams; it tells the queue of new mail only through [`Intake`], which is
//! a hint: the spool is the truth. The invariant: a `250` after content is said only when [`Store::commit`] returned.

mod admission;
mod authentication;
mod charset;
mod deadline;
mod fix_up;
pub mod listener;
mod refusal;
mod session;
mod sessions;
pub mod store;
mod tls;
mod token;
mod transaction;
mod wire;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use posthouse_config::{
    Snapshot,
    status::{CertificateStatus, ListenerStatus},
};
use tokio::sync::watch;

use crate::{
    clock::Clock,
    mail::{Queued, Redactor, SenderIdentity},
    metrics::Metrics,
    shutdown::Shutdown,
};

pub use store::{Store, StoreError, Upload};

use sessions::Sessions;
use token::UnknownKeys;

/// What accepting tells and asks the queue.
pub trait Intake: Send + Sync + 'static {
    /// A message is on stable storage and its client has been told, or will be at once. Never blocks.
    fn accepted(&self, queued: Queued);

    /// Messages of a sender that are not settled yet.
    fn backlog(&self, sender: &SenderIdentity) -> u64;
}

/// What accepting is given.
#[derive(Clone)]
pub struct Parts<S> {
    /// Stable storage.
    pub store: S,
    /// The queue.
    pub intake: Arc<dyn Intake>,
    /// What the gateway goes by now.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Counters.
    pub metrics: Metrics,
    /// How addresses are logged.
    pub redactor: Arc<Redactor>,
    /// How far the shutdown has come.
    pub shutdown: Shutdown,
    /// This gateway's ordinal: not below the document's `replicas` it takes no new mail.
    pub ordinal: u32,
}

/// The accepting half of a gateway: shared by all its listeners and sessions.
pub struct Inbound<S> {
    parts: Parts<S>,
    sessions: Arc<Sessions>,
    numbers: AtomicU64,
    views: Mutex<BTreeMap<Arc<str>, ListenerView>>,
    unknown_keys: UnknownKeys,
}

/// What is known of one listener.
#[derive(Clone, Debug, Default)]
pub struct ListenerView {
    /// What it listens on, once it does.
    pub address: Option<SocketAddr>,
    /// The certificate in use.
    pub certificate: Option<CertificateStatus>,
    /// The certificate's files that cannot be used, each with the reason.
    pub invalid: Option<String>,
}

impl<S: Store> Inbound<S> {
    /// Joins the parts. Nothing listens yet: see [`Inbound::serve`].
    pub fn new(parts: Parts<S>) -> Arc<Self> {
        Arc::new(Self {
            parts,
            sessions: Arc::default(),
            numbers: AtomicU64::new(0),
            views: Mutex::default(),
            unknown_keys: UnknownKeys::default(),
        })
    }

    /// Open sessions.
    pub fn sessions(&self) -> u64 {
        self.sessions.open() as u64
    }

    /// What is known of each listener, by name.
    pub fn views(&self) -> BTreeMap<Arc<str>, ListenerView> {
        self.locked_views().clone()
    }

    /// Key ids of tokens that no known key has, since the keys last changed.
    pub fn unknown_key_ids(&self) -> Vec<String> {
        self.unknown_keys
            .list(self.snapshot().document.tokens.as_ref())
    }

    /// The listeners that listen, for status.
    pub fn listening(&self) -> Vec<ListenerStatus> {
        let views = self.locked_views();
        let listening = views.iter().filter_map(|(name, view)| {
            Some(ListenerStatus {
                name: name.to_string(),
                address: view.address?.to_string(),
            })
        });
        listening.collect()
    }

    fn view(&self, listener: &Arc<str>, change: impl FnOnce(&mut ListenerView)) {
        change(self.locked_views().entry(Arc::clone(listener)).or_default());
    }

    fn locked_views(&self) -> std::sync::MutexGuard<'_, BTreeMap<Arc<str>, ListenerView>> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the gateway goes by now.
    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.parts.snapshot.borrow())
    }

    /// A number for a session, by which its log lines are joined.
    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Whether new mail is to be sent elsewhere.
    fn is_draining(&self, snapshot: &Snapshot) -> bool {
        self.parts.ordinal >= snapshot.document.replicas
    }
}

#[cfg(test)]
mod tests;
