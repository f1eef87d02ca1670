//! An upstream that keeps each message as a file for people to look at.
//!
//! A message becomes `<queue id>.eml` in the upstream's folder, as it would have been relayed, with its envelope on
//! top. Written under another name, synced and renamed, so that a file that is there is whole; a second attempt
//! overwrites. The folder is bounded, the oldest files go first.

use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
};

use posthouse_smtp::fold::{ContentWriter, Lines};
use tokio::{
    fs::{self, File},
    io::AsyncWriteExt,
    sync::Mutex,
};

use super::content::{Outgoing, Unreadable};
use crate::{mail::Message, queue::deliver::Attempt};

/// Files kept of one upstream: for people to look at, not an archive.
const MAXIMUM_FILES: usize = 1_000;

/// Octets kept of one upstream, which share a volume with the spool.
const MAXIMUM_OCTETS: u64 = 256 << 20;

/// What a whole file's name ends with.
const EXTENSION: &str = "eml";

/// Why a message was not kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CaptureError {
    /// This message's content could not be read: said of no other.
    #[error(transparent)]
    ReadContent(#[from] Unreadable),
    /// The folder could not be written to.
    #[error("cannot write: {0}")]
    WriteFile(#[from] io::Error),
}

/// The folder of one upstream.
pub(crate) struct Capture {
    folder: PathBuf,
    upstream: String,
    /// What is in the folder, oldest first; read when the first message comes.
    kept: Mutex<Option<Kept>>,
}

#[derive(Default)]
struct Kept {
    files: VecDeque<(String, u64)>,
    octets: u64,
}

impl Capture {
    /// The folder of an upstream below `captured`.
    pub(crate) fn new(captured: &Path, upstream: &str) -> Self {
        Self {
            folder: captured.join(file_name(upstream)),
            upstream: upstream.to_owned(),
            kept: Mutex::default(),
        }
    }

    /// Whether the folder can be written to.
    pub(crate) async fn probe(&self) -> io::Result<()> {
        fs::create_dir_all(&self.folder).await?;
        let probe = self.folder.join("probe.tmp");
        File::create(&probe).await?;
        fs::remove_file(&probe).await
    }

    /// Keeps a message.
    ///
    /// # Errors
    /// Only [`CaptureError::WriteFile`] says something about the upstream.
    pub(crate) async fn store(&self, attempt: &Attempt, lines: Lines) -> Result<(), CaptureError> {
        let mut kept = self.kept.lock().await;
        fs::create_dir_all(&self.folder).await?;
        if kept.is_none() {
            *kept = Some(self.scan().await?);
        }
        let name = format!("{}.{EXTENSION}", attempt.message.id);
        let temporary = self.folder.join(format!("{}.tmp", attempt.message.id));
        let written = write(&temporary, attempt, lines).await;
        let octets = match written {
            Ok(octets) => octets,
            Err(error) => {
                // What is left of it would only take the room that was missing.
                let _ = fs::remove_file(&temporary).await;
                return Err(error);
            }
        };
        fs::rename(&temporary, self.folder.join(&name)).await?;
        File::open(&self.folder).await?.sync_all().await?;
        if let Some(kept) = kept.as_mut() {
            self.make_room(kept, name, octets).await;
        }
        Ok(())
    }

    async fn make_room(&self, kept: &mut Kept, name: String, octets: u64) {
        kept.forget(&name);
        kept.octets += octets;
        kept.files.push_back((name, octets));
        while kept.files.len() > MAXIMUM_FILES
            || (kept.octets > MAXIMUM_OCTETS && kept.files.len() > 1)
        {
            let Some((oldest, octets)) = kept.files.pop_front() else {
                return;
            };
            kept.octets = kept.octets.saturating_sub(octets);
            match fs::remove_file(self.folder.join(&oldest)).await {
                Ok(()) => {
                    tracing::info!(
                        upstream = self.upstream,
                        file = oldest,
                        "captured message removed to make room"
                    );
                }
                // Somebody else was faster.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::warn!(upstream = self.upstream, file = oldest, %error, "captured message cannot be removed");
                }
            }
        }
    }

    /// What an earlier process kept.
    async fn scan(&self) -> io::Result<Kept> {
        let mut found = Vec::new();
        let mut entries = fs::read_dir(&self.folder).await?;
        while let Some(entry) = entries.next_entry().await? {
            let path = entry.path();
            let is_whole = path
                .extension()
                .is_some_and(|extension| extension == EXTENSION);
            let metadata = entry.metadata().await?;
            if let (true, Ok(name)) = (is_whole, entry.file_name().into_string()) {
                found.push((metadata.modified()?, name, metadata.len()));
            }
        }
        found.sort();
        let octets = found.iter().map(|(_, _, octets)| octets).sum();
        let files = found
            .into_iter()
            .map(|(_, name, octets)| (name, octets))
            .collect();
        Ok(Kept { files, octets })
    }
}

impl Kept {
    /// A file that is written again counts once.
    fn forget(&mut self, name: &str) {
        if let Some(position) = self.files.iter().position(|(file, _)| file == name)
            && let Some((_, octets)) = self.files.remove(position)
        {
            self.octets = self.octets.saturating_sub(octets);
        }
    }
}

/// Writes and syncs one file; gives its length.
async fn write(path: &Path, attempt: &Attempt, lines: Lines) -> Result<u64, CaptureError> {
    let message = &attempt.message;
    let mut file = File::create(path).await?;
    let mut octets = envelope(message, &attempt.recipients).into_bytes();
    let writer = ContentWriter::plain(lines);
    let mut outgoing = Outgoing::open(&attempt.content, &message.edits, writer).await?;
    let mut length = 0;
    loop {
        let is_more = outgoing.next(&mut octets).await?;
        file.write_all(&octets).await?;
        length += octets.len() as u64;
        octets.clear();
        if !is_more {
            break;
        }
    }
    file.sync_all().await?;
    Ok(length)
}

/// The envelope as fields. Addresses hold no control characters, so none can end its field.
fn envelope(message: &Message, positions: &[u32]) -> String {
    let mut fields = format!("X-Posthouse-Reverse-Path: <{}>\r\n", message.reverse_path);
    for recipient in positions
        .iter()
        .filter_map(|&position| message.recipients.get(usize::try_from(position).ok()?))
    {
        fields.push_str("X-Posthouse-Recipient: <");
        fields.push_str(recipient.forward_path.as_str());
        fields.push_str(">\r\n");
    }
    fields
}

/// A name as one component of a path.
fn file_name(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    name.chars()
        .map(|c| if is_plain(c) { c } else { '_' })
        .collect()
}

#[cfg(test)]
mod tests;
