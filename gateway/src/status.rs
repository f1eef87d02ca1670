//! What a gateway tells about itself: `/status`, `/readyz` and the figures of the process.
//!
//! Filled in as the gateway starts: before recovery there is little to tell, and it says so. Nothing here decides
//! anything. [`Link`] is the door to it where it has a port of its own.

mod link;

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

pub use link::Link;

use posthouse_admin::admin::{Answer, Shown};
use posthouse_config::{
    Snapshot, Status,
    credential::Key,
    document::{self, Transport},
    status::{FilesStatus, SendersStatus, SpoolState, SpoolStatus, UpstreamStatus},
};
use tokio::sync::watch;

use crate::{
    inbound::Inbound,
    metrics::Metrics,
    outbound::tls::roots_of,
    queue::{QueueHandle, deliver::Upstreams},
    reload::ReloadStatus,
    shutdown::{Shutdown, Stage},
    spool::{OpenError, Spool},
};

/// The parts that exist once the spool is open.
pub struct Running {
    /// Stable storage.
    pub spool: Spool,
    /// The accepting half.
    pub inbound: Arc<Inbound<Spool>>,
    /// The queue.
    pub queue: QueueHandle,
    /// What is known of every upstream.
    pub upstreams: watch::Receiver<Arc<Upstreams>>,
}

/// What is shown on the admin port.
pub struct Board {
    metrics: Metrics,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    /// The listeners there were at the start: those that came later need another pod, and are not waited for.
    listeners: BTreeSet<String>,
    reload: Arc<Mutex<ReloadStatus>>,
    shutdown: Shutdown,
    ordinal: u32,
    pod_uid: String,
    sequence: AtomicU64,
    running: OnceLock<Running>,
    failure: OnceLock<String>,
}

impl Board {
    /// A board that says "starting". The snapshot is the one by which listeners are bound.
    pub fn new(
        metrics: Metrics,
        snapshot: watch::Receiver<Arc<Snapshot>>,
        reload: Arc<Mutex<ReloadStatus>>,
        shutdown: Shutdown,
        ordinal: u32,
        pod_uid: String,
    ) -> Self {
        let document = Arc::clone(&snapshot.borrow().document);
        let names = document.listeners.iter().map(|it| it.name.clone());
        Self {
            metrics,
            snapshot,
            listeners: names.collect(),
            reload,
            shutdown,
            ordinal,
            pod_uid,
            sequence: AtomicU64::new(0),
            running: OnceLock::new(),
            failure: OnceLock::new(),
        }
    }

    /// The gateway runs. A second call changes nothing.
    pub fn runs(&self, running: Running) {
        let _ = self.running.set(running);
    }

    /// The spool cannot be used, and the process stays up to say so.
    pub fn failed(&self, error: &OpenError) {
        self.metrics.spool_failed.set(1);
        let _ = self.failure.set(error.to_string());
    }

    fn is_draining(&self) -> bool {
        self.ordinal >= self.snapshot.borrow().document.replicas
    }

    fn spool(&self) -> SpoolStatus {
        match (self.running.get(), self.failure.get()) {
            (Some(running), _) => running.spool.status(),
            (None, Some(error)) => SpoolStatus {
                state: SpoolState::Failed,
                error: Some(error.clone()),
                ..SpoolStatus::default()
            },
            (None, None) => SpoolStatus::default(),
        }
    }

    async fn assemble(&self) -> Status {
        let snapshot = Arc::clone(&self.snapshot.borrow());
        let reload = self
            .reload
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let mut status = Status {
            pod_uid: self.pod_uid.clone(),
            sequence: self.sequence.fetch_add(1, Ordering::Relaxed) + 1,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            formats: vec![document::FORMAT],
            features: document::FEATURES.iter().map(ToString::to_string).collect(),
            document: reload.document,
            senders: SendersStatus {
                number: snapshot.senders.number,
            },
            files: FilesStatus {
                invalid: [invalid_keys(&snapshot), invalid_authorities(&snapshot)].concat(),
                ..reload.files
            },
            draining: self.is_draining(),
            spool: self.spool(),
            ..Status::default()
        };
        if let Some(running) = self.running.get() {
            running.tell(&mut status).await;
        }
        status
    }
}

