//! The folder `render --local` writes: files of mode 0600 replaced by rename, folders of mode 0700.
//!
//! Names of files come from objects somebody else wrote: none leads out of the folder. What is written is on disk
//! before it gets its name, and a file that would not change is left alone, so that a gateway has nothing to reload.

use std::{
    fs::{self, DirBuilder},
    io::{self, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

/// A file or folder could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{}", .path.display())]
pub struct FolderError {
    path: PathBuf,
    source: io::Error,
}

/// A folder to write below.
pub(super) struct Folder {
    root: PathBuf,
}

impl Folder {
    /// Opens a folder, and makes it if it is not there.
    pub(super) fn open(root: &Path) -> Result<Self, FolderError> {
        make(root)?;
        Ok(Self {
            root: root.to_owned(),
        })
    }

    /// Replaces a file and returns its path. An equal file stays as it is.
    pub(super) fn write(&self, path: &str, content: &[u8]) -> Result<String, FolderError> {
        let parts: Vec<_> = path.split('/').collect();
        self.write_below(&parts, content)
    }

    /// The same, with a path in parts, each the name of one file or folder.
    pub(super) fn write_below(
        &self,
        parts: &[&str],
        content: &[u8],
    ) -> Result<String, FolderError> {
        let path = self.path(parts)?;
        let failed = |source| FolderError {
            path: path.clone(),
            source,
        };
        if fs::read(&path).is_ok_and(|found| found == content) {
            return Ok(path.display().to_string());
        }
        self.temporary(&path, content)?
            .persist(&path)
            .map_err(|error| failed(error.error))?;
        Ok(path.display().to_string())
    }

    /// Writes a file unless it is there, and returns what it then holds: of two who do this at once, one wins.
    pub(super) fn write_once(&self, path: &str, content: &[u8]) -> Result<Vec<u8>, FolderError> {
        if let Some(found) = self.read(path)? {
            return Ok(found);
        }
        let path: PathBuf = self.root.join(path);
        match self.temporary(&path, content)?.persist_noclobber(&path) {
            Ok(_) => Ok(content.to_vec()),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                fs::read(&path).map_err(|source| FolderError { path, source })
            }
            Err(error) => Err(FolderError {
                path,
                source: error.error,
            }),
        }
    }

    /// What a file holds, if it is there.
    pub(super) fn read(&self, path: &str) -> Result<Option<Vec<u8>>, FolderError> {
        let path = self.root.join(path);
        match fs::read(&path) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(FolderError { path, source }),
        }
    }

    /// The same as text; what is none counts as not there.
    pub(super) fn read_text(&self, path: &str) -> Result<Option<String>, FolderError> {
        Ok(self
            .read(path)?
            .and_then(|content| String::from_utf8(content).ok()))
    }

    /// The full path of a file or folder.
    pub(super) fn display(&self, path: &str) -> String {
        self.root.join(path).display().to_string()
    }

    /// Names come from objects: none may lead out of the folder.
    fn path(&self, parts: &[&str]) -> Result<PathBuf, FolderError> {
        let mut path = self.root.clone();
        for part in parts {
            let leads_out =
                part.is_empty() || *part == "." || *part == ".." || part.contains(['/', '\0']);
            path.push(part);
            if leads_out {
                let source =
                    io::Error::new(io::ErrorKind::InvalidInput, "must be the name of a file");
                return Err(FolderError { path, source });
            }
        }
        Ok(path)
    }

    /// The content in a file beside its later place, on disk: a key must not be lost after something was derived.
    #[expect(
        clippy::disallowed_methods,
        reason = "the operator's one home of durable files"
    )]
    fn temporary(&self, path: &Path, content: &[u8]) -> Result<NamedTempFile, FolderError> {
        let parent = path.parent().unwrap_or(&self.root);
        make(parent)?;
        let failed = |source| FolderError {
            path: path.to_owned(),
            source,
        };
        // Mode 0600 is what `tempfile` makes.
        let mut file = NamedTempFile::new_in(parent).map_err(failed)?;
        file.write_all(content).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        Ok(file)
    }
}

fn make(folder: &Path) -> Result<(), FolderError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|source| FolderError {
        path: folder.to_owned(),
        source,
    })
}
