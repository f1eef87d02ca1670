//! The control socket: the queue by hand, for whoever may enter the spool's folder.
//!
//! A Unix socket in the spool, never the network: in a cluster it is reached by `kubectl exec`, with its rights and its
//! audit. One JSON line asks, one JSON line answers. The same types serve both ends.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use posthouse_config::reason::Reason;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
};
use tracing::{debug, warn};

use crate::{
    mail::QueueId,
    queue::{Filter, QueueHandle},
    shutdown::{Shutdown, Stage},
};

/// Octets of a request: far more than any filter needs.
const MAXIMUM_REQUEST: u64 = 64 * 1024;

/// Connections at once: people, not programs, are on the other side.
const MAXIMUM_CONNECTIONS: usize = 16;

/// After an error of `accept`, which is nearly always a lack of file descriptors: trying at once would only spin.
const AFTER_ERROR: Duration = Duration::from_secs(1);

/// How long a request may take to arrive.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// What can be asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Request {
    /// The messages that fit.
    List(Selection),
    /// One message with everything that is known of it.
    Show {
        /// Which.
        id: String,
    },
    /// Try one now.
    Retry {
        /// Which.
        id: String,
    },
    /// Give one up.
    Cancel {
        /// Which.
        id: String,
    },
}

/// Which messages; every given part must fit.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Selection {
    /// `name.namespace`, `anonymous` or `posthouse`.
    pub sender: Option<String>,
    /// Waits for this upstream.
    pub upstream: Option<String>,
    /// Waits for this reason.
    pub reason: Option<Reason>,
    /// Accepted longer ago than this, in seconds.
    pub older_seconds: Option<u64>,
    /// At most so many.
    pub limit: Option<usize>,
}

/// What is answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// Done; what was asked for.
    Done(serde_json::Value),
    /// Not done, and why.
    Refused(String),
}

/// Binds the socket, in place of one that a dead process left behind. The spool's lock is held: nobody else has it.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    UnixListener::bind(path)
}

/// Serves until the gateway stops.
pub async fn serve(listener: UnixListener, queue: QueueHandle, mut shutdown: Shutdown) {
    let places = Arc::new(Semaphore::new(MAXIMUM_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.reached(Stage::Stopping) => return,
        };
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match accepted {
            Ok((stream, _)) => {
                let queue = queue.clone();
                tokio::spawn(async move {
                    if let Err(error) = connection(stream, queue).await {
                        debug!(%error, "control: connection failed");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                warn!(%error, "control: accept failed");
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
    }
}

async fn connection(stream: UnixStream, queue: QueueHandle) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(reader.take(MAXIMUM_REQUEST));
    tokio::time::timeout(REQUEST_TIMEOUT, reader.read_line(&mut line)).await??;
    let answer = match serde_json::from_str(&line) {
        Ok(request) => answer(request, &queue).await,
        Err(error) => Answer::Refused(format!("not a request: {error}")),
    };
    let mut octets = serde_json::to_vec(&answer)?;
    octets.push(b'\n');
    writer.write_all(&octets).await
}

async fn answer(request: Request, queue: &QueueHandle) -> Answer {
    let result = match request {
        Request::List(selection) => queue
            .list(&selection.into())
            .await
            .map(|shown| serde_json::json!(shown)),
        Request::Show { id } => match id.parse::<QueueId>() {
            Ok(id) => queue.show(id).await.map(|shown| serde_json::json!(shown)),
            Err(error) => return Answer::Refused(error.to_string()),
        },
        Request::Retry { id } => match id.parse::<QueueId>() {
            Ok(id) => queue.retry(id).await.map(|()| serde_json::Value::Null),
            Err(error) => return Answer::Refused(error.to_string()),
        },
        Request::Cancel { id } => match id.parse::<QueueId>() {
            Ok(id) => queue.cancel(id).await.map(|()| serde_json::Value::Null),
            Err(error) => return Answer::Refused(error.to_string()),
        },
    };
    result.map_or_else(|refusal| Answer::Refused(refusal.to_string()), Answer::Done)
}

impl From<Selection> for Filter {
    fn from(selection: Selection) -> Self {
        Self {
            sender: selection.sender,
            upstream: selection.upstream,
            reason: selection.reason,
            older: selection.older_seconds.map(Duration::from_secs),
            limit: selection.limit,
            ..Self::default()
        }
    }
}

/// Asks a running gateway, blocking.
///
/// # Errors
/// [`io::ErrorKind::NotFound`] and [`io::ErrorKind::ConnectionRefused`] where no gateway runs on that spool.
pub fn ask(socket: &PathBuf, request: &Request) -> io::Result<Answer> {
    use std::io::{BufRead, Write};
    let mut stream = std::os::unix::net::UnixStream::connect(socket)?;
    let mut octets = serde_json::to_vec(request)?;
    octets.push(b'\n');
    stream.write_all(&octets)?;
    let mut line = String::new();
    std::io::BufReader::new(stream).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}
