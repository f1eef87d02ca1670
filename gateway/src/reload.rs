//! Reading the document's folder, again and again, into one consistent [`Snapshot`].
//!
//! The folder is resolved once per reading (through the kubelet's `..data` link where there is one), so that all files
//! come from one generation of it. A document that is refused changes nothing that runs; a file that disappeared keeps
//! its value in memory; both are told in status. The last accepted document and senders are kept in the spool's state
//! folder, for a start at which the mounted ones are refused.

mod folder;
mod stored;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use posthouse_config::{
    Snapshot,
    status::{DocumentStatus, FilesStatus, Source},
};
use tokio::sync::watch;
use tracing::{error, info, warn};

pub use folder::{Folder, ListenOverride, ReadError, Reading};
pub use stored::Stored;

use crate::{
    clock::Clock,
    mail::Redactor,
    metrics::Metrics,
    shutdown::{Shutdown, Stage},
};

/// How often the folder is read. The kubelet takes a minute to write a change; five seconds on top are not felt.
const INTERVAL: Duration = Duration::from_secs(5);

/// What is told about the documents in use.
#[derive(Clone, Debug, Default)]
pub struct ReloadStatus {
    /// The document in use.
    pub document: DocumentStatus,
    /// Files it names that are not usable.
    pub files: FilesStatus,
}

/// Publishes a snapshot and replaces it when the folder changes.
pub struct Reload {
    folder: Folder,
    stored: Stored,
    sender: watch::Sender<Arc<Snapshot>>,
    status: Arc<Mutex<ReloadStatus>>,
    reading: Reading,
    metrics: Metrics,
    redactor: Arc<Redactor>,
}

/// No document can be had: neither the folder's nor a stored one.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct NoDocument {
    /// The document's file.
    pub path: PathBuf,
    /// Why it is refused.
    pub source: ReadError,
}

impl Reload {
    /// The first reading. Where the folder's document is refused, the one stored in the spool is used.
    ///
    /// # Errors
    /// If there is neither.
    pub fn start(
        folder: Folder,
        stored: Stored,
        metrics: Metrics,
        redactor: Arc<Redactor>,
    ) -> Result<Self, NoDocument> {
        let (reading, source, problems) = match folder.read(None) {
            Ok(reading) => (reading, Source::Mounted, Vec::new()),
            Err(error) => match stored.read(&folder) {
                Some(reading) => {
                    error!(path = %folder.document_path().display(), %error, "document refused; going on with the stored one");
                    (reading, Source::Stored, vec![error.to_string()])
                }
                None => {
                    return Err(NoDocument {
                        path: folder.document_path(),
                        source: error,
                    });
                }
            },
        };
        let (sender, _) = watch::channel(Arc::new(reading.snapshot.clone()));
        let reload = Self {
            folder,
            stored,
            sender,
            status: Arc::default(),
            reading,
            metrics,
            redactor,
        };
        reload.published(source, problems);
        Ok(reload)
    }

    /// Watches the snapshot in use.
    pub fn snapshot(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.sender.subscribe()
    }

    /// What is told about the documents in use, always current.
    pub fn status(&self) -> Arc<Mutex<ReloadStatus>> {
        Arc::clone(&self.status)
    }

    /// Keeps the documents in use in the spool's state folder; to be called once the spool is open.
    pub fn keep(&self) {
        if let Err(error) = self.stored.write(&self.reading) {
            warn!(%error, "the document in use could not be kept in the spool");
        }
    }

    /// Reads the folder again and again until the gateway stops.
    pub async fn run(mut self, clock: Arc<dyn Clock>, mut shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = clock.sleep(INTERVAL) => self.read_again(),
                () = shutdown.reached(Stage::Stopping) => return,
            }
        }
    }

    fn read_again(&mut self) {
        match self.folder.read(Some(&self.reading)) {
            Ok(reading) if reading.says_the_same_as(&self.reading) => {
                self.tell(Source::Mounted, reading.missing, Vec::new());
            }
            Ok(reading) => {
                self.reading = reading;
                self.sender
                    .send_replace(Arc::new(self.reading.snapshot.clone()));
                self.published(Source::Mounted, Vec::new());
                self.keep();
            }
            Err(error) => self.refused(&error),
        }
    }

    /// A reading that is refused is told once, and changes nothing.
    fn refused(&self, error: &ReadError) {
        let problem = error.to_string();
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        if status.document.problems != [problem.as_str()] {
            error!(path = %self.folder.document_path().display(), %error, "document refused; the one in use stays");
            self.metrics.config_reload_failures.inc();
            status.document.problems = vec![problem];
        }
        self.metrics.config_refused.set(1);
    }

    fn published(&self, source: Source, problems: Vec<String>) {
        let snapshot = &self.reading.snapshot;
        let document = &snapshot.document;
        self.metrics.touch(document);
        self.metrics.config_generation.set(document.generation);
        self.redactor.rekey(current_key(snapshot));
        info!(
            number = document.number,
            generation = document.generation,
            senders = snapshot.senders.senders.len(),
            "document in use"
        );
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.document = DocumentStatus {
            number: document.number,
            generation: document.generation,
            digest: self.reading.digest.clone(),
            source,
            problems: Vec::new(),
        };
        drop(status);
        self.tell(source, self.reading.missing.clone(), problems);
    }

    fn tell(&self, source: Source, missing: Vec<String>, problems: Vec<String>) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        if status.files.missing != missing {
            for path in &missing {
                warn!(path, "a file that the document names is missing");
            }
            status.files.missing = missing;
        }
        let is_refused = !problems.is_empty();
        self.metrics.config_refused.set(is_refused.into());
        status.document.source = source;
        status.document.problems = problems;
    }
}

fn current_key(snapshot: &Snapshot) -> Option<posthouse_config::credential::Key> {
    let key = snapshot.document.keys.relay.first()?;
    snapshot.file(&key.path)?.as_ref().try_into().ok()
}

#[cfg(test)]
mod tests;
