//! Why the spool could not be opened, stored to, or read from: one type for each, because their callers differ.

use std::{io, path::PathBuf, sync::Arc};

use super::segment;

/// Why the spool could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("the spool {0} is in use by another process")]
    Locked(PathBuf),
    /// A newer release wrote it.
    #[error(
        "{path} is of format {format}, and this release reads up to {}",
        segment::FORMAT
    )]
    Newer {
        /// What says so.
        path: PathBuf,
        /// The format it says.
        format: u32,
    },
    /// An operation failed.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl OpenError {
    pub(super) fn io(path: PathBuf, source: io::Error) -> Self {
        Self::Io { path, source }
    }

    /// Whether a person must change something, so that trying again is useless: no such folder, no permission, a
    /// read-only file system, a lock that is held, a newer format. A disk that fails or is full is none of these.
    pub fn is_for_a_person(&self) -> bool {
        match self {
            Self::Locked(_) | Self::Newer { .. } => true,
            Self::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::NotADirectory
                    | io::ErrorKind::PermissionDenied
                    | io::ErrorKind::ReadOnlyFilesystem
            ),
        }
    }
}

/// Why something was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The disk has no room: `452`, later perhaps.
    #[error("the disk has no room")]
    Full,
    /// The spool has failed and the process is ending: `451`. What the disk holds is not known.
    #[error("the spool has failed")]
    Failed,
}

/// Why a message could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is settled, or never was.
    #[error("no such message")]
    NotFound,
    /// What is on the disk is not what was written; it is in quarantine, or where it was for want of room.
    #[error("damaged, kept as {0}")]
    Damaged(PathBuf),
    /// The disk did not give it.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The failure that ended the spool.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{path}: {error}")]
pub struct SpoolFailure {
    /// The file or folder.
    pub path: PathBuf,
    /// What the system said.
    pub error: Arc<io::Error>,
}
