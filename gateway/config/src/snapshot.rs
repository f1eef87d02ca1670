//! One consistent reading of everything a gateway goes by: document, senders and the files they name.
//!
//! Made by the one task that re-reads the folder and handed to everyone else as one value, so that no two parts of a
//! gateway ever act on different states of the configuration. Its `Debug` shows no file's content.

use std::{collections::BTreeMap, fmt, sync::Arc};

use crate::{Document, Senders};

/// What a gateway goes by now.
#[derive(Clone)]
pub struct Snapshot {
    /// The relay's configuration.
    pub document: Arc<Document>,
    /// Who may send.
    pub senders: Arc<Senders>,
    files: BTreeMap<String, Arc<[u8]>>,
}

impl Snapshot {
    /// A snapshot of a document, its senders and the content of the files the document names, by their path. A file
    /// that could not be read is absent.
    pub fn new(
        document: Arc<Document>,
        senders: Arc<Senders>,
        files: BTreeMap<String, Arc<[u8]>>,
    ) -> Self {
        Self {
            document,
            senders,
            files,
        }
    }

    /// The content of a file the document names, if it could be read.
    pub fn file(&self, path: &str) -> Option<&Arc<[u8]>> {
        self.files.get(path)
    }

    /// A file as text without surrounding white space: people end files with a newline.
    pub fn text(&self, path: &str) -> Option<&str> {
        std::str::from_utf8(self.file(path)?).ok().map(str::trim)
    }

    /// Whether every file has the content it has in another snapshot.
    pub fn has_files_of(&self, other: &Self) -> bool {
        self.files == other.files
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files: Vec<_> = self.files.keys().collect();
        f.debug_struct("Snapshot")
            .field("number", &self.document.number)
            .field("senders", &self.senders.number)
            .field("files", &files)
            .finish()
    }
}
