//! The last accepted document and senders, kept in the spool's state folder. No secret is in them.

use std::{
    io,
    path::{Path, PathBuf},
};

use posthouse_config::{document, senders};

use super::{Folder, Reading};
use crate::spool;

/// Where the last accepted document is kept.
#[derive(Clone, Debug)]
pub struct Stored {
    spool: PathBuf,
}

impl Stored {
    /// Kept in the state folder of a spool.
    pub fn new(spool: &Path) -> Self {
        Self {
            spool: spool.to_owned(),
        }
    }

    /// The stored documents with the files of the mounted folder, if there are any and they are still good.
    pub fn read(&self, folder: &Folder) -> Option<Reading> {
        let document =
            std::fs::read_to_string(self.spool.join("state").join(document::FILE_NAME)).ok()?;
        let senders =
            std::fs::read_to_string(self.spool.join("state").join(senders::FILE_NAME)).ok();
        folder.assemble_stored(document, senders).ok()
    }

    /// Replaces what is kept, by rename and sync.
    pub fn write(&self, reading: &Reading) -> io::Result<()> {
        let senders = reading
            .senders_text
            .as_deref()
            .unwrap_or("{\"format\":1,\"number\":0,\"generation\":0,\"senders\":[]}");
        spool::keep_state(&self.spool, senders::FILE_NAME, senders.as_bytes())?;
        spool::keep_state(
            &self.spool,
            document::FILE_NAME,
            reading.document_text.as_bytes(),
        )
    }
}
