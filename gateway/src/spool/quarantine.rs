//! Quarantine: what could not be read, kept for a person.
//!
//! Damage is copied here, never cut from where it is. A name says segment and offset, so starting again does not keep
//! the same octets twice.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    content_file,
    durable::{self, Files},
};
use crate::mail::QueueId;

/// Octets of content copied at a time.
const PIECE: usize = 1 << 20;

/// The folder.
pub(super) fn folder(spool: &Path) -> PathBuf {
    spool.join("quarantine")
}

/// Keeps octets of a segment. `None` if there is no room: what is damaged is to stay where it is.
pub(super) fn keep(
    files: &dyn Files,
    spool: &Path,
    segment: u32,
    offset: u64,
    bytes: &[u8],
) -> io::Result<Option<PathBuf>> {
    let path = folder(spool).join(format!("{segment:010}-{offset:08x}.damaged"));
    match durable::replace(files, &path, bytes) {
        // No reason not to start.
        Err(error) if durable::is_full(&error) => {
            // What was begun of the copy is of no use to anyone.
            let _ = files.remove(&path.with_extension("new"));
            tracing::warn!(path = %path.display(), "no room to keep a damaged record");
            Ok(None)
        }
        result => result.map(|()| Some(path)),
    }
}

/// Keeps a copy of a message's content file; `None` if there is one already.
pub(super) fn keep_content(
    files: &dyn Files,
    spool: &Path,
    id: QueueId,
) -> io::Result<Option<PathBuf>> {
    let path = folder(spool).join(format!("{id}.damaged"));
    if files.open(&path).is_ok() {
        return Ok(None);
    }
    let temporary = path.with_extension("new");
    match copy(files, &content_file::path(spool, id), &temporary) {
        Ok(()) => {
            files.rename(&temporary, &path)?;
            files.sync_dir(&folder(spool))?;
        }
        Err(error) => {
            // What is left of it would only take the room that was missing.
            let _ = files.remove(&temporary);
            if !durable::is_full(&error) {
                return Err(error);
            }
            tracing::warn!(path = %path.display(), "no room to keep damaged content");
        }
    }
    Ok(Some(path))
}

fn copy(files: &dyn Files, from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (files.open(from)?, files.create(to)?);
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    loop {
        let read = from.read_at(&mut piece, at)?;
        let octets = piece.get(..read).unwrap_or_default();
        if octets.is_empty() {
            return to.sync();
        }
        to.write_at(octets, at)?;
        at += read as u64;
    }
}
