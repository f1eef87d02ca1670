//! One reading of the folder: document, senders and the files they name, all of one generation.

use std::{
    collections::BTreeMap,
    fmt::Write,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use aws_lc_rs::digest::{self, SHA256};
use posthouse_config::{
    Document, Senders, Snapshot,
    document::{self, DocumentError, Problem},
    senders::{self, SendersError},
};

/// Octets of one file that are read at most: certificates and keys are far smaller, and a wrong path must not fill
/// the memory.
const MAXIMUM_FILE: u64 = 1 << 20;

/// Where a listener binds instead of what the document says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenOverride {
    /// The listener's name.
    pub name: String,
    /// Where it binds.
    pub address: SocketAddr,
}

impl std::str::FromStr for ListenOverride {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("must be NAME=ADDRESS:PORT, as in submission=127.0.0.1:2587, is {text:?}");
        let (name, address) = text.split_once('=').ok_or_else(wrong)?;
        Ok(Self {
            name: name.to_owned(),
            address: address.parse().map_err(|_| wrong())?,
        })
    }
}

/// Why a reading is refused.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A file is not there or cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The document is refused.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The senders' file is refused.
    #[error("senders.json: {0}")]
    Senders(#[source] SendersError),
    /// `--listen` names a listener that is not there.
    #[error("listeners: no listener is named {0:?}, as --listen says")]
    NoListener(String),
}

/// What a reading found.
#[derive(Clone, Debug)]
pub struct Reading {
    /// What to go by.
    pub snapshot: Snapshot,
    /// Text of the document, for keeping.
    pub document_text: String,
    /// Text of the senders, for keeping.
    pub senders_text: Option<String>,
    /// SHA-256 of the document's text, hexadecimal.
    pub digest: String,
    /// Files the document names that are not there now; they may still have a value from before.
    pub missing: Vec<String>,
}

impl Reading {
    /// Whether nothing changed between two readings: not a word of the documents, not an octet of a file.
    pub fn says_the_same_as(&self, other: &Self) -> bool {
        self.document_text == other.document_text
            && self.senders_text == other.senders_text
            && self.snapshot.has_files_of(&other.snapshot)
    }
}

/// The folder of a document.
#[derive(Clone, Debug)]
pub struct Folder {
    root: PathBuf,
    document: PathBuf,
    listen: Vec<ListenOverride>,
}

impl Folder {
    /// The folder of `config`, which is a document's file or the folder that holds `gateway.yaml`.
    pub fn new(config: &Path, listen: Vec<ListenOverride>) -> Self {
        if config.is_dir() {
            return Self {
                root: config.to_owned(),
                document: document::FILE_NAME.into(),
                listen,
            };
        }
        let folder = config
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let document = config.file_name().unwrap_or(config.as_os_str());
        Self {
            root: folder.to_owned(),
            document: document.into(),
            listen,
        }
    }

    /// The document's file, for messages.
    pub fn document_path(&self) -> PathBuf {
        self.root.join(&self.document)
    }

    /// Where the spool is unless said otherwise: `spool` beside the document.
    pub fn default_spool(&self) -> PathBuf {
        self.root.join("spool")
    }

    /// Reads everything. Files that are gone keep the value they had in `before`.
    pub fn read(&self, before: Option<&Reading>) -> Result<Reading, ReadError> {
        let folder = self.resolve();
        let document_text = read_text(&folder.join(&self.document))?;
        let senders_text = match read_text(&folder.join(senders::FILE_NAME)) {
            Ok(text) => Some(text),
            Err(ReadError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        self.assemble(&folder, document_text, senders_text, before)
    }

    /// A reading of a document and senders kept elsewhere, with the files of this folder.
    pub fn assemble_stored(
        &self,
        document_text: String,
        senders_text: Option<String>,
    ) -> Result<Reading, ReadError> {
        self.assemble(&self.resolve(), document_text, senders_text, None)
    }

    /// The kubelet writes a new generation beside the old one and switches `..data` to it by rename. Resolved once,
    /// so that no reading mixes two generations.
    fn resolve(&self) -> PathBuf {
        self.root
            .join("..data")
            .canonicalize()
            .unwrap_or_else(|_| self.root.clone())
    }

    fn assemble(
        &self,
        folder: &Path,
        document_text: String,
        senders_text: Option<String>,
        before: Option<&Reading>,
    ) -> Result<Reading, ReadError> {
        let document = self.overridden(Document::parse(&document_text)?)?;
        let senders = senders_text
            .as_deref()
            .map(Senders::parse)
            .transpose()
            .map_err(ReadError::Senders)?
            .unwrap_or_default();
        let mut files = BTreeMap::new();
        let mut missing = Vec::new();
        for path in document.files() {
            if let Ok(content) = read_file(&folder.join(path)) {
                files.insert(path.to_owned(), Arc::from(content));
                continue;
            }
            missing.push(path.to_owned());
            if let Some(old) = before.and_then(|before| before.snapshot.file(path)) {
                files.insert(path.to_owned(), Arc::clone(old));
            }
        }
        let digest = hex(digest::digest(&SHA256, document_text.as_bytes()).as_ref());
        let snapshot = Snapshot::new(Arc::new(document), Arc::new(senders), files);
        Ok(Reading {
            snapshot,
            document_text,
            senders_text,
            digest,
            missing,
        })
    }

    fn overridden(&self, mut document: Document) -> Result<Document, ReadError> {
        for listen in &self.listen {
            let listener = document
                .listeners
                .iter_mut()
                .find(|listener| listener.name == listen.name);
            listener
                .ok_or_else(|| ReadError::NoListener(listen.name.clone()))?
                .address = listen.address;
        }
        let problems: Vec<Problem> = document.problems();
        if problems.is_empty() {
            Ok(document)
        } else {
            Err(DocumentError::Problems(problems).into())
        }
    }
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let length = std::fs::metadata(path)?.len();
    if length > MAXIMUM_FILE {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "larger than 1 MiB",
        ));
    }
    std::fs::read(path)
}

fn read_text(path: &Path) -> Result<String, ReadError> {
    std::fs::read_to_string(path).map_err(|source| ReadError::Io {
        path: path.to_owned(),
        source,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