impl Running {
    async fn tell(&self, status: &mut Status) {
        let views = self.inbound.views();
        status.certificates = views
            .values()
            .filter_map(|view| view.certificate.clone())
            .collect();
        let invalid = views.values().filter_map(|view| view.invalid.clone());
        status.files.invalid.extend(invalid);
        status.listeners = self.inbound.listening();
        status.sessions = self.inbound.sessions();
        status.unknown_key_ids = self.inbound.unknown_key_ids();
        // A queue whose task has ended has nothing to tell: the gateway is stopping.
        if let Ok(account) = self.queue.account().await {
            status.queue = account.figures.status();
            status.failures = account.failures;
            status.waiting = account.waiting;
        }
        status.upstreams = self
            .upstreams
            .borrow()
            .iter()
            .map(|(name, view)| UpstreamStatus {
                name: name.to_string(),
                state: view.state,
                since: view.since.to_string(),
                reply: view.reply.clone(),
                remedy: view.remedy.clone(),
                last_relayed_time: view.last_relayed.map(|time| time.to_string()),
            })
            .collect();
    }

    /// A listener of these that the document names and that does not listen.
    fn silent_listener(&self, known: &BTreeSet<String>, snapshot: &Snapshot) -> Option<String> {
        let listening = self.inbound.listening();
        let silent = snapshot
            .document
            .listeners
            .iter()
            .filter(|listener| known.contains(&listener.name))
            .find(|listener| listening.iter().all(|known| known.name != listener.name));
        silent.map(|listener| listener.name.clone())
    }
}

/// Key files that are there and hold no key.
fn invalid_keys(snapshot: &Snapshot) -> Vec<String> {
    let keys = &snapshot.document.keys;
    let relay = keys.relay.iter().map(|key| key.path.as_str());
    let paths = relay.chain(keys.link.as_deref());
    let invalid = paths.filter_map(|path| {
        let error = Key::try_from(snapshot.file(path)?.as_ref()).err()?;
        Some(format!("{path} {error}"))
    });
    invalid.collect()
}

/// Files with the authorities of upstreams that are there and name none. What comes of it for mail is told of the
/// upstream; which file it is, here.
fn invalid_authorities(snapshot: &Snapshot) -> Vec<String> {
    let upstreams = &snapshot.document.upstreams;
    let paths = upstreams
        .iter()
        .filter_map(|upstream| match &upstream.transport {
            Transport::Smtp(smtp) => smtp.tls.ca.as_deref(),
            Transport::Capture(_) => None,
        });
    let invalid = paths.filter_map(|path| {
        let problem = roots_of(snapshot.file(path)?.as_ref()).err()?;
        Some(format!("{path} {problem}"))
    });
    invalid.collect()
}

impl Shown for Board {
    fn ready(&self) -> Result<(), String> {
        if let Some(error) = self.failure.get() {
            return Err(format!("the spool cannot be used: {error}"));
        }
        let Some(running) = self.running.get() else {
            return Err("starting".to_owned());
        };
        if self.shutdown.stage() > Stage::Running {
            return Err("stopping".to_owned());
        }
        if self.is_draining() {
            return Err("draining".to_owned());
        }
        match running.silent_listener(&self.listeners, &self.snapshot.borrow()) {
            Some(name) => Err(format!("listener {name} does not listen yet")),
            None => Ok(()),
        }
    }

    fn metrics(&self) -> Answer<'_, (String, &'static str)> {
        Box::pin(async {
            if let Some(running) = self.running.get() {
                // Asking for figures publishes them.
                let _ = running.queue.figures().await;
            }
            let spool = self.spool();
            let as_gauge = |octets: u64| i64::try_from(octets).unwrap_or(i64::MAX);
            self.metrics.spool_bytes.set(as_gauge(spool.bytes));
            self.metrics
                .spool_free_bytes
                .set(as_gauge(spool.free_bytes));
            self.metrics.encode()
        })
    }

    fn status(&self) -> Option<Answer<'_, String>> {
        Some(Box::pin(async {
            serde_json::to_string(&self.assemble().await).unwrap_or_default()
        }))
    }
}

#[cfg(test)]
mod tests;
