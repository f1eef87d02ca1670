//! Quarantine: what could not be read, kept for a person.
//!
//! Damage is copied here, never cut from where it is. A name says segment and offset, so starting again does not keep
//! the same octets twice.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::durable::{self, Files};

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
