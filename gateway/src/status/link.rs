//! The door of the status port: TLS with the link key of the document in use (see [`posthouse_config::link`]).
//!
//! The key is looked at for every connection, so that a new one counts without a restart. While there is none, nobody
//! is let in, and that is logged once and not with every poll.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use posthouse_admin::admin::Accept;
use posthouse_config::{Snapshot, credential::Key, link};
use tokio::{net::TcpStream, sync::watch};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tracing::{info, warn};

/// Lets in who has the link key.
pub struct Link {
    snapshot: watch::Receiver<Arc<Snapshot>>,
    door: Mutex<Door>,
}

/// What was found at the last connection.
#[derive(Default)]
enum Door {
    /// Nobody has come yet.
    #[default]
    Unused,
    /// There is no key that can be used, for this reason.
    Closed(String),
    /// The key, and what shakes hands with it.
    Open(Arc<[u8]>, TlsAcceptor),
}

impl Link {
    /// Goes by the key of the snapshot in use.
    pub fn new(snapshot: watch::Receiver<Arc<Snapshot>>) -> Self {
        Self {
            snapshot,
            door: Mutex::default(),
        }
    }

    /// What shakes hands now.
    fn acceptor(&self) -> Option<TlsAcceptor> {
        let snapshot = Arc::clone(&self.snapshot.borrow());
        let mut door = self.door.lock().unwrap_or_else(PoisonError::into_inner);
        match key(&snapshot) {
            Ok(octets) => {
                if let Door::Open(known, acceptor) = &*door
                    && *known == octets
                {
                    return Some(acceptor.clone());
                }
                match acceptor(&octets) {
                    Ok(acceptor) => {
                        info!("the status port uses a new link key");
                        *door = Door::Open(octets, acceptor.clone());
                        return Some(acceptor);
                    }
                    Err(reason) => door.close(reason),
                }
            }
            Err(reason) => door.close(reason),
        }
        None
    }
}

impl Door {
    fn close(&mut self, reason: String) {
        if !matches!(self, Self::Closed(known) if *known == reason) {
            warn!(
                reason,
                "connections to the status port are refused until there is a link key"
            );
            *self = Self::Closed(reason);
        }
    }
}

fn key(snapshot: &Snapshot) -> Result<Arc<[u8]>, String> {
    let path = snapshot.document.keys.link.as_ref();
    let path = path.ok_or("the document names no link key")?;
    let octets = snapshot.file(path).cloned();
    octets.ok_or_else(|| format!("{path} is missing"))
}

fn acceptor(octets: &[u8]) -> Result<TlsAcceptor, String> {
    let key = Key::try_from(octets).map_err(|error| format!("the link key {error}"))?;
    let config = link::server(&key).map_err(|error| error.to_string())?;
    Ok(TlsAcceptor::from(config))
}

impl Accept for Link {
    type Stream = TlsStream<TcpStream>;

    async fn accept(&self, connection: TcpStream) -> io::Result<Self::Stream> {
        let acceptor = self
            .acceptor()
            .ok_or_else(|| io::Error::other("there is no link key"))?;
        acceptor.accept(connection).await
    }
}

#[cfg(test)]
mod tests;
