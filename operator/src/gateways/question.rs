//! One question to one gateway: `GET /status` over the link, bounded in time and size.
//!
//! The link shows who is who by one key of the relay; while a relay's keys are being renewed a gateway may still have the
//! previous one, so that is tried, too. A connection is used once: a gateway that hangs shows at the next question.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::{Either, select};
use http::{Request, StatusCode, header::HOST};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use posthouse_config::{Status, credential::Key};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// A question takes at most this, connection and all.
const LIMIT: Duration = Duration::from_secs(2);

/// An answer has at most this many octets: 500 failed and 500 waiting senders fit.
const LONGEST: usize = 256 * 1024;

/// A question.
#[derive(Clone, Debug)]
pub struct Question {
    /// Where to.
    pub address: SocketAddr,
    /// The relay's link keys, the current one first.
    pub keys: Arc<[Key]>,
}

/// What came of it.
pub type Answer = Result<Status, AskError>;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// No connection.
    #[error("cannot connect")]
    Connect(#[source] std::io::Error),
    /// It has none of the keys.
    #[error("it does not have the link key of this relay")]
    Link,
    /// The connection broke.
    #[error("the connection broke")]
    Http(#[from] hyper::Error),
    /// Another answer than a status.
    #[error("it answered {0}")]
    Refused(StatusCode),
    /// The answer is too long or broke off.
    #[error("the answer cannot be read")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The answer is no status.
    #[error("the answer is no status")]
    Malformed(#[source] serde_json::Error),
}

/// Asks gateways.
pub trait Ask: Clone + Send + Sync + 'static {
    /// Asks once.
    fn ask(&self, question: Question) -> impl Future<Output = Answer> + Send;
}

/// Asks over the link.
#[derive(Clone)]
pub struct Link {
    settings: Arc<Settings>,
    limit: Duration,
}

/// Makes the TLS settings of our side of the link from a key.
type Settings = dyn Fn(&Key) -> Option<Arc<ClientConfig>> + Send + Sync;

impl Link {
    /// `settings` makes the TLS settings of our side of the link from a key.
    pub fn new(
        settings: impl Fn(&Key) -> Option<Arc<ClientConfig>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            settings: Arc::new(settings),
            limit: LIMIT,
        }
    }

    async fn converse(&self, question: &Question) -> Answer {
        let stream = self.connect(question).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::get("/status")
            .header(HOST, question.address.to_string())
            .body(Empty::<Bytes>::new());
        let exchange = async {
            let request = request.map_err(|error| AskError::Body(Box::new(error)))?;
            let response = sender.send_request(request).await?;
            if response.status() != StatusCode::OK {
                return Err(AskError::Refused(response.status()));
            }
            let body = Limited::new(response.into_body(), LONGEST).collect().await;
            let body = body.map_err(AskError::Body)?.to_bytes();
            serde_json::from_slice(&body).map_err(AskError::Malformed)
        };
        // The connection may end before its last octets are read.
        match select(Box::pin(exchange), Box::pin(connection)).await {
            Either::Left((answer, _)) => answer,
            Either::Right((_, exchange)) => exchange.await,
        }
    }

    /// A connection with the first key that the gateway has, too.
    async fn connect(&self, question: &Question) -> Result<TlsStream<TcpStream>, AskError> {
        for settings in question.keys.iter().filter_map(|key| (self.settings)(key)) {
            let stream = TcpStream::connect(question.address)
                .await
                .map_err(AskError::Connect)?;
            // A name is required, and means nothing: there is no certificate that could have one.
            let name = ServerName::from(question.address.ip());
            let connector = TlsConnector::from(settings);
            if let Ok(stream) = connector.connect(name, stream).await {
                return Ok(stream);
            }
        }
        Err(AskError::Link)
    }
}

impl Ask for Link {
    async fn ask(&self, question: Question) -> Answer {
        timeout(self.limit, self.converse(&question))
            .await
            .unwrap_or(Err(AskError::TimedOut))
    }
}

impl AskError {
    /// Whether the answer was longer than any status is.
    pub fn is_too_long(&self) -> bool {
        matches!(self, Self::Body(error) if error.is::<LengthLimitError>())
    }
}

#[cfg(test)]
mod tests;
